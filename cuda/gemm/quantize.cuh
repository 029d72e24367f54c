// Inputs of the product for prefill on their way into it: a warp quantises 128 columns of a token.
#pragma once
#include "cuda/common/codec.cuh"
#include "cuda/common/reduce.cuh"
#include "cuda/gemm/large.h"
#include "quant/quantize.h"

namespace foretoken::cuda {

/// Columns of a block that each lane of a warp has, next to each other.
constexpr int kQuantizedEach = kLargeTile / kWarp;

/// Scale = largest / 448, 1 for zeros and for what counts as zeros (kSmallestScale). Codes go where those of weights
/// are, so that products meet. The calling lane has columns kQuantizedEach * lane and on, zeros behind the last one.
__device__ inline void quantizeBlock(const float (&value)[kQuantizedEach], const LargeInputs& x, int token, int block) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float largest = 0;
#pragma unroll
  for (const float each : value) largest = fmaxf(largest, fabsf(each));
  largest = warpReduce(largest, Max{});
  const float exact = largest / 448.0f, scale = exact < kSmallestScale ? 1.0f : exact;
  if (lane == 0) x.scales[size_t(block) * x.tokens + token] = scale;
  const uint32_t codes =
      encodeE4m3Pair(value[0] / scale, value[1] / scale) | encodeE4m3Pair(value[2] / scale, value[3] / scale) << 16;
  uint8_t* const to = x.codes + size_t(token) * x.pitch() + block * kLargeTile;
  *reinterpret_cast<uint32_t*>(to + fp8Place(lane * kQuantizedEach)) = codes;
}

}  // namespace foretoken::cuda
