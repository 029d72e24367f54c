// Device memory and errors for the GPU bench; on the executor as well, for what is compared with it.
#pragma once
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

}  // namespace foretoken::bench
