// Device memory, errors and time for the GPU bench.
#pragma once
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cuda/common/memory.cuh"

namespace foretoken::bench {

/// Ends the program, saying where: a bench has nothing to go on with.
inline void check(cudaError_t error, const char* what, const char* file, int line) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s:%d: %s: %s\n", file, line, what, cudaGetErrorString(error));
  std::exit(1);
}
#define FORETOKEN_CUDA_CHECK(call) ::foretoken::bench::check(call, #call, __FILE__, __LINE__)

/// Numbers in device memory.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t count) : memory_(count * sizeof(T)) {}
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) { write(values); }

  T* get() const { return memory_.as<T>(); }
  size_t size() const { return bytes() / sizeof(T); }
  size_t bytes() const { return memory_.size(); }
  void write(const std::vector<T>& values) { cuda::copyToDevice(get(), values.data(), values.size() * sizeof(T)); }
  std::vector<T> read() const {
    std::vector<T> values(size());
    FORETOKEN_CUDA_CHECK(cudaMemcpy(values.data(), get(), bytes(), cudaMemcpyDeviceToHost));
    return values;
  }

 private:
  cuda::DeviceMemory memory_;
};

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
