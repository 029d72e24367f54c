// What a kernel stands on: CUDA itself under nvcc, the executor (cuda/simt) in tests on a CPU. Only the files of this
// folder know which of the two it is.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>

#ifdef FORETOKEN_SIMT
#include "cuda/simt/atomics.h"
#include "cuda/simt/barrier.h"
#include "cuda/simt/intrinsics.h"
#include "cuda/simt/language.h"
#include "cuda/simt/launch.h"
#include "cuda/simt/runtime.h"
#include "cuda/simt/warp.h"
#else
#include <cuda_runtime.h>
#endif

namespace foretoken::cuda {

constexpr int kWarp = 32;
constexpr uint32_t kAllLanes = 0xffffffffu;

template <class T>
__host__ __device__ constexpr T ceilDiv(T a, T b) {
  return (a + b - 1) / b;
}
template <class T>
__host__ __device__ constexpr T roundUp(T a, T b) {
  return ceilDiv(a, b) * b;
}

/// The block's dynamic shared memory, aligned to 1024 bytes. What is in it is poison until somebody writes.
template <class T = unsigned char>
__device__ __forceinline__ T* dynamicShared() {
#ifdef FORETOKEN_SIMT
  return reinterpret_cast<T*>(simt::dynamicSharedMemory());
#else
  extern __shared__ __align__(1024) unsigned char foretokenSharedMemory[];
  return reinterpret_cast<T*>(foretokenSharedMemory);
#endif
}

/// Barrier `id` (1 to 15) of `threads` threads: whole warps, those that wait and those that only arrive.
#ifdef FORETOKEN_SIMT
inline void namedBarrier(int id, int threads, simt::Where where = simt::Where::current()) {
  simt::block->synchronize(id, threads, 0, where);
}
inline void arriveAtBarrier(int id, int threads, simt::Where where = simt::Where::current()) {
  simt::block->arrive(id, threads, where);
}
#else
__device__ __forceinline__ void namedBarrier(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void arriveAtBarrier(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
#endif

/// From now on the kernel may have so much dynamic shared memory on the present device. It never may have less again:
/// another thread may be about to launch it with more.
inline cudaError_t allowShared(const void* kernel, size_t bytes) {
  constexpr size_t kWithoutAsking = 48 * 1024;
  static std::mutex mutex;
  static std::map<std::pair<int, const void*>, size_t> allowed;
  if (bytes <= kWithoutAsking) return cudaSuccess;
  int device = 0;
  if (const cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) return error;
  const std::lock_guard lock(mutex);
  size_t& most = allowed[{device, kernel}];
  if (bytes <= most) return cudaSuccess;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
  if (error == cudaSuccess) most = bytes;
  return error;
}

/// kernel<<<grid, block, sharedBytes, stream>>>(arguments...), with as much dynamic shared memory as that takes. The
/// executor is done when it returns, and throws simt::Failure.
template <class... Parameters, class... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t sharedBytes, cudaStream_t stream,
                   Arguments&&... arguments) {
  const cudaError_t error = allowShared(reinterpret_cast<const void*>(kernel), sharedBytes);
  if (error != cudaSuccess) return error;
#ifdef FORETOKEN_SIMT
  return simt::issue(stream,
                     [=] { simt::runGrid(kernel, grid, block, sharedBytes, static_cast<Parameters>(arguments)...); });
#else
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = sharedBytes;
  config.stream = stream;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
#endif
}

}  // namespace foretoken::cuda
