// What every CUDA library must answer first: its version, the devices, and whether code built for one of them runs
// there.
#include <cstdio>

#include "cuda/abi.h"
#include "cuda/common/device.cuh"

#define FORETOKEN_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

bool succeeded(cudaError_t error, foretoken_cuda_status* status) {
  status->code = static_cast<int32_t>(error);
  status->message[0] = '\0';
  if (error == cudaSuccess) return true;
  std::snprintf(status->message, sizeof status->message, "%s: %s", cudaGetErrorName(error), cudaGetErrorString(error));
  return false;
}

/// Device memory that frees itself.
class DeviceArray {
 public:
  DeviceArray() = default;
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }
  cudaError_t allocate(size_t count) { return cudaMalloc(&data_, count * sizeof(float)); }
  float* get() const { return static_cast<float*>(data_); }

 private:
  void* data_ = nullptr;
};

__global__ void axpy(float a, const float* x, float* y, size_t count) {
  const size_t i = blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x;
  if (i < count) y[i] += a * x[i];
}

}  // namespace

FORETOKEN_EXPORT int32_t foretoken_cuda_abi_version(void) { return FORETOKEN_CUDA_ABI_VERSION; }

FORETOKEN_EXPORT void foretoken_cuda_versions(int32_t* runtime, int32_t* driver, foretoken_cuda_status* status) {
  *runtime = *driver = 0;
  if (succeeded(cudaRuntimeGetVersion(runtime), status)) succeeded(cudaDriverGetVersion(driver), status);
}

FORETOKEN_EXPORT int32_t foretoken_cuda_device_count(foretoken_cuda_status* status) {
  int count = 0;
  return succeeded(cudaGetDeviceCount(&count), status) ? count : 0;
}

FORETOKEN_EXPORT void foretoken_cuda_describe(int32_t index, foretoken_cuda_device* device,
                                              foretoken_cuda_status* status) {
  cudaDeviceProp properties;
  if (!succeeded(cudaGetDeviceProperties(&properties, index), status)) return;
  std::snprintf(device->name, sizeof device->name, "%s", properties.name);
  device->capability_major = properties.major;
  device->capability_minor = properties.minor;
  device->memory_bytes = properties.totalGlobalMem;
}

FORETOKEN_EXPORT void foretoken_cuda_axpy(int32_t index, float a, const float* x, float* y, size_t count,
                                          foretoken_cuda_status* status) {
  if (!succeeded(cudaSetDevice(index), status) || count == 0) return;
  const size_t bytes = count * sizeof(float);
  DeviceArray deviceX, deviceY;
  if (!succeeded(deviceX.allocate(count), status) || !succeeded(deviceY.allocate(count), status)) return;
  if (!succeeded(cudaMemcpy(deviceX.get(), x, bytes, cudaMemcpyHostToDevice), status)) return;
  if (!succeeded(cudaMemcpy(deviceY.get(), y, bytes, cudaMemcpyHostToDevice), status)) return;
  constexpr unsigned kThreads = 256;
  const dim3 blocks(static_cast<unsigned>(foretoken::cuda::ceilDiv<size_t>(count, kThreads)));
  if (!succeeded(foretoken::cuda::launch(axpy, blocks, kThreads, 0, nullptr, a, deviceX.get(), deviceY.get(), count),
                 status))
    return;
  succeeded(cudaMemcpy(y, deviceY.get(), bytes, cudaMemcpyDeviceToHost), status);
}
