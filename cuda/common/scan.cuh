// Running sums of a warp. Of integers, so that the order of adding doesn't show.
#pragma once
#include "cuda/common/device.cuh"

namespace foretoken::cuda {

/// Sum of the values of this lane and those before it.
template <class T>
__device__ __forceinline__ T warpScan(T value) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
#pragma unroll
  for (int lanes = 1; lanes < kWarp; lanes *= 2) {
    const T before = __shfl_up_sync(kAllLanes, value, lanes);
    if (lane >= lanes) value += before;
  }
  return value;
}

/// values[i] = start + what values[0 .. i) were together, for i < count. For one whole warp.
template <class T>
__device__ void warpSumsBefore(T* values, int count, T start) {
  const int each = ceilDiv(count, kWarp), begin = static_cast<int>(threadIdx.x % kWarp) * each;
  const int end = begin + each < count ? begin + each : count;
  T mine = 0;
  for (int i = begin; i < end; ++i) mine += values[i];
  T sum = start + warpScan(mine) - mine;
  for (int i = begin; i < end; ++i) {
    const T value = values[i];
    values[i] = sum;
    sum += value;
  }
}

}  // namespace foretoken::cuda
