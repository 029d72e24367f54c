// tcgen05 and tensor memory of Blackwell (cuda/simt/tensor.h says what each function does). Unconfirmed: no such device
// has run this yet.
#pragma once
#include "cuda/common/pipeline.cuh"
#include "cuda/common/scaled_kind.h"
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

/// Scales of a block of scaled_kind.h as what orderScaleCopy copies: no swizzle, 128 bytes between groups of eight
/// rows.
__device__ __forceinline__ uint64_t scaleOperand(const void* scales) {
  constexpr uint64_t kAddress = 0x3fff;
  return (tileOperand(scales) & kAddress) | uint64_t{128 >> 4} << 32 | uint64_t{1} << 46;
}

/// PTX's instruction descriptors, of products of 128 x 128 whose operands lie along k.
constexpr uint32_t kTensorShape = 128u / 8 << 17 | 128u / 16 << 24;
/// e4m3, fp32 sums.
constexpr uint32_t kPlainInstruction = kTensorShape | 1u << 4;
/// Scales begin at byte `scale` of their words. e2m1 has number 1 among elements of four bits, 5 among those of eight.
__host__ __device__ constexpr uint32_t scaledInstruction(ScaledKind kind, int scale) {
  const uint32_t elements = kind == ScaledKind::mxfp8 ? 0u << 7 | 5u << 10 : 1u << 7 | 1u << 10;
  const uint32_t powersOfTwo = kind == ScaledKind::nvfp4 ? 0 : 1u << 23;
  return kTensorShape | elements | powersOfTwo | static_cast<uint32_t>(scale) << 4 | static_cast<uint32_t>(scale) << 29;
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
  simt::orderProduct(kPlainInstruction, d, a, b, accumulate, where);
}
/// The same of elements with scales, which lie in columns from scalesA and scalesB on, bytes from `scale` on. a and b
/// are tiles of 32 bytes a row.
template <ScaledKind kKind>
void orderScaledProduct(uint32_t d, uint64_t a, uint64_t b, uint32_t scalesA, uint32_t scalesB, int scale,
                        bool accumulate, simt::Where where = simt::Where::current()) {
  simt::orderScaledProduct(kKind, scaledInstruction(kKind, scale), d, a, b, scalesA, scalesB, accumulate, where);
}
/// Copies a block of scales to four columns; products ordered before still take what was there.
inline void orderScaleCopy(uint32_t to, uint64_t from, simt::Where where = simt::Where::current()) {
  simt::orderScaleCopy(to, from, where);
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
  asm volatile(
      "{.reg .pred more; setp.ne.b32 more, %4, 0; tcgen05.mma.cta_group::1.kind::f8f6f4 [%0], %1, %2, %3, more;}" ::"r"(
          d),
      "l"(a), "l"(b), "r"(kPlainInstruction), "r"(static_cast<int>(accumulate))
      : "memory");
}
#define FORETOKEN_SCALED_PRODUCT(kind)                                                                                \
  asm volatile("{.reg .pred more; setp.ne.b32 more, %6, 0; tcgen05.mma.cta_group::1.kind::" kind                      \
               " [%0], %1, %2, %3, [%4], [%5], more;}" ::"r"(d),                                                      \
               "l"(a), "l"(b), "r"(scaledInstruction(kKind, scale)), "r"(scalesA), "r"(scalesB), "r"(int(accumulate)) \
               : "memory")
template <ScaledKind kKind>
__device__ __forceinline__ void orderScaledProduct(uint32_t d, uint64_t a, uint64_t b, uint32_t scalesA,
                                                   uint32_t scalesB, int scale, bool accumulate) {
  if constexpr (kKind == ScaledKind::nvfp4) {
    FORETOKEN_SCALED_PRODUCT("mxf4nvf4.block_scale.block16");
  } else if constexpr (kKind == ScaledKind::mxfp4) {
    FORETOKEN_SCALED_PRODUCT("mxf4nvf4.block_scale.block32");
  } else {
    FORETOKEN_SCALED_PRODUCT("mxf8f6f4.block_scale.block32");
  }
}
#undef FORETOKEN_SCALED_PRODUCT
__device__ __forceinline__ void orderScaleCopy(uint32_t to, uint64_t from) {
  asm volatile("tcgen05.cp.cta_group::1.32x128b.warpx4 [%0], %1;" ::"r"(to), "l"(from) : "memory");
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
template <ScaledKind>
__device__ __forceinline__ void orderScaledProduct(uint32_t, uint64_t, uint64_t, uint32_t, uint32_t, int, bool) {}
__device__ __forceinline__ void orderScaleCopy(uint32_t, uint64_t) {}
__device__ __forceinline__ void commitOrders(uint64_t*) {}
__device__ __forceinline__ void loadTensorMemory(uint32_t, float (&)[kTensorPart]) {}
__device__ __forceinline__ void fenceTensorBefore() {}
__device__ __forceinline__ void fenceTensorAfter() {}

#endif

}  // namespace foretoken::cuda
