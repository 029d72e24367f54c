// The product for prefill as its callers see it. large.cuh computes it on Hopper, large_tcgen05.cuh on Blackwell.
#pragma once
#include "cuda/common/pipeline.cuh"
#include "cuda/gemm/epilogue.cuh"

namespace foretoken::cuda {

constexpr int kLargeTile = 128;  ///< tokens, rows and columns of a tile

/// Weights [rows][pitch] of e4m3 as the file has them; pitch is a multiple of 16.
struct LargeWeights {
  const uint8_t* codes;
  int rows, cols, pitch;
  const float* blockScales;  ///< [rows / 128][cols / 128], rounded up; null: all 1
  const float* rowFactors;   ///< [rows]; null: all 1

  /// Of row n; 1 behind the last one.
  __device__ float rowFactor(int n) const { return rowFactors && n < rows ? rowFactors[n] : 1.0f; }
};

/// Inputs [tokens][pitch] of e4m3, pitch = cols rounded up to 128, with a scale for 128 columns of a token.
struct LargeInputs {
  uint8_t* codes;
  float* scales;  ///< [cols / 128, rounded up][tokens]
  int tokens, cols;

  __host__ __device__ int blocks() const { return ceilDiv(cols, kLargeTile); }
  __host__ __device__ int pitch() const { return blocks() * kLargeTile; }
};

/// Quantises in [x.tokens][x.cols].
cudaError_t prepareLarge(const float* in, const LargeInputs& x, cudaStream_t stream);

/// out = x W^T. cudaErrorNotSupported where the device is neither Hopper nor Blackwell.
cudaError_t multiplyLarge(const LargeWeights& weights, const LargeInputs& x, const Output& out, cudaStream_t stream);

}  // namespace foretoken::cuda
