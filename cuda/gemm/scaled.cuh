// The product for prefill with scales that the matrix unit multiplies, on the skeleton of large_tcgen05.cuh.
// Unconfirmed: it has run on the executor only.
//
//   out[m][n] = factor of x[m] * factor of W[n] * sum over groups g of (scale of x[m], g) (scale of W[n], g) d_g
//   d_g       = sum over the columns k of g of code of x[m][k] * code of W[n][k]
//
//              codes of x, of W     columns of g     scales     factors
//   nvfp4      e2m1, e2m1           16               e4m3       of rows of both
//   mxfp4      e2m1, e2m1           32               2^e        -
//   mxfp8      e4m3, e2m1           32               2^e        -
//
// Sums run through all columns in tensor memory, so there is one run of stages, and warps have nothing to add before
// its end. Scales come with the tiles of their stage, 512 bytes for 128 rows and four groups, and go to tensor memory
// in the orders of that stage, before its products and behind those of the stage before.
//
// Inputs: with a the largest magnitude of a group, 2^e is the smallest power of two with a / 2^e at most what the codes
// hold (6, 448). nvfp4 has the factor largest of the row / (6 * 448), 1 where that is below kSmallestScale, and scales
// e4m3(a / (6 factor)), and codes are divided by the rounded scale.
#pragma once
#include "cuda/gemm/large_tcgen05.cuh"
#include "cuda/gemm/scaled.h"
#include "quant/quantize.h"

namespace foretoken::cuda {

/// 4-bit weights that meet e4m3 inputs lie in shared memory as these do, eight bytes of codes in sixteen.
constexpr BoxRow weightBox(ScaledKind kind) { return kind == ScaledKind::mxfp8 ? BoxRow::spacedCodes : BoxRow::bytes; }

template <ScaledKind kKind>
struct ScaledProduct {
  static constexpr int kScales = productScales(kKind), kGroups = kStageProducts * kScales;
  static constexpr int kBlocks = kGroups / kScaleBlockGroups, kBlockColumns = kScaleBlockGroups;
  static constexpr int kScaleBytes = kBlocks * kScaleBlockBytes, kParts = 1,
                       kScaleColumns = 2 * kBlocks * kBlockColumns;
  using Ring = LargeRing<kScaleBytes>;
  ScaledRows weights, x;

  __device__ ScaledLayout layout(ScaledSide side) const {
    const ScaledRows& rows = side == ScaledSide::inputs ? x : weights;
    return {kKind, side, rows.count, rows.cols};
  }
  __device__ int tokens() const { return x.count; }
  __device__ int rows() const { return weights.count; }
  __device__ int stages() const { return layout(ScaledSide::inputs).groups() / kGroups; }
  __device__ int run() const { return stages(); }
  __device__ int stageBytes() const {
    return kLargeTile * (kSwizzledRow + countedBytes(weightBox(kKind))) + 2 * kScaleBytes;
  }
  __device__ void loadWeights(const Ring& ring, const TensorMap& w, const LargePlace& place, int block,
                              int stage) const {
    copyBox(ring.weights(stage), w, block * kLargeTile, place.row, ring.full(stage));
    const size_t inputs = layout(ScaledSide::inputs).scaleBlock(place.token, block * kGroups);
    const size_t rows = layout(ScaledSide::weights).scaleBlock(place.row, block * kGroups);
    copyBytes(ring.inputScales(stage), x.scales + inputs, kScaleBytes, ring.full(stage));
    copyBytes(ring.weightScales(stage), weights.scales + rows, kScaleBytes, ring.full(stage));
  }
  static __device__ void orderStage(const Ring& ring, int stage, uint32_t d, uint32_t inputScales, bool begin) {
    const uint32_t weightScales = inputScales + kBlocks * kBlockColumns;
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
      orderScaleCopy(inputScales + i * kBlockColumns, scaleOperand(ring.inputScales(stage) + i * kScaleBlockBytes));
      orderScaleCopy(weightScales + i * kBlockColumns, scaleOperand(ring.weightScales(stage) + i * kScaleBlockBytes));
    }
    const uint64_t a = tensorOperand(ring.inputs(stage)), b = tensorOperand(ring.weights(stage));
#pragma unroll
    for (int k = 0; k < kStageProducts; ++k) {
      const int column = k * kScales / kScaleBlockGroups * kBlockColumns, byte = k * kScales % kScaleBlockGroups;
      orderScaledProduct<kKind>(d, a + 2 * k, b + 2 * k, inputScales + column, weightScales + column, byte,
                                !begin || k > 0);
    }
  }
  __device__ float scale(int token, int, int) const { return x.factors ? __ldg(x.factors + token) : 1.0f; }
  __device__ float rowFactor(int n) const { return weights.factors && n < weights.count ? weights.factors[n] : 1.0f; }
};

/// The scale of a group, and what its numbers are multiplied by; zeros have scale 0.
struct GroupScale {
  uint8_t code;
  float inverse;
};

template <ScaledKind kKind>
__device__ __forceinline__ GroupScale groupScale(float largest, float factor) {
  if (kKind == ScaledKind::nvfp4) {
    const auto code = static_cast<uint8_t>(encodeE4m3Pair(largest / (6.0f * factor), 0));
    return {code, code == 0 ? 0.0f : 1.0f / (e4m3ToFloat(code) * factor)};
  }
  const uint8_t code = floatToE8m0Ceil(largest / (kKind == ScaledKind::mxfp8 ? 448.0f : 6.0f));
  return {code, 1.0f / e8m0ToFloat(code)};
}

/// Four codes of eight bits or eight of four, the first in the lowest bits.
template <bool kE4m3>
__device__ __forceinline__ uint32_t codeWord(const float* values, float inverse) {
  uint32_t word = 0;
#pragma unroll
  for (int i = 0; i < (kE4m3 ? 2 : 4); ++i) {
    const float low = values[2 * i] * inverse, high = values[2 * i + 1] * inverse;
    word |= kE4m3 ? encodeE4m3Pair(low, high) << 16 * i : encodeE2m1Pair(low, high) << 8 * i;
  }
  return word;
}

/// Quantises one token a block, a group of columns a thread.
template <ScaledKind kKind, int kThreads>
__global__ void __launch_bounds__(kThreads) quantizeScaled(const float* in, const ScaledRows x) {
  constexpr bool kE4m3 = kKind == ScaledKind::mxfp8;
  constexpr int kGroup = scaleGroup(kKind), kWordCols = kE4m3 ? 4 : 8;
  __shared__ float scratch[kThreads / kWarp];
  const int token = static_cast<int>(blockIdx.x);
  const float* row = in + size_t(token) * x.cols;
  float factor = 1;
  if (kKind == ScaledKind::nvfp4) {
    float largest = 0;
    for (int col = static_cast<int>(threadIdx.x); col < x.cols; col += kThreads)
      largest = fmaxf(largest, fabsf(row[col]));
    largest = blockReduce(largest, scratch, kThreads / kWarp, Max{});
    const float exact = largest / (6.0f * 448.0f);
    factor = exact < kSmallestScale ? 1.0f : exact;
    if (threadIdx.x == 0) x.factors[token] = factor;
  }
  const ScaledLayout layout{kKind, ScaledSide::inputs, x.count, x.cols};
  for (int group = static_cast<int>(threadIdx.x); group < layout.groups(); group += kThreads) {
    float values[kGroup], largest = 0;
#pragma unroll
    for (int i = 0; i < kGroup; ++i) {
      const int col = group * kGroup + i;
      values[i] = col < x.cols ? row[col] : 0.0f;
      largest = fmaxf(largest, fabsf(values[i]));
    }
    const GroupScale scale = groupScale<kKind>(largest, factor);
    x.scales[layout.scaleAt(token, group)] = scale.code;
    if (group * kGroup >= roundUp(x.cols, kLargeTile)) continue;
    auto* codes = reinterpret_cast<uint32_t*>(x.codes + size_t(token) * layout.pitch()) + group * (kGroup / kWordCols);
#pragma unroll
    for (int word = 0; word < kGroup / kWordCols; ++word)
      codes[word] = codeWord<kE4m3>(values + word * kWordCols, scale.inverse);
  }
}

}  // namespace foretoken::cuda
