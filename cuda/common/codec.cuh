// Weights of 8 and 4 bits as pairs of f16, in registers. All of them are exact in f16.
//
// e4m3 pairs are converted in hardware everywhere. e2m1 pairs are on Blackwell; on Hopper bits are moved: an e2m1 code,
// put where an f16 has sign, exponent and first bit of its fraction, is the value times 2^-14 (subnormals included,
// since both formats have theirs at the bottom). That trick takes codes 16 bits apart as a pair, the conversion takes
// neighbours, so the order in which eight codes come out differs: e2m1Slot says where each of them is. Whoever prepares
// the other operand puts its numbers in the same order, and memory holds one layout for all devices.
#pragma once
#include "cuda/common/device.cuh"
#include "cuda/common/half.cuh"
#ifdef FORETOKEN_SIMT
#include "cuda/simt/model.h"
#endif

namespace foretoken::cuda {

/// Whether this device converts e2m1 itself.
__device__ __forceinline__ bool convertsE2m1() {
#ifdef FORETOKEN_SIMT
  return simt::model.convertsE2m1;
#else
#if __CUDA_ARCH__ >= 1000
  return true;
#else
  return false;
#endif
#endif
}

/// What decodeE2m1 gives, times this, is the value.
__device__ __forceinline__ float e2m1Factor() { return convertsE2m1() ? 1.0f : 0x1p14f; }

/// Where code i of eight is among the eight halves that decodeE2m1 gives.
__device__ __forceinline__ int e2m1Slot(int i) { return convertsE2m1() ? i : (3 - i % 4) * 2 + i / 4; }

/// Two neighbouring codes in the low byte -> f16 pair, where the device can.
__device__ __forceinline__ uint32_t convertE2m1Pair(uint32_t byte) {
#ifdef FORETOKEN_SIMT
  return packPair(F16{}, e2m1ToFloat(byte & 15), e2m1ToFloat(byte >> 4 & 15));
#elif __CUDA_ARCH__ >= 1000
  uint32_t pair;
  asm("{.reg .b8 code, unused; mov.b16 {code, unused}, %1; cvt.rn.f16x2.e2m1x2 %0, code;}"
      : "=r"(pair)
      : "h"(static_cast<uint16_t>(byte)));
  return pair;
#else
  return byte;
#endif
}

/// Eight codes, the first in the lowest bits -> four f16 pairs, in the order of e2m1Slot.
__device__ __forceinline__ void decodeE2m1(uint32_t codes, uint32_t (&pairs)[4]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (convertsE2m1()) {
      pairs[i] = convertE2m1Pair(codes >> (8 * i));
    } else {
      const uint32_t top = codes << (4 * i);
      pairs[i] = (top & 0x80008000u) | ((top >> 3) & 0x0e000e00u);
    }
  }
}

/// Two e4m3 codes in the low 16 bits -> f16 pair, exact.
__device__ __forceinline__ uint32_t decodeE4m3Pair(uint32_t codes) {
#ifdef FORETOKEN_SIMT
  return packPair(F16{}, e4m3ToFloat(codes & 255), e4m3ToFloat(codes >> 8 & 255));
#else
  uint32_t pair;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(pair) : "h"(static_cast<uint16_t>(codes)));
  return pair;
#endif
}

/// Two numbers as e4m3 in the low 16 bits, rounded to nearest even, at most 448.
__device__ __forceinline__ uint32_t encodeE4m3Pair(float low, float high) {
#ifdef FORETOKEN_SIMT
  return floatToE4m3(low) | uint32_t{floatToE4m3(high)} << 8;
#else
  uint16_t codes;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(high), "f"(low));
  return codes;
#endif
}

/// Two numbers as e2m1 in the low byte, rounded to nearest even, at most 6.
__device__ __forceinline__ uint32_t encodeE2m1Pair(float low, float high) {
#if !defined(FORETOKEN_SIMT) && __CUDA_ARCH__ >= 1000
  uint16_t codes;
  asm("{.reg .b8 pair; cvt.rn.satfinite.e2m1x2.f32 pair, %1, %2; mov.b16 %0, {pair, 0};}"
      : "=h"(codes)
      : "f"(high), "f"(low));
  return codes;
#else
  return floatToE2m1(low) | uint32_t{floatToE2m1(high)} << 4;
#endif
}

/// The low or the high half of a pair, twice.
__device__ __forceinline__ uint32_t spread(uint32_t pair, int half) {
  return __byte_perm(pair, 0, half == 0 ? 0x1010 : 0x3232);
}

}  // namespace foretoken::cuda
