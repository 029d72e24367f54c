// What the tests of whole forward passes share: a model with its backend and KV pages, passes built from sequences and
// trees, the golden files.
#pragma once
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

#include "fixtures.h"
#include "model/model.h"

namespace foretoken::test {

using Logits = std::vector<float>;

/// A folder of its own that disappears with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "foretoken-test-XXXXXX").string();
    path_ = mkdtemp(pattern.data());
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// One row of a pass: a token of a sequence, or a node of a tree that hangs on positions [0, base) of one.
struct Node {
  int32_t token, position, slot, base;
  std::vector<int32_t> ancestors;
};

struct LoadedModel {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Model> model;
  int pages;
  bool prompts = true;  ///< what `feed` computes is, not what was generated

  LoadedModel(const std::string& path, const std::string& weights, const CpuOptions& cpu = {}, int pageCount = 64)
      : LoadedModel(path, weights, createCpuBackend(cpu), pageCount) {}

  LoadedModel(const std::string& path, const std::string& weights, std::unique_ptr<Backend> own, int pageCount = 64,
              KvFormat kv = KvFormat::bf16)
      : backend(std::move(own)), pages(pageCount) {
    ModelOptions options;
    options.weights = weights;
    options.maxRows = options.maxLogitRows = 512;
    model = loadModel(path, *backend, options);
    const ModelConfig& config = model->config();
    backend->allocateKv({config.layers, config.kvHeads, config.headDim, pages, 0, kv});
  }

  /// Runs one pass over nodes of one sequence with this page table; logits of every row.
  std::vector<Logits> run(const std::vector<Node>& nodes, const std::vector<int32_t>& table, bool prompts,
                          const Capture* capture = nullptr) {
    std::vector<int32_t> token, position, slot, base, begin{0}, ancestors, sequence(nodes.size(), 0);
    for (const Node& node : nodes) {
      token.push_back(node.token), position.push_back(node.position);
      slot.push_back(node.slot), base.push_back(node.base);
      ancestors.insert(ancestors.end(), node.ancestors.begin(), node.ancestors.end());
      begin.push_back(static_cast<int32_t>(ancestors.size()));
    }
    std::vector<int32_t> rows(nodes.size());
    std::iota(rows.begin(), rows.end(), 0);
    const int32_t* pageTable = table.data();
    Pass pass;
    pass.rows = pass.logitRows = static_cast<int>(nodes.size());
    pass.token = token.data(), pass.position = position.data(), pass.slot = slot.data();
    pass.sequence = sequence.data(), pass.base = base.data();
    pass.ancestorBegin = begin.data(), pass.ancestors = ancestors.data();
    pass.pages = &pageTable, pass.logitRow = rows.data(), pass.prompts = prompts;
    model->forward(pass, capture);
    const int width = model->config().vocabulary;
    const float* values = backend->read(model->logits(), pass.rows);
    std::vector<Logits> logits;
    for (int r = 0; r < pass.rows; ++r) logits.emplace_back(values + r * width, values + (r + 1) * width);
    return logits;
  }

  /// Positions [from, from + count) of `tokens` in passes of at most `chunk` rows.
  std::vector<Logits> feed(const std::vector<int32_t>& tokens, int from, int count, int chunk,
                           const std::vector<int32_t>& table) {
    std::vector<Logits> logits;
    for (int begin = from; begin < from + count; begin += chunk) {
      std::vector<Node> nodes;
      for (int p = begin; p < std::min(begin + chunk, from + count); ++p)
        nodes.push_back({tokens[p], p, slotOf(table, p), p + 1, {}});
      for (Logits& row : run(nodes, table, prompts)) logits.push_back(std::move(row));
    }
    return logits;
  }

  std::vector<Logits> feed(const std::vector<int32_t>& tokens, int chunk) {
    return feed(tokens, 0, static_cast<int>(tokens.size()), chunk, orderedPages());
  }

  static int32_t slotOf(const std::vector<int32_t>& table, int position) {
    return table[position / kPageSize] * kPageSize + position % kPageSize;
  }
  std::vector<int32_t> orderedPages() const {
    std::vector<int32_t> table(pages);
    std::iota(table.begin(), table.end(), 0);
    return table;
  }
};

/// Number of differing rows, by bits.
inline int differingRows(const std::vector<Logits>& a, const std::vector<Logits>& b) {
  if (a.size() != b.size()) return -1;
  int count = 0;
  for (size_t i = 0; i < a.size(); ++i)
    count += a[i].size() != b[i].size() || std::memcmp(a[i].data(), b[i].data(), a[i].size() * sizeof(float)) != 0;
  return count;
}

struct GoldenPrompt {
  std::vector<int32_t> tokens;
  std::map<int, Logits> exact, bf16kv;  ///< by position
};

/// A .golden file of test/fixtures/make_model_goldens.py.
inline std::vector<GoldenPrompt> readGolden(const std::string& path) {
  std::vector<GoldenPrompt> prompts;
  std::ifstream file(path);
  for (std::string text; std::getline(file, text);) {
    std::istringstream line(text);
    std::string kind;
    int number;
    line >> kind >> number;
    if (kind == "prompt") {
      prompts.emplace_back();
      for (int token; line >> token;) prompts.back().tokens.push_back(token);
      continue;
    }
    Logits& values = (kind == "exact" ? prompts.back().exact : prompts.back().bf16kv)[number];
    for (float value; line >> value;) values.push_back(value);
  }
  return prompts;
}

inline float largest(const Logits& values) {
  float most = 0;
  for (const float v : values) most = std::max(most, std::fabs(v));
  return most;
}

inline float largestDifference(const Logits& a, const Logits& b) {
  float most = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) most = std::max(most, std::fabs(a[i] - b[i]));
  return most;
}

inline int argmax(const Logits& values) {
  return static_cast<int>(std::max_element(values.begin(), values.end()) - values.begin());
}

}  // namespace foretoken::test
