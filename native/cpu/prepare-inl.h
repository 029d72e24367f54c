// Input rows of a matrix product: RMSNorm, then rounding to what the weights' format multiplies. Included by gemm_*.cc.
//
// The sum of squares runs in sixteen lanes (column mod 16) that are then added in V16's fixed order.
#pragma once
#include "cpu/kernels.h"
#include "cpu/tiles-inl.h"
#include "cpu/vector_math-inl.h"

namespace foretoken {
namespace {

/// Rows of an integer format whose blocks lie side by side: a tile reaches all that it multiplies through one pointer.
constexpr int kGroupRows = 16;

/// A block of a prepared row of an integer format; they lie [rows / kGroupRows][blocks][kGroupRows].
struct InputBlock {
  int8_t codes[kBlockCols];
  float scale;
  int32_t words[2];  ///< whatever the path's dot product wants to know of the codes' sums (Vector::writeBlock)
};

inline int64_t blocksOf(int64_t cols) { return (cols + kBlockCols - 1) / kBlockCols; }

/// Where block 0 of a row is, of rows of so many blocks.
inline int64_t firstBlock(int64_t row, int64_t blocks) {
  return row / kGroupRows * blocks * kGroupRows + row % kGroupRows;
}

/// Prepared rows of float formats lie one after another.
inline size_t floatRowBytes(int64_t cols) { return static_cast<size_t>(blocksOf(cols)) * kBlockCols * sizeof(float); }
inline const uint8_t* floatRow(const Product& p, int row) { return p.rows + row * floatRowBytes(p.layout.cols); }

inline size_t preparedBytes(Format format, int64_t cols, int64_t rows) {
  if (!isInteger(format)) return rows * floatRowBytes(cols);
  return (rows + kGroupRows - 1) / kGroupRows * blocksOf(cols) * kGroupRows * sizeof(InputBlock);
}

/// Sixteen values at in[k], zeros from `cols` on.
inline V16 loadUpTo(const float* in, int64_t k, int64_t cols) {
  if (k + kLanes <= cols) return load(in + k);
  if (k >= cols) return broadcast(0.0f);
  float part[kLanes] = {};
  for (int64_t i = k; i < cols; ++i) part[i - k] = in[i];
  return load(part);
}

/// 1 / sqrt(mean of squares + eps).
inline float normFactor(const float* in, int64_t cols, float eps) {
  V16 sum = broadcast(0.0f);
  for (int64_t k = 0; k < cols; k += kLanes) {
    const V16 x = loadUpTo(in, k, cols);
    sum = fma(x, x, sum);
  }
  return 1.0f / __builtin_sqrtf(sumLanes(sum) / static_cast<float>(cols) + eps);
}

/// An input row, normalised if it is to be: sixteen values from column k on. In `whole` rows there are as many.
template <bool whole, bool normed>
struct InputRow {
  const float *in, *norm;
  int64_t cols;
  V16 factor;

  V16 operator()(int64_t k) const {
    const auto get = [&](const float* p) { return whole ? load(p + k) : loadUpTo(p, k, cols); };
    return normed ? mul(mul(get(in), factor), get(norm)) : get(in);
  }
};

/// Calls use(row) with the row as it is best read.
template <class Use>
inline void readRow(const float* in, int64_t cols, const float* norm, float eps, Use&& use) {
  const V16 factor = broadcast(norm ? normFactor(in, cols, eps) : 1.0f);
  if (cols % kBlockCols != 0)
    norm ? use(InputRow<false, true>{in, norm, cols, factor}) : use(InputRow<false, false>{in, norm, cols, factor});
  else
    norm ? use(InputRow<true, true>{in, norm, cols, factor}) : use(InputRow<true, false>{in, norm, cols, factor});
}

/// Largest magnitudes, lane by lane; NaN counts as nothing.
inline V16 magnitudes(V16 a, V16 b) { return max(magnitude(b), max(magnitude(a), broadcast(0.0f))); }

/// What is added to a format's integer codes to make them unsigned.
constexpr int offsetOf(Format format) {
  return format == Format::q4_0 ? 8 : format == Format::q8_0 ? 128 : format == Format::q4_1 ? 0 : 12;
}

/// Words of a path whose dot products start from 32 bits: -offset * sum of the codes, of each half (nvfp4) or of all;
/// q4_1: the sum of the inputs in the second word.
inline void writeWords(Format format, int32_t low, int32_t high, InputBlock& block) {
  const int32_t first = format == Format::nvfp4 ? low : low + high;
  block.words[0] = -offsetOf(format) * first;
  block.words[1] = -offsetOf(format) * high;
  if (format != Format::q4_1) return;
  const float sum = static_cast<float>(first) * block.scale;
  __builtin_memcpy(block.words + 1, &sum, sizeof(sum));
}

/// What `Vector::quantise` does with a block where it takes one at a time; `Vector::writeBlock` rounds the values of
/// one whose scale is there already to the nearest integers, ties to even.
template <class Vector>
void quantiseBlock(Format format, V16 low, V16 high, InputBlock& block) {
  const float amax = maxLanes(magnitudes(low, high));
  block.scale = amax / 127.0f;
  const V16 inverse = broadcast(amax > 0x1p-120f ? 127.0f / amax : 0.0f);
  Vector::writeBlock(format, mul(low, inverse), mul(high, inverse), block);
}

/// `Vector::quantise` takes up to kBlocks blocks at once, which come to lie kGroupRows apart.
template <class Vector>
void prepareInteger(Format format, const float* in, int64_t cols, const float* norm, float eps, InputBlock* blocks) {
  readRow(in, cols, norm, eps, [&](const auto& row) {
    forTiles<Vector::kBlocks>(static_cast<int>(blocksOf(cols)), [&]<int T>(int first) {
      V16 values[T][2];
#pragma GCC unroll 4
      for (int b = 0; b < T; ++b)
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) values[b][half] = row((first + b) * kBlockCols + half * kLanes);
      Vector::template quantise<T>(format, values, blocks + first * kGroupRows);
    });
  });
}

/// Calls store(column, sixteen values) over the padded row.
template <class Store>
inline void forNormalised(const float* in, int64_t cols, const float* norm, float eps, Store&& store) {
  readRow(in, cols, norm, eps, [&](const auto& row) {
    for (int64_t k = 0; k < blocksOf(cols) * kBlockCols; k += kLanes) store(k, row(k));
  });
}

inline void prepareFloat(const float* in, int64_t cols, const float* norm, float eps, uint8_t* out) {
  float* values = reinterpret_cast<float*>(out);
  forNormalised(in, cols, norm, eps, [&](int64_t k, V16 x) { store(values + k, x); });
}

/// Rounded to bf16, kept as fp32, times the power of two that the path's expansion of weights leaves out.
inline void prepareRounded(const float* in, int64_t cols, const float* norm, float eps, float power, uint8_t* out) {
  float* values = reinterpret_cast<float*>(out);
  forNormalised(in, cols, norm, eps,
                [&](int64_t k, V16 x) { store(values + k, mul(evens(packPairs(x, x)), broadcast(power))); });
}

}  // namespace
}  // namespace foretoken
