// Inputs of the skinny product: rows of fp32 as f16, each over a power of two of its own, in the order of a tensor
// core's column operand. A token's numbers depend on that token alone.
//
// [group of 32 columns][tile of 8 tokens][lane] of 16 bytes: lane l has token l / 4 of the tile and columns 8t .. 8t +
// 7 of the group, t = l % 4, ordered as codes of weights come out of their decoder (codec.cuh).
#pragma once
#include "cuda/common/codec.cuh"
#include "cuda/common/reduce.cuh"
#include "cuda/gemm/layout.h"

namespace foretoken::cuda {

constexpr int kTokenTile = 8;

/// Prepared inputs of `tokens` tokens. Columns are padded with zeros to whole steps of any format; tokens that fill up
/// the last tile hold anything.
struct Activations {
  uint4* fragments;
  float* factors;  ///< [tokens] powers of two that the numbers have been divided by
  int tokens, cols;
  bool operator==(const Activations&) const = default;

  __host__ __device__ int tokenTiles() const { return ceilDiv(tokens, kTokenTile); }
  __host__ __device__ int groups() const { return roundUp(cols, 256) / kGroupCols; }
  /// How many uint4 `fragments` holds.
  __host__ __device__ size_t size() const { return size_t(groups()) * tokenTiles() * kWarp; }
  /// Where columns 8 part .. 8 part + 7 of a token are.
  __device__ size_t index(int token, int part) const {
    return (size_t(part / 4) * tokenTiles() + token / kTokenTile) * kWarp + token % kTokenTile * 4 + part % 4;
  }
};

/// The power of two that brings `largest` into [2^13, 2^14): far from f16's overflow, and 27 binary orders above its
/// smallest number. 1 where there is nothing to scale.
__device__ __forceinline__ float activationFactor(float largest) {
  const uint32_t exponent = __float_as_uint(largest) >> 23;
  if (exponent < 14 || exponent == 255) return 1;
  return __uint_as_float((exponent - 13) << 23);
}

enum class WeightCode : uint8_t { e4m3, e2m1 };

/// Eight neighbouring numbers of a token, times `inverse`, as a lane's fragment.
__device__ __forceinline__ uint4 activationFragment(const float (&values)[8], float inverse, WeightCode code) {
  uint32_t pairs[4] = {};
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int slot = code == WeightCode::e2m1 ? e2m1Slot(i) : i;
#pragma unroll
    for (int pair = 0; pair < 4; ++pair)
      if (slot / 2 == pair) pairs[pair] |= uint32_t{fromFloat(F16{}, values[i] * inverse)} << (slot % 2 * 16);
  }
  return make_uint4(pairs[0], pairs[1], pairs[2], pairs[3]);
}

/// Prepares one token a block: in [tokens][cols].
template <int kThreads>
__global__ void __launch_bounds__(kThreads) prepareActivations(const float* in, Activations out, WeightCode code) {
  __shared__ float scratch[kThreads / kWarp];
  const int token = static_cast<int>(blockIdx.x);
  const float* row = in + size_t(token) * out.cols;
  float largest = 0;
  for (int col = static_cast<int>(threadIdx.x); col < out.cols; col += kThreads)
    largest = fmaxf(largest, fabsf(row[col]));
  const float factor = activationFactor(blockReduce(largest, scratch, kThreads / kWarp, Max{}));
  if (threadIdx.x == 0) out.factors[token] = factor;
  for (int part = static_cast<int>(threadIdx.x); part < out.groups() * 4; part += kThreads) {
    float values[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) values[i] = part * 8 + i < out.cols ? row[part * 8 + i] : 0.0f;
    out.fragments[out.index(token, part)] = activationFragment(values, 1 / factor, code);
  }
}

}  // namespace foretoken::cuda
