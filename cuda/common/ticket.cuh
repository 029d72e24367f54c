// Who comes last finishes the work: the last of `blocks` blocks to arrive sees what all of them wrote to global memory.
#pragma once
#include <cstdint>

#include "cuda/common/device.cuh"

namespace foretoken::cuda {

/// For whole blocks. True in the last one; the counter is then 0 again.
__device__ inline bool isLastBlock(uint32_t* arrived, unsigned blocks) {
  __shared__ bool last;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicAdd(arrived, 1u) == blocks - 1;
    if (last) *arrived = 0;
    __threadfence();
  }
  __syncthreads();
  return last;
}

}  // namespace foretoken::cuda
