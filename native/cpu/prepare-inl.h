// Input rows of a matrix product: RMSNorm, then rounding to what the weights' format multiplies. Included by gemm_*.cc.
//
// The sum of squares runs in sixteen lanes (column mod 16) that are then added in V16's fixed order.
#pragma once
#include "cpu/kernels.h"
#include "cpu/vector_math-inl.h"

namespace foretoken {
namespace {

/// A prepared row of an integer format: int8 codes of all columns, then a scale per block, then two words per block of
/// whatever the path's dot product wants to know of the codes' sums (Vector::blockWords).
struct IntegerRow {
  const int8_t* codes;
  const float* scales;
  const int32_t* words;

  IntegerRow() = default;
  IntegerRow(const uint8_t* row, int64_t blocks)
      : codes(reinterpret_cast<const int8_t*>(row)),
        scales(reinterpret_cast<const float*>(row + blocks * kBlockCols)),
        words(reinterpret_cast<const int32_t*>(row + blocks * (kBlockCols + 4))) {}
};

/// Any format: fp32 needs most.
inline size_t preparedBytes(int64_t cols) {
  const int64_t blocks = (cols + kBlockCols - 1) / kBlockCols;
  return (static_cast<size_t>(blocks) * kBlockCols * sizeof(float) + 63) / 64 * 64;
}

/// Sixteen values at in[k], zeros from `cols` on.
inline V16 loadUpTo(const float* in, int64_t k, int64_t cols) {
  if (k + kLanes <= cols) return load(in + k);
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

/// `Vector::storeCodes(float values, int8 out)` and `Vector::blockWords` belong to the path.
template <class Vector>
void prepareInteger(Format format, const float* in, int64_t cols, const float* norm, float eps, uint8_t* out) {
  const int64_t blocks = (cols + kBlockCols - 1) / kBlockCols;
  int8_t* codes = reinterpret_cast<int8_t*>(out);
  float* scales = reinterpret_cast<float*>(out + blocks * kBlockCols);
  int32_t* words = reinterpret_cast<int32_t*>(out + blocks * (kBlockCols + 4));
  const V16 factor = broadcast(normFactor(in, cols, norm, eps));
  for (int64_t b = 0; b < blocks; ++b, codes += kBlockCols, words += 2) {
    const V16 low = normalised(in, b * kBlockCols, cols, norm, factor);
    const V16 high = normalised(in, b * kBlockCols + kLanes, cols, norm, factor);
    const float amax = maxMagnitude(low, high);
    scales[b] = amax / 127.0f;
    const V16 inverse = broadcast(amax > 0x1p-120f ? 127.0f / amax : 0.0f);
    Vector::storeCodes(rint(mul(low, inverse)), codes);
    Vector::storeCodes(rint(mul(high, inverse)), codes + kLanes);
    Vector::blockWords(format, codes, words);
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
