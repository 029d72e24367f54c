// The weight formats of the skinny product: how a lane's chunks become the row operand of two mma (one group of 32
// columns), and what sums of how many groups are multiplied by.
//
// kPromotedGroups 0: sums run through the whole slice. Otherwise the sum of that many groups is multiplied by
// promotion() and added to the slice's sum with one fmaf.
#pragma once
#include "cuda/common/codec.cuh"
#include "cuda/common/load.cuh"
#include "cuda/gemm/activations.cuh"
#include "cuda/gemm/layout.h"

namespace foretoken::cuda {

/// Word i of 16 bytes, i known when compiling.
__device__ __forceinline__ uint32_t word(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

/// A lane's chunks of a step.
using StepChunks = uint4[kStepChunks];

/// Row operands of two mma.sync m16n8k16 that cover a group of 32 columns.
using GroupOperand = uint32_t[2][4];

/// Pairs of rows g and g + 8 in their places.
__device__ __forceinline__ void place(const uint32_t (&upper)[4], const uint32_t (&lower)[4], GroupOperand& a) {
#pragma unroll
  for (int k = 0; k < 2; ++k) {
    a[k][0] = upper[2 * k];
    a[k][1] = lower[2 * k];
    a[k][2] = upper[2 * k + 1];
    a[k][3] = lower[2 * k + 1];
  }
}

/// One factor a row is all the scale there is, and that waits until the end.
struct ScaledByRows {
  static constexpr int kPromotedGroups = 0;
  struct Scales {};
  static __device__ Scales loadScales(const unsigned char*, int, int, int, const EvictFirst&) { return {}; }
  static __device__ __forceinline__ float factor() { return 1; }
};

/// e4m3.
struct Fp8Rows : ScaledByRows {
  static constexpr SkinnyFormat kFormat = SkinnyFormat::fp8Rows;
  static __device__ __forceinline__ void decode(const StepChunks& chunks, int group, const Scales&, GroupOperand& a) {
    uint32_t rows[2][4];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const uint4& chunk = chunks[group / 2 * 2 + i / 4];
      rows[i / 4][i % 4] = decodeE4m3Pair(word(chunk, group % 2 * 2 + i % 4 / 2) >> (i % 2 * 16));
    }
    place(rows[0], rows[1], a);
  }
};

/// f16, for weights that come in 16 bits or more.
struct F16Rows : ScaledByRows {
  static constexpr SkinnyFormat kFormat = SkinnyFormat::f16Rows;
  static __device__ __forceinline__ void decode(const StepChunks& chunks, int group, const Scales&, GroupOperand& a) {
    uint32_t rows[2][4];
#pragma unroll
    for (int i = 0; i < 8; ++i) rows[i / 4][i % 4] = word(chunks[group * 2 + i / 4], i % 4);
    place(rows[0], rows[1], a);
  }
};

/// e4m3 with a scale for every 128 x 128 weights: a step is 128 columns.
struct Fp8Blocks {
  static constexpr SkinnyFormat kFormat = SkinnyFormat::fp8Blocks;
  static constexpr int kPromotedGroups = 4;
  using Scales = float;
  static __device__ __forceinline__ Scales loadScales(const unsigned char* scales, int tile, int step, int steps,
                                                      const EvictFirst&) {
    return reinterpret_cast<const float*>(scales)[size_t(tile / (kScaleBlockRows / kTileRows)) * steps + step];
  }
  static __device__ __forceinline__ float factor() { return 1; }
  static __device__ __forceinline__ float promotion(const Scales& scales, int, int) { return scales; }
  static __device__ __forceinline__ void decode(const StepChunks& chunks, int group, const Scales&, GroupOperand& a) {
    Fp8Rows::decode(chunks, group, {}, a);
  }
};

/// e2m1 with an e4m3 scale for 16 columns, which are those of two lanes: weight and scale are multiplied in f16,
/// exactly (at most 6 bits, between 2^-17 and 21), and come out 2^-7 too small.
struct Nvfp4 {
  static constexpr SkinnyFormat kFormat = SkinnyFormat::nvfp4;
  static constexpr int kPromotedGroups = 0;
  using Scales = uint4;
  static __device__ __forceinline__ Scales loadScales(const unsigned char* scales, int tile, int step, int steps,
                                                      const EvictFirst& evict) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    return loadStreaming(scales + (size_t(tile) * steps + step) * 256 + lane / 2 * 16, evict);
  }
  static __device__ __forceinline__ float factor() { return 0x1p7f; }
  static __device__ __forceinline__ void decode(const StepChunks& chunks, int group, const Scales& scales,
                                                GroupOperand& a) {
    // 128 or 1/128: what is left of the 2^-7 when the decoder's factor is taken off.
    const uint32_t rescale = convertsE2m1() ? 0x20002000u : 0x58005800u;
    const uint32_t pair = decodeE4m3Pair(word(scales, group / 2) >> (group % 2 * 16));
    const uint32_t both = multiplyPair(F16{}, pair, rescale);
    uint32_t rows[2][4];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      decodeE2m1(word(chunks[group / 2], group % 2 * 2 + half), rows[half]);
#pragma unroll
      for (uint32_t& codes : rows[half]) codes = multiplyPair(F16{}, codes, spread(both, half));
    }
    place(rows[0], rows[1], a);
  }
};

/// e2m1 with a power of two for 32 columns. Its range is beyond f16's, so it multiplies sums of a group, in fp32.
struct Mxfp4 {
  static constexpr SkinnyFormat kFormat = SkinnyFormat::mxfp4;
  static constexpr int kPromotedGroups = 1;
  using Scales = uint4;
  static __device__ __forceinline__ Scales loadScales(const unsigned char* scales, int tile, int step, int steps,
                                                      const EvictFirst& evict) {
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    return loadStreaming(scales + (size_t(tile) * steps + step) * 128 + lane / 4 * 16, evict);
  }
  static __device__ __forceinline__ float factor() { return e2m1Factor(); }
  static __device__ __forceinline__ float promotion(const Scales& scales, int group, int half) {
    return e8m0ToFloat(static_cast<uint8_t>(word(scales, group / 2) >> (group % 2 * 16 + half * 8)));
  }
  static __device__ __forceinline__ void decode(const StepChunks& chunks, int group, const Scales&, GroupOperand& a) {
    uint32_t rows[2][4];
#pragma unroll
    for (int half = 0; half < 2; ++half) decodeE2m1(word(chunks[group / 2], group % 2 * 2 + half), rows[half]);
    place(rows[0], rows[1], a);
  }
};

}  // namespace foretoken::cuda
