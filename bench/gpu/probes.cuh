// What the executor of cuda/simt has to have in common with a GPU: kernels that write out what one primitive does with
// known bits. Compiled by nvcc and over the executor; the results have to be the same words.
#pragma once
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "cuda/common/load.cuh"
#include "cuda/common/mma.cuh"
#include "cuda/common/reduce.cuh"

namespace foretoken::bench {

using namespace foretoken::cuda;

/// A word of input: small numbers, so that sums of products are exact in whatever order they are made.
template <class Type>
__device__ __forceinline__ uint32_t smallPair(Type type, uint32_t seed) {
  const uint32_t mixed = seed * 2654435761u;
  return packPair(type, static_cast<float>(static_cast<int>(mixed >> 28) - 8),
                  static_cast<float>(static_cast<int>(mixed >> 24 & 15) - 8));
}

template <class Type>
__global__ void probeMma(uint32_t* out) {
  const uint32_t lane = threadIdx.x;
  uint32_t a[4], b[2];
  for (uint32_t i = 0; i < 4; ++i) a[i] = smallPair(Type{}, lane * 8 + i);
  for (uint32_t i = 0; i < 2; ++i) b[i] = smallPair(Type{}, lane * 8 + 4 + i);
  float d[4];
  for (int i = 0; i < 4; ++i) d[i] = static_cast<float>(lane) - static_cast<float>(4 * i);
  mma(Type{}, d, a, b);
  for (int i = 0; i < 4; ++i) out[lane * 4 + i] = __float_as_uint(d[i]);
}

__global__ void probeMmaBytes(uint32_t* out) {
  const uint32_t lane = threadIdx.x;
  uint32_t a[4], b[2];
  for (uint32_t i = 0; i < 4; ++i) a[i] = (lane * 4 + i) * 2654435761u;
  for (uint32_t i = 0; i < 2; ++i) b[i] = (lane * 2 + i) * 2246822519u;
  int d[4] = {1, -1, static_cast<int>(lane), 0};
  mma(d, a, b);
  for (int i = 0; i < 4; ++i) out[lane * 4 + i] = static_cast<uint32_t>(d[i]);
}

template <bool kTransposed>
__global__ void probeLoadMatrix(uint32_t* out) {
  __shared__ __align__(16) uint16_t rows[32 * 8];
  for (int i = 0; i < 8; ++i) rows[threadIdx.x * 8 + i] = static_cast<uint16_t>(threadIdx.x * 256 + i);
  __syncwarp();
  uint32_t to[4];
  const uint16_t* const row = rows + (threadIdx.x ^ 5u) * 8;
  if constexpr (kTransposed)
    loadMatrixTransposed(to, row);
  else
    loadMatrix(to, row);
  for (int i = 0; i < 4; ++i) out[threadIdx.x * 4 + i] = to[i];
}

__global__ void probeCopy(uint32_t* out) {
  __shared__ __align__(16) uint32_t to[32 * 4];
  for (uint32_t i = 0; i < 4; ++i) out[128 + threadIdx.x * 4 + i] = threadIdx.x * 16 + i;
  __syncthreads();
  copyAsync16(to + threadIdx.x * 4, out + 128 + threadIdx.x * 4, static_cast<int>(threadIdx.x % 17));
  commitCopies();
  waitCopies<0>();
  __syncwarp();
  for (int i = 0; i < 4; ++i) out[threadIdx.x * 4 + i] = to[threadIdx.x * 4 + i];
}

__global__ void probeWarp(uint32_t* out) {
  const uint32_t lane = threadIdx.x, value = lane * 2654435761u;
  out[lane * 4] = __shfl_xor_sync(kAllLanes, value, 5);
  out[lane * 4 + 1] = __shfl_up_sync(kAllLanes, value, 3);
  out[lane * 4 + 2] = __ballot_sync(kAllLanes, value >> 31);
  out[lane * 4 + 3] = __float_as_uint(warpReduce(static_cast<float>(value >> 8) * 1e-3f, Sum{}));
}

/// Rounding to f16 and bf16, of 128 floats all over f16's range.
__global__ void probeRounding(uint32_t* out) {
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t word = (threadIdx.x * 4 + i) * 2654435761u;
    const float value = __uint_as_float((word & 0x8fffffffu) | 0x38000000u);
    out[threadIdx.x * 4 + i] = fromFloat(F16{}, value) | uint32_t{fromFloat(Bf16{}, value)} << 16;
  }
}

/// Words that a probe uses: the first kProbeWords are its result.
constexpr int kProbeWords = 128, kProbeRoom = 256;

/// A name and what writes its words to memory that the kernel can reach.
struct Probe {
  std::string name;
  std::function<cudaError_t(uint32_t*)> run;
};

inline std::vector<Probe> probes() {
  const auto of = [](void (*kernel)(uint32_t*)) {
    return [kernel](uint32_t* out) { return launch(kernel, 1, 32, 0, nullptr, out); };
  };
  return {{"mma.f16", of(probeMma<F16>)},
          {"mma.bf16", of(probeMma<Bf16>)},
          {"mma.s8", of(probeMmaBytes)},
          {"ldmatrix", of(probeLoadMatrix<false>)},
          {"ldmatrix.trans", of(probeLoadMatrix<true>)},
          {"cp.async", of(probeCopy)},
          {"warp", of(probeWarp)},
          {"rounding", of(probeRounding)}};
}

}  // namespace foretoken::bench
