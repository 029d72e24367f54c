// Sums and maxima of a warp and of a block, in an order that only depends on how many threads there are: the same bits
// whoever comes first.
#pragma once
#include "cuda/common/device.cuh"

namespace foretoken::cuda {

struct Sum {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
struct Max {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};

/// All lanes get the result. Neighbours combine first; for Sum both partners add the same two numbers, so that all
/// lanes hold the same bits.
template <class Combine, class T>
__device__ __forceinline__ T warpReduce(T value, Combine combine) {
#pragma unroll
  for (int lanes = 1; lanes < kWarp; lanes *= 2) value = combine(value, __shfl_xor_sync(kAllLanes, value, lanes));
  return value;
}

/// All threads of a block of `warps` whole warps get the result: each warp reduces, then warp by warp in order.
/// `scratch` holds one T a warp, and may be used again when the call returns.
template <class Combine, class T>
__device__ __forceinline__ T blockReduce(T value, T* scratch, int warps, Combine combine) {
  value = warpReduce(value, combine);
  if (threadIdx.x % kWarp == 0) scratch[threadIdx.x / kWarp] = value;
  __syncthreads();
  T all = scratch[0];
  for (int warp = 1; warp < warps; ++warp) all = combine(all, scratch[warp]);
  __syncthreads();
  return all;
}

}  // namespace foretoken::cuda
