// Time on a device, for the GPU bench.
#pragma once
#include <cuda_runtime.h>

#include <algorithm>
#include <vector>

#include "bench/gpu/device_array.cuh"

namespace foretoken::bench {

/// Median seconds of `launch(i)`, each timed on its own; i counts all launches, so that operands can be rotated through
/// more than L2 holds.
template <class Launch>
double medianSeconds(Launch&& launch, int repeats = 30, int warmUp = 5) {
  cudaEvent_t begin, end;
  FORETOKEN_CUDA_CHECK(cudaEventCreate(&begin));
  FORETOKEN_CUDA_CHECK(cudaEventCreate(&end));
  std::vector<float> milliseconds;
  for (int i = 0; i < warmUp + repeats; ++i) {
    FORETOKEN_CUDA_CHECK(cudaEventRecord(begin));
    launch(i);
    FORETOKEN_CUDA_CHECK(cudaEventRecord(end));
    FORETOKEN_CUDA_CHECK(cudaEventSynchronize(end));
    float elapsed = 0;
    FORETOKEN_CUDA_CHECK(cudaEventElapsedTime(&elapsed, begin, end));
    if (i >= warmUp) milliseconds.push_back(elapsed);
  }
  FORETOKEN_CUDA_CHECK(cudaEventDestroy(begin));
  FORETOKEN_CUDA_CHECK(cudaEventDestroy(end));
  std::nth_element(milliseconds.begin(), milliseconds.begin() + repeats / 2, milliseconds.end());
  return 1e-3 * milliseconds[repeats / 2];
}

/// How many copies of an operand of so many bytes are more than three times what L2 holds.
inline int copiesBeyondCache(size_t bytes) {
  cudaDeviceProp properties;
  FORETOKEN_CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  return static_cast<int>(3 * static_cast<size_t>(properties.l2CacheSize) / std::max<size_t>(1, bytes)) + 2;
}

}  // namespace foretoken::bench
