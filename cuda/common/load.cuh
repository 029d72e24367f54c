// Loads of 16 bytes: weights, which are read once and must not push anything else out of L2; and asynchronous copies to
// shared memory.
#pragma once
#include "cuda/common/device.cuh"
#ifdef FORETOKEN_SIMT
#include "cuda/simt/copy.h"
#endif

namespace foretoken::cuda {

/// Says that what is loaded is the first to be evicted from L2.
struct EvictFirst {
#ifndef FORETOKEN_SIMT
  uint64_t policy;
  __device__ __forceinline__ EvictFirst() {
    asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
  }
#endif
};

/// 16 bytes that nobody writes while the kernel runs; L1 is not troubled with them.
__device__ __forceinline__ uint4 loadStreaming(const void* address, [[maybe_unused]] const EvictFirst& evict) {
#ifdef FORETOKEN_SIMT
  if (reinterpret_cast<uintptr_t>(address) % 16 != 0)
    simt::block->fail("a 16-byte load from an address that is no multiple of 16", simt::Where::current());
  return *static_cast<const uint4*>(address);
#else
  uint4 value;
  asm("ld.global.nc.L1::no_allocate.L2::cache_hint.v4.u32 {%0, %1, %2, %3}, [%4], %5;"
      : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
      : "l"(address), "l"(evict.policy));
  return value;
#endif
}

#ifdef FORETOKEN_SIMT

/// Copies 16 bytes from global to shared memory: `valid` of them (0 to 16), zeros behind. Takes place by waitCopies.
inline void copyAsync16(void* to, const void* from, int valid = 16, simt::Where where = simt::Where::current()) {
  simt::copyAsync(to, from, 16, valid, where);
}
/// Ends a group of copies of this thread.
inline void commitCopies() { simt::commitCopies(); }
/// Waits until at most kLeft of this thread's groups are under way. Other threads see the data after a barrier.
template <int kLeft>
void waitCopies() {
  simt::waitForCopies(kLeft);
}

#else

__device__ __forceinline__ void copyAsync16(void* to, const void* from, int valid = 16) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(from), "r"(valid) : "memory");
}
__device__ __forceinline__ void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int kLeft>
__device__ __forceinline__ void waitCopies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
}

#endif

}  // namespace foretoken::cuda
