// Tensor cores of a warp: mma.sync with fp32 sums (16-bit floats) or int32 sums (int8), and ldmatrix, which brings
// fragments from shared memory. cuda/simt/mma.h says which lane holds what.
#pragma once
#include "cuda/common/device.cuh"
#include "cuda/common/half.cuh"
#ifdef FORETOKEN_SIMT
#include "cuda/simt/mma.h"
#endif

namespace foretoken::cuda {

#ifdef FORETOKEN_SIMT

/// d (16x8) += a (16x16) b (16x8).
inline void mma(F16, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                simt::Where where = simt::Where::current()) {
  simt::mma16x8x16<f16ToFloat>(d, a, b, where);
}
inline void mma(Bf16, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                simt::Where where = simt::Where::current()) {
  simt::mma16x8x16<bf16ToFloat>(d, a, b, where);
}
/// d (16x8) += a (16x32) b (32x8), integers.
inline void mma(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2],
                simt::Where where = simt::Where::current()) {
  simt::mma16x8x32(d, a, b, where);
}
/// Four 8x8 matrices of 16-bit elements in shared memory; lane l names row l % 8 of matrix l / 8.
inline void loadMatrix(uint32_t (&to)[4], const void* row, simt::Where where = simt::Where::current()) {
  simt::loadMatrix4(to, row, false, where);
}
inline void loadMatrixTransposed(uint32_t (&to)[4], const void* row, simt::Where where = simt::Where::current()) {
  simt::loadMatrix4(to, row, true, where);
}

#else

__device__ __forceinline__ void mma(F16, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma(Bf16, float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void loadMatrix(uint32_t (&to)[4], const void* row) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void loadMatrixTransposed(uint32_t (&to)[4], const void* row) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}

#endif

}  // namespace foretoken::cuda
