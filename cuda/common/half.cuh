// f16 and bf16 in registers: one number in 16 bits, a pair in 32 with the first in the low half.
#pragma once
#include "cuda/common/device.cuh"
#include "quant/float_codecs.h"

namespace foretoken::cuda {

/// Types of 16-bit matrix elements.
struct F16 {};
struct Bf16 {};

__device__ __forceinline__ float toFloat(F16, uint16_t code) {
#ifdef FORETOKEN_SIMT
  return f16ToFloat(code);
#else
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(code));
  return value;
#endif
}
__device__ __forceinline__ float toFloat(Bf16, uint16_t code) { return __uint_as_float(uint32_t{code} << 16); }

/// Rounds to nearest even.
__device__ __forceinline__ uint16_t fromFloat(F16, float value) {
#ifdef FORETOKEN_SIMT
  return floatToF16(value);
#else
  uint16_t code;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(code) : "f"(value));
  return code;
#endif
}
__device__ __forceinline__ uint16_t fromFloat(Bf16, float value) {
#ifdef FORETOKEN_SIMT
  return floatToBf16(value);
#else
  uint16_t code;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(code) : "f"(value));
  return code;
#endif
}

/// Both rounded to nearest even, `low` in the low half.
template <class Type>
__device__ __forceinline__ uint32_t packPair(Type type, float low, float high) {
  return fromFloat(type, low) | uint32_t{fromFloat(type, high)} << 16;
}

/// Element by element a * b, each product rounded once.
#ifdef FORETOKEN_SIMT
template <class Type>
uint32_t multiplyPair(Type type, uint32_t a, uint32_t b) {
  const auto product = [&](int shift) {
    return toFloat(type, static_cast<uint16_t>(a >> shift)) * toFloat(type, static_cast<uint16_t>(b >> shift));
  };
  return packPair(type, product(0), product(16));
}
#else
__device__ __forceinline__ uint32_t multiplyPair(F16, uint32_t a, uint32_t b) {
  uint32_t product;
  asm("mul.rn.f16x2 %0, %1, %2;" : "=r"(product) : "r"(a), "r"(b));
  return product;
}
__device__ __forceinline__ uint32_t multiplyPair(Bf16, uint32_t a, uint32_t b) {
  uint32_t product;
  asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(product) : "r"(a), "r"(b));
  return product;
}
#endif

}  // namespace foretoken::cuda
