// What the attention tests share: sequences of made-up tokens, a pool to run passes over, and the exact answer in
// double.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "cpu/attention.h"
#include "cpu/kv.h"
#include "cpu/thread_pool.h"

namespace foretoken::test {

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

/// A pool of a few layers with the threads and the kernels that work on it.
class Rig {
 public:
  Rig(const Shape& shape, const AttentionKernels& kernels, int threads, int pages, int layers = 1)
      : shape_(shape),
        frequency_(frequencies(shape.headDim)),
        threads_(threads),
        pool({layers, shape.kvHeads, shape.headDim, pages, 0}),
        attention_(kernels, pool.shape(), threads_) {}

  /// Runs one pass and returns the outputs, a vector per row.
  std::vector<std::vector<float>> run(const std::vector<Row>& rows, const std::vector<std::vector<int32_t>>& tables,
                                      int layer = 0) {
    std::vector<int32_t> position, slot, sequence, base, begin{0}, ancestors;
    std::vector<float> qkv, out(rows.size() * shape_.heads * shape_.headDim);
    for (const Row& row : rows) {
      position.push_back(row.position);
      slot.push_back(row.slot);
      sequence.push_back(row.sequence);
      base.push_back(row.base);
      ancestors.insert(ancestors.end(), row.ancestors.begin(), row.ancestors.end());
      begin.push_back(static_cast<int32_t>(ancestors.size()));
      const std::vector<float> x = inputRow(shape_, row.token);
      qkv.insert(qkv.end(), x.begin(), x.end());
    }
    std::vector<const int32_t*> pages;
    for (const auto& table : tables) pages.push_back(table.data());
    Pass pass;
    pass.rows = static_cast<int>(rows.size());
    pass.position = position.data();
    pass.slot = slot.data();
    pass.sequence = sequence.data();
    pass.base = base.data();
    pass.ancestorBegin = begin.data();
    pass.ancestors = ancestors.data();
    pass.pages = pages.data();
    attention_.run(pass, pool, layer, shape_.heads, Rope{frequency_, shape_.interleaved}, qkv.data(), out.data());
    std::vector<std::vector<float>> result;
    const size_t width = static_cast<size_t>(shape_.heads) * shape_.headDim;
    for (size_t r = 0; r < rows.size(); ++r)
      result.emplace_back(out.begin() + r * width, out.begin() + (r + 1) * width);
    return result;
  }

 private:
  Shape shape_;
  std::vector<float> frequency_;
  ThreadPool threads_;

 public:
  KvPool pool;

 private:
  Attention attention_;
};

inline std::vector<int32_t> orderedPages(int count) {
  std::vector<int32_t> pages(count);
  for (int i = 0; i < count; ++i) pages[i] = i;
  return pages;
}

/// Outputs of every position of `tokens`, decoded one by one in ordered pages on one thread: what all else must equal.
inline std::vector<std::vector<float>> oneByOne(const Shape& shape, const AttentionKernels& kernels,
                                                const std::vector<int>& tokens) {
  const int length = static_cast<int>(tokens.size()), pages = (length + kPageSize - 1) / kPageSize;
  Rig rig(shape, kernels, 1, pages);
  std::vector<std::vector<float>> outputs;
  for (int p = 0; p < length; ++p)
    outputs.push_back(rig.run({{tokens[p], p, p, 0, p + 1, {}}}, {orderedPages(pages)})[0]);
  return outputs;
}

inline float roundBf16(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  u = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000u;
  std::memcpy(&x, &u, 4);
  return x;
}

/// The head's q or k of a token, rotated, in double.
inline std::vector<double> rotated(const Shape& shape, const std::vector<float>& row, int head, int position) {
  const std::vector<float> frequency = frequencies(shape.headDim);
  std::vector<double> out(shape.headDim);
  const int half = shape.headDim / 2;
  for (int i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * frequency[i];
    const int a = shape.interleaved ? 2 * i : i, b = shape.interleaved ? 2 * i + 1 : i + half;
    const double x = row[head * shape.headDim + a], y = row[head * shape.headDim + b];
    out[a] = x * std::cos(angle) - y * std::sin(angle);
    out[b] = y * std::cos(angle) + x * std::sin(angle);
  }
  return out;
}

/// The last position's output, in double but for the rounding of k and v to bf16.
inline std::vector<double> exactLast(const Shape& shape, const std::vector<int>& tokens) {
  const int length = static_cast<int>(tokens.size()), group = shape.heads / shape.kvHeads;
  std::vector<std::vector<float>> rows;
  for (int token : tokens) rows.push_back(inputRow(shape, token));
  std::vector<double> out;
  for (int head = 0; head < shape.heads; ++head) {
    const int kvHead = head / group;
    const std::vector<double> q = rotated(shape, rows.back(), head, length - 1);
    std::vector<double> score(length);
    for (int p = 0; p < length; ++p) {
      const std::vector<double> k = rotated(shape, rows[p], shape.heads + kvHead, p);
      for (int d = 0; d < shape.headDim; ++d) score[p] += q[d] * roundBf16(static_cast<float>(k[d]));
      score[p] /= std::sqrt(static_cast<double>(shape.headDim));
    }
    const double top = *std::max_element(score.begin(), score.end());
    double total = 0;
    std::vector<double> sum(shape.headDim);
    for (int p = 0; p < length; ++p) {
      const double w = std::exp(score[p] - top);
      total += w;
      const float* v = rows[p].data() + (shape.heads + shape.kvHeads + kvHead) * shape.headDim;
      for (int d = 0; d < shape.headDim; ++d) sum[d] += w * roundBf16(v[d]);
    }
    for (double s : sum) out.push_back(s / total);
  }
  return out;
}

}  // namespace foretoken::test
