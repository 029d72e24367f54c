// The read-only ceiling: how fast a kernel that does nothing else reads memory that no cache holds. Every share that
// the bench prints is of this figure, taken in the same process.
#include "bench/gpu/ceiling.h"

#include <vector>

#include "bench/gpu/device.cuh"
#include "cuda/common/device.cuh"

namespace foretoken::bench {
namespace {

constexpr size_t kBytes = size_t{2} << 30;
constexpr int kThreads = 512;

__global__ void __launch_bounds__(kThreads) readAll(const uint4* data, size_t count, uint32_t* out) {
  uint32_t sum = 0;
  const size_t stride = static_cast<size_t>(gridDim.x) * kThreads;
  size_t i = blockIdx.x * static_cast<size_t>(kThreads) + threadIdx.x;
  for (; i + 3 * stride < count; i += 4 * stride) {
    uint4 v[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) v[k] = __ldcs(data + i + k * stride);
#pragma unroll
    for (int k = 0; k < 4; ++k) sum ^= v[k].x ^ v[k].y ^ v[k].z ^ v[k].w;
  }
  for (; i < count; i += stride) sum ^= __ldcs(data + i).x;
  if (sum == 0x12345678) *out = sum;  // never, but the compiler can't know
}

}  // namespace

double readCeiling() {
  const DeviceArray<uint4> data(kBytes / sizeof(uint4));
  const DeviceArray<uint32_t> out(1);
  FORETOKEN_CUDA_CHECK(cudaMemset(data.get(), 1, data.bytes()));
  double best = 0;
  for (const int blocksPerProcessor : {1, 2, 4}) {
    const double seconds = medianSeconds([&](int) {
      FORETOKEN_CUDA_CHECK(cuda::launch(readAll, cuda::multiprocessors() * blocksPerProcessor, kThreads, 0, nullptr,
                                        data.get(), data.size(), out.get()));
    });
    best = std::max(best, static_cast<double>(kBytes) / seconds);
  }
  return best;
}

}  // namespace foretoken::bench
