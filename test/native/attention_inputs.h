// What the attention tests of every backend share: made-up tokens whose rows are the same wherever they appear, the
// passes that rows make, and pages in any order.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <span>
#include <vector>

#include "backend.h"

namespace foretoken::test {

using Outputs = std::vector<std::vector<float>>;

/// A token's row of q, k and v is random, but the same wherever that token appears.
struct Shape {
  int heads, kvHeads, headDim;
  bool interleaved;
  int width() const { return (heads + 2 * kvHeads) * headDim; }
};

inline std::vector<float> inputRow(const Shape& shape, int token) {
  std::mt19937 random(static_cast<uint32_t>(token) * 2654435761u + 12345u);
  std::normal_distribution<float> normal;
  std::vector<float> row(shape.width());
  for (float& x : row) x = normal(random);
  return row;
}

inline std::vector<float> frequencies(int headDim) {
  std::vector<float> f(headDim / 2);
  for (int i = 0; i < headDim / 2; ++i) f[i] = static_cast<float>(std::pow(10000.0, -2.0 * i / headDim));
  return f;
}

/// One row of a pass under construction.
struct Row {
  int token, position, slot, sequence, base;
  std::vector<int32_t> ancestors;
};

/// A pass of rows and what it points to.
class RowsPass {
 public:
  RowsPass(const Shape& shape, const std::vector<Row>& rows, const std::vector<std::vector<int32_t>>& tables) {
    for (const Row& row : rows) {
      position_.push_back(row.position);
      slot_.push_back(row.slot);
      sequence_.push_back(row.sequence);
      base_.push_back(row.base);
      ancestors_.insert(ancestors_.end(), row.ancestors.begin(), row.ancestors.end());
      begin_.push_back(static_cast<int32_t>(ancestors_.size()));
      const std::vector<float> x = inputRow(shape, row.token);
      qkv.insert(qkv.end(), x.begin(), x.end());
    }
    for (const auto& table : tables) pages_.push_back(table.data());
    pass.rows = static_cast<int>(rows.size());
    pass.position = position_.data();
    pass.slot = slot_.data();
    pass.sequence = sequence_.data();
    pass.base = base_.data();
    pass.ancestorBegin = begin_.data();
    pass.ancestors = ancestors_.data();
    pass.pages = pages_.data();
  }
  RowsPass(const RowsPass&) = delete;

  Pass pass;
  std::vector<float> qkv;

 private:
  std::vector<int32_t> position_, slot_, sequence_, base_, begin_{0}, ancestors_;
  std::vector<const int32_t*> pages_;
};

/// A vector per row of what lies one row after the other.
inline Outputs perRow(const std::vector<float>& out, int rows) {
  const size_t width = out.size() / rows;
  Outputs result;
  for (int r = 0; r < rows; ++r) result.emplace_back(out.begin() + r * width, out.begin() + (r + 1) * width);
  return result;
}

inline std::vector<int32_t> orderedPages(int count) {
  std::vector<int32_t> pages(count);
  for (int i = 0; i < count; ++i) pages[i] = i;
  return pages;
}

inline bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

inline std::vector<int> randomTokens(std::mt19937& random, int length) {
  std::vector<int> tokens(length);
  for (int& t : tokens) t = static_cast<int>(random() % 1000000);
  return tokens;
}

inline std::vector<int32_t> shuffledPages(std::mt19937& random, int count) {
  std::vector<int32_t> pages = orderedPages(count);
  std::shuffle(pages.begin(), pages.end(), random);
  return pages;
}

inline int slotOf(const std::vector<int32_t>& pages, int position) {
  return pages[position / kPageSize] * kPageSize + position % kPageSize;
}

/// Rows of positions [begin, end): either each sees itself through the pages, or the chunk's own positions are
/// ancestors.
inline std::vector<Row> chunk(const std::vector<int>& tokens, const std::vector<int32_t>& pages, int sequence,
                              int begin, int end, bool throughPages) {
  std::vector<Row> rows;
  for (int p = begin; p < end; ++p) {
    Row row{tokens[p], p, slotOf(pages, p), sequence, throughPages ? p + 1 : begin, {}};
    for (int a = begin; a <= p && !throughPages; ++a) row.ancestors.push_back(slotOf(pages, a));
    rows.push_back(row);
  }
  return rows;
}

/// The slots of some pages, page by page.
inline std::vector<int32_t> slotsOf(std::span<const int32_t> pages) {
  std::vector<int32_t> slots;
  for (const int32_t page : pages)
    for (int lane = 0; lane < kPageSize; ++lane) slots.push_back(page * kPageSize + lane);
  return slots;
}

/// Trees behind a prefix: the rows of their nodes, and the tokens from the prefix to each.
struct Forest {
  std::vector<Row> rows;
  std::vector<std::vector<int>> paths;
};

/// Nodes hang where chance puts them, node n in slots[n].
inline Forest randomForest(std::mt19937& random, int length, int nodes, std::span<const int32_t> slots) {
  Forest forest;
  for (int n = 0; n < nodes; ++n) {
    const int parent = n == 0 || random() % 6 == 0 ? -1 : static_cast<int>(random() % n);
    std::vector<int> path = parent < 0 ? std::vector<int>{} : forest.paths[parent];
    path.push_back(static_cast<int>(random() % 1000000));
    Row row{path.back(), length + static_cast<int>(path.size()) - 1, slots[n], 0, length, {}};
    if (parent >= 0) row.ancestors = forest.rows[parent].ancestors;
    row.ancestors.push_back(slots[n]);
    forest.rows.push_back(row);
    forest.paths.push_back(path);
  }
  return forest;
}

/// What stands behind a prefix once a path has been taken.
inline std::vector<int> followed(std::vector<int> prefix, const std::vector<int>& path) {
  prefix.insert(prefix.end(), path.begin(), path.end());
  return prefix;
}

/// A head's part of a token's row, rotated if `position` is not negative, in double.
inline std::vector<double> headOf(const Shape& shape, const std::vector<float>& row, int head, int position) {
  const float* const x = row.data() + head * shape.headDim;
  std::vector<double> out(x, x + shape.headDim);
  if (position < 0) return out;
  const std::vector<float> frequency = frequencies(shape.headDim);
  const int half = shape.headDim / 2;
  for (int i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * frequency[i];
    const int a = shape.interleaved ? 2 * i : i, b = shape.interleaved ? 2 * i + 1 : i + half;
    out[a] = x[a] * std::cos(angle) - x[b] * std::sin(angle);
    out[b] = x[b] * std::cos(angle) + x[a] * std::sin(angle);
  }
  return out;
}

}  // namespace foretoken::test
