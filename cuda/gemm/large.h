// The product for prefill as its callers see it. large.cuh computes it on Hopper, large_tcgen05.cuh on Blackwell.
#pragma once
#include "cuda/common/pipeline.cuh"
#include "cuda/gemm/skinny.h"

namespace foretoken::cuda {

constexpr int kLargeTile = 128;  ///< tokens, rows and columns of a tile

/// The skinny product's weights, of one of the formats of 8 bits.
struct LargeWeights : SkinnyWeights {
  SkinnyFormat format;
  bool operator==(const LargeWeights&) const = default;

  __host__ __device__ SkinnyLayout layout() const { return {format, rows, cols}; }
  /// Of the columns of `block` of the 128 rows that `row` is one of.
  __device__ float blockScale(int row, int block) const {
    if (format == SkinnyFormat::fp8Rows) return 1;
    const auto* scales = reinterpret_cast<const float*>(packed + layout().scaleOffset());
    return __ldg(scales + row / kScaleBlockRows * layout().steps() + block);
  }
  /// Of row n, which may be one of those that fill up the last tile.
  __device__ float rowFactor(int n) const {
    return __ldg(reinterpret_cast<const float*>(packed + layout().rowFactorOffset()) + n);
  }
};

/// Inputs [tokens][pitch] of e4m3, pitch = cols rounded up to 128, each 128 columns in the order of fp8Place and with a
/// scale of their own.
struct LargeInputs {
  uint8_t* codes;
  float* scales;  ///< [cols / 128, rounded up][tokens]
  int tokens, cols;
  bool operator==(const LargeInputs&) const = default;

  __host__ __device__ int blocks() const { return ceilDiv(cols, kLargeTile); }
  __host__ __device__ int pitch() const { return blocks() * kLargeTile; }
};

/// Quantises in [x.tokens][x.cols].
cudaError_t prepareLarge(const float* in, const LargeInputs& x, cudaStream_t stream);

/// out = x W^T. cudaErrorNotSupported where weights are not of 8 bits, or the device is neither Hopper nor Blackwell.
cudaError_t multiplyLarge(const LargeWeights& weights, const LargeInputs& x, const Output& out, cudaStream_t stream);

}  // namespace foretoken::cuda
