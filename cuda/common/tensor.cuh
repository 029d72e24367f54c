// tcgen05 and tensor memory of Blackwell (cuda/simt/tensor.h says what each function does). Unconfirmed: no such device
// has run this yet.
#pragma once
#include "cuda/common/pipeline.cuh"
#ifdef FORETOKEN_SIMT
#include "cuda/simt/tensor.h"
#endif

namespace foretoken::cuda {

/// Columns of one load from tensor memory.
constexpr int kTensorPart = 32;

/// A swizzled tile as an operand of orderProduct; k columns further is + k / 16. Unlike Hopper's, the descriptor has a
/// version (bit 46), and the 128-byte swizzle is number 2 of three bits.
__device__ __forceinline__ uint64_t tensorOperand(const void* tile) {
  constexpr uint64_t kAddress = 0x3fff;
  return (tileOperand(tile) & kAddress) | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 46 |
         uint64_t{2} << 61;
}

#ifdef FORETOKEN_SIMT

inline void allocateTensorMemory(uint32_t* address, int columns, simt::Where where = simt::Where::current()) {
  simt::allocateTensorMemory(address, columns, where);
}
inline void freeTensorMemory(uint32_t, int columns, simt::Where where = simt::Where::current()) {
  simt::freeTensorMemory(columns, where);
}
/// Sums at column d (128 x 128) = or += a (128 x 32) b (128 x 32)^T, e4m3. Called by one thread.
inline void orderProduct(uint32_t d, uint64_t a, uint64_t b, bool accumulate,
                         simt::Where where = simt::Where::current()) {
  simt::orderProduct(d, a, b, accumulate, where);
}
/// Arrives at the barrier when everything that this thread ordered is done.
inline void commitOrders(uint64_t* barrier, simt::Where where = simt::Where::current()) {
  simt::commitOrders(barrier, where);
}
/// kTensorPart columns of this thread's lane; the address has the warp's first lane in its upper half.
inline void loadTensorMemory(uint32_t address, float (&to)[kTensorPart], simt::Where where = simt::Where::current()) {
  simt::loadTensorMemory(address, to, where);
}
/// Before a barrier that tells others of accesses to tensor memory, and after one that told so.
inline void fenceTensorBefore() {}
inline void fenceTensorAfter() {}

#elif __CUDA_ARCH__ >= 1000

__device__ __forceinline__ void allocateTensorMemory(uint32_t* address, int columns) {
  asm volatile("tcgen05.alloc.cta_group::1.sync.aligned.shared::cta.b32 [%0], %1;" ::"r"(sharedAddress(address)),
               "r"(columns)
               : "memory");
  asm volatile("tcgen05.relinquish_alloc_permit.cta_group::1.sync.aligned;");
}
__device__ __forceinline__ void freeTensorMemory(uint32_t address, int columns) {
  asm volatile("tcgen05.dealloc.cta_group::1.sync.aligned.b32 %0, %1;" ::"r"(address), "r"(columns));
}
__device__ __forceinline__ void orderProduct(uint32_t d, uint64_t a, uint64_t b, bool accumulate) {
  // fp32 sums, e4m3 operands along k, 128 columns, 128 rows.
  constexpr uint32_t kShape = 1u << 4 | (128u >> 3) << 17 | (128u >> 4) << 24;
  asm volatile(
      "{.reg .pred more; setp.ne.b32 more, %4, 0; tcgen05.mma.cta_group::1.kind::f8f6f4 [%0], %1, %2, %3, more;}" ::"r"(
          d),
      "l"(a), "l"(b), "r"(kShape), "r"(static_cast<int>(accumulate))
      : "memory");
}
__device__ __forceinline__ void commitOrders(uint64_t* barrier) {
  asm volatile(
      "tcgen05.commit.cta_group::1.mbarrier::arrive::one.shared::cluster.b64 [%0];" ::"r"(sharedAddress(barrier))
      : "memory");
}
__device__ __forceinline__ void loadTensorMemory(uint32_t address, float (&to)[kTensorPart]) {
  asm volatile(
      "tcgen05.ld.sync.aligned.32x32b.x32.b32 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, [%32]; "
      "tcgen05.wait::ld.sync.aligned;"
      : "=f"(to[0]), "=f"(to[1]), "=f"(to[2]), "=f"(to[3]), "=f"(to[4]), "=f"(to[5]), "=f"(to[6]), "=f"(to[7]),
        "=f"(to[8]), "=f"(to[9]), "=f"(to[10]), "=f"(to[11]), "=f"(to[12]), "=f"(to[13]), "=f"(to[14]), "=f"(to[15]),
        "=f"(to[16]), "=f"(to[17]), "=f"(to[18]), "=f"(to[19]), "=f"(to[20]), "=f"(to[21]), "=f"(to[22]), "=f"(to[23]),
        "=f"(to[24]), "=f"(to[25]), "=f"(to[26]), "=f"(to[27]), "=f"(to[28]), "=f"(to[29]), "=f"(to[30]), "=f"(to[31])
      : "r"(address)
      : "memory");
}
__device__ __forceinline__ void fenceTensorBefore() { asm volatile("tcgen05.fence::before_thread_sync;" ::: "memory"); }
__device__ __forceinline__ void fenceTensorAfter() { asm volatile("tcgen05.fence::after_thread_sync;" ::: "memory"); }

#else

__device__ __forceinline__ void allocateTensorMemory(uint32_t*, int) {}
__device__ __forceinline__ void freeTensorMemory(uint32_t, int) {}
__device__ __forceinline__ void orderProduct(uint32_t, uint64_t, uint64_t, bool) {}
__device__ __forceinline__ void commitOrders(uint64_t*) {}
__device__ __forceinline__ void loadTensorMemory(uint32_t, float (&)[kTensorPart]) {}
__device__ __forceinline__ void fenceTensorBefore() {}
__device__ __forceinline__ void fenceTensorAfter() {}

#endif

}  // namespace foretoken::cuda
