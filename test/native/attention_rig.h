// What the tests of the CPU's attention share: a pool to run passes over, and the exact answer in double.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "cpu/attention.h"
#include "cpu/kv.h"
#include "cpu/thread_pool.h"
#include "test/native/attention_inputs.h"

namespace foretoken::test {

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
  Outputs run(const std::vector<Row>& rows, const std::vector<std::vector<int32_t>>& tables, int layer = 0) {
    RowsPass of(shape_, rows, tables);
    std::vector<float> out(rows.size() * shape_.heads * shape_.headDim);
    attention_.run(of.pass, pool, layer, shape_.heads, Rope{frequency_, shape_.interleaved}, of.qkv.data(), out.data());
    return perRow(out, of.pass.rows);
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

/// Outputs of every position of `tokens`, decoded one by one in ordered pages on one thread: what all else must equal.
inline Outputs oneByOne(const Shape& shape, const AttentionKernels& kernels, const std::vector<int>& tokens) {
  const int length = static_cast<int>(tokens.size()), pages = (length + kPageSize - 1) / kPageSize;
  Rig rig(shape, kernels, 1, pages);
  Outputs outputs;
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

/// The last position's output, in double but for the rounding of k and v to bf16.
inline std::vector<double> exactLast(const Shape& shape, const std::vector<int>& tokens) {
  const int length = static_cast<int>(tokens.size()), group = shape.heads / shape.kvHeads;
  Outputs rows;
  for (int token : tokens) rows.push_back(inputRow(shape, token));
  std::vector<double> out;
  for (int head = 0; head < shape.heads; ++head) {
    const int kvHead = head / group;
    const std::vector<double> q = headOf(shape, rows.back(), head, length - 1);
    std::vector<double> score(length);
    for (int p = 0; p < length; ++p) {
      const std::vector<double> k = headOf(shape, rows[p], shape.heads + kvHead, p);
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
