// Promise 3 for whole forward passes: a row's logits are the same bits whatever chunks, trees, threads, pages and
// instruction set's neighbours it was computed with.
#include <initializer_list>
#include <random>

#include "check.h"
#include "model_rig.h"

using namespace foretoken;
using namespace foretoken::test;

namespace {

constexpr int kLength = 300;
const char* const kConverted[] = {"f32", "f16", "bf16", "fp8", "nvfp4", "mxfp4"};

std::vector<int32_t> randomTokens(std::mt19937& random, int count, int vocabulary) {
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % vocabulary);
  return tokens;
}

/// Chunks of every kind against one token at a time.
void chunks(LoadedModel& loaded, const std::vector<int32_t>& tokens, const std::vector<Logits>& oneByOne) {
  for (const int chunk : {2, 3, 8, 17, 64, 299, 300}) CHECK(differingRows(loaded.feed(tokens, chunk), oneByOne) == 0);
}

/// The same prefix recomputed into other pages, after other content had been there.
void otherPages(LoadedModel& loaded, std::mt19937& random, const std::vector<int32_t>& tokens,
                const std::vector<Logits>& oneByOne) {
  std::vector<int32_t> table = loaded.orderedPages();
  std::shuffle(table.begin(), table.end(), random);
  CHECK(differingRows(loaded.feed(tokens, 100), oneByOne) == 0);
  CHECK(differingRows(loaded.feed(tokens, 0, kLength, 50, table), oneByOne) == 0);
}

/// A prefix that is there already: only the rest is computed.
void prefixHit(LoadedModel& loaded, const std::vector<int32_t>& tokens, const std::vector<Logits>& oneByOne) {
  const auto table = loaded.orderedPages();
  for (const int hit : {16, 160, 299}) {
    loaded.feed(tokens, 0, hit, 512, table);
    const auto rest = loaded.feed(tokens, hit, kLength - hit, 40, table);
    CHECK(differingRows(rest, {oneByOne.begin() + hit, oneByOne.end()}) == 0);
  }
}

/// A random tree behind a prefix; every root-to-node path must equal the same tokens decoded in sequence by `plain`.
void tree(LoadedModel& loaded, LoadedModel& plain, std::mt19937& random, const std::vector<int32_t>& tokens, int size) {
  const auto table = loaded.orderedPages();
  const int base = 37 + static_cast<int>(random() % 200);
  const int scratch = (loaded.pages - 8) * kPageSize;  // slots that no position of the sequence uses
  loaded.feed(tokens, 0, base, 512, table);
  plain.feed(tokens, 0, base, 512, table);
  std::vector<Node> nodes;
  std::vector<std::vector<int32_t>> paths;
  for (int i = 0; i < size; ++i) {
    const int parent = i == 0 ? -1 : static_cast<int>(random() % i);
    Node node{static_cast<int32_t>(random() % loaded.model->config().vocabulary), base, scratch + i, base, {}};
    std::vector<int32_t> path;
    if (parent >= 0) {
      node.ancestors = nodes[parent].ancestors;
      node.position = nodes[parent].position + 1;
      path = paths[parent];
    }
    node.ancestors.push_back(node.slot);
    path.push_back(node.token);
    nodes.push_back(node), paths.push_back(path);
  }
  const auto inTree = loaded.run(nodes, table, false);
  for (int i = 0; i < size; ++i) {
    std::vector<int32_t> sequence(tokens.begin(), tokens.begin() + base);
    sequence.insert(sequence.end(), paths[i].begin(), paths[i].end());
    const auto alone = plain.feed(sequence, base, static_cast<int>(paths[i].size()), 1, table);
    CHECK(differingRows({inTree[i]}, {alone.back()}) == 0);
  }
}

/// Hidden states that are read on the way are the same too.
void captured(LoadedModel& loaded, const std::vector<int32_t>& tokens) {
  const ModelConfig& config = loaded.model->config();
  const auto table = loaded.orderedPages();
  const int rows = 20;
  const size_t size = 2 * static_cast<size_t>(config.width);
  std::vector<float> whole(size * rows), single(size);
  Capture capture{{0, config.layers}, whole.data()};
  std::vector<Node> nodes;
  for (int p = 0; p < rows; ++p) nodes.push_back({tokens[p], p, loaded.slotOf(table, p), p + 1, {}});
  loaded.run(nodes, table, true, &capture);
  for (int p = 0; p < rows; ++p) {
    capture.out = single.data();
    loaded.run({nodes[p]}, table, false, &capture);
    for (int layer = 0; layer < 2; ++layer)
      CHECK(std::memcmp(single.data() + layer * config.width, whole.data() + (layer * rows + p) * config.width,
                        config.width * sizeof(float)) == 0);
  }
}

/// More threads than one are given where there is work to share; a pass of one row is all barriers, so that only some
/// of those are run.
void manyThreads(LoadedModel& many, LoadedModel& single, std::mt19937& random, const std::vector<int32_t>& tokens,
                 const std::vector<Logits>& oneByOne) {
  const int some = 24;
  CHECK(differingRows(many.feed(tokens, 0, some, 1, many.orderedPages()),
                      {oneByOne.begin(), oneByOne.begin() + some}) == 0);
  CHECK(differingRows(many.feed(tokens, 77), oneByOne) == 0);
  otherPages(many, random, tokens, oneByOne);
  prefixHit(many, tokens, oneByOne);
  for (const int size : {1, 5, 24}) tree(many, single, random, tokens, size);
}

void model(const std::string& name, const std::string& weights, const char* isa, std::initializer_list<int> threads) {
  std::mt19937 random(11);
  const std::string path = fixture("models/" + name);
  LoadedModel single(path, weights, {1, isa});
  const auto tokens = randomTokens(random, kLength, single.model->config().vocabulary);
  const auto oneByOne = single.feed(tokens, 1);
  chunks(single, tokens, oneByOne);
  captured(single, tokens);
  for (const int count : threads) {
    LoadedModel many(path, weights, {count, isa});
    manyThreads(many, single, random, tokens, oneByOne);
  }
}

}  // namespace

int main() {
  for (const char* isa : availableIsas()) {
    model("mixed-blocks.gguf", "auto", isa, {2, 3, 4});
    for (const char* weights : kConverted) model("mixed-blocks.gguf", weights, isa, {2});
    for (const char* weights : {"auto", "fp8"}) model("llama3-bf16", weights, isa, {3});
    for (const char* name : {"qwen2", "qwen3.gguf"}) model(name, "auto", isa, {3});
  }
  return finish("model_bits");
}
