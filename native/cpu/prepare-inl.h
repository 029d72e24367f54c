// Input rows of a matrix product: RMSNorm, then rounding to what the weights' format multiplies. Included by gemm_*.cc.
//
// The sum of squares runs in sixteen lanes (column mod 16) that are then added in V16's fixed order.
#pragma once
#include "cpu/kernels.h"
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

/// 1 / sqrt(mean of squares + eps); 1 without a norm.
inline float normFactor(const float* in, int64_t cols, const float* norm, float eps) {
  if (!norm) return 1.0f;
  V16 sum = broadcast(0.0f);
  for (int64_t k = 0; k < cols; k += kLanes) {
    const V16 x = loadUpTo(in, k, cols);
    sum = fma(x, x, sum);
  }
  return 1.0f / __builtin_sqrtf(sumLanes(sum) / static_cast<float>(cols) + eps);
}

inline V16 normalised(const float* in, int64_t k, int64_t cols, const float* norm, V16 factor) {
  const V16 x = loadUpTo(in, k, cols);
  return norm ? mul(mul(x, factor), loadUpTo(norm, k, cols)) : x;
}

/// Largest magnitude; NaN counts as nothing.
inline float maxMagnitude(V16 a, V16 b) {
  const V16 zero = broadcast(0.0f);
  return maxLanes(max(max(max(a, sub(zero, a)), zero), max(max(b, sub(zero, b)), zero)));
}

/// Rounds |x| < 2^22 to the nearest integer, ties to even.
inline V16 rint(V16 x) {
  const V16 magic = broadcast(12582912.0f);
  return sub(add(x, magic), magic);
}

/// What is added to a format's integer codes to make them unsigned.
constexpr int offsetOf(Format format) {
  return format == Format::q4_0 ? 8 : format == Format::q8_0 ? 128 : format == Format::q4_1 ? 0 : 12;
}

/// `Vector::writeBlock` takes the rounded values of a block, whose scale is there already.
template <class Vector>
void prepareInteger(Format format, const float* in, int64_t cols, const float* norm, float eps, InputBlock* block) {
  const V16 factor = broadcast(normFactor(in, cols, norm, eps));
  for (int64_t k = 0; k < cols; k += kBlockCols, block += kGroupRows) {
    const V16 low = normalised(in, k, cols, norm, factor), high = normalised(in, k + kLanes, cols, norm, factor);
    const float amax = maxMagnitude(low, high);
    block->scale = amax / 127.0f;
    const V16 inverse = broadcast(amax > 0x1p-120f ? 127.0f / amax : 0.0f);
    Vector::writeBlock(format, rint(mul(low, inverse)), rint(mul(high, inverse)), *block);
  }
}

/// Calls store(column, sixteen values) over the padded row.
template <class Store>
inline void forNormalised(const float* in, int64_t cols, const float* norm, float eps, Store&& store) {
  const V16 factor = broadcast(normFactor(in, cols, norm, eps));
  const int64_t padded = (cols + kBlockCols - 1) / kBlockCols * kBlockCols;
  for (int64_t k = 0; k < padded; k += kLanes) store(k, normalised(in, k, cols, norm, factor));
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
