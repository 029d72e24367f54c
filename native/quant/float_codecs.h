// Scalar codecs of the small float formats: one definition for the CPU, for CUDA, and for tests.
//
// All of them round to nearest, ties to even, and none depends on denormal handling (FTZ/DAZ) of the machine, so the
// bits are the same everywhere. Selections are written as conditional expressions without side effects, which lets
// loops over them vectorise.
//
// e4m3 ("e4m3fn"): bias 7, largest 448, smallest subnormal 2^-9, no infinity, NaN = S.1111.111.
// e2m1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and a sign; no NaN. e8m0: 2^(b - 127), 255 is NaN, no zero.
// Encoding follows NVIDIA's conversions with SATFINITE (cuda_fp8.h, cuda_fp4.h).
#pragma once
#include <cstdint>

#ifdef __CUDACC__
#define FORETOKEN_CODEC __host__ __device__ constexpr
#else
#define FORETOKEN_CODEC constexpr
#endif

namespace foretoken {

FORETOKEN_CODEC uint32_t floatBits(float value) { return __builtin_bit_cast(uint32_t, value); }
FORETOKEN_CODEC float bitsFloat(uint32_t bits) { return __builtin_bit_cast(float, bits); }

/// bf16 -> fp32, exact.
FORETOKEN_CODEC float bf16ToFloat(uint16_t code) { return bitsFloat(uint32_t{code} << 16); }

/// fp32 -> bf16. Overflow gives infinity; NaN stays NaN with its sign (quieted).
FORETOKEN_CODEC uint16_t floatToBf16(float value) {
  const uint32_t bits = floatBits(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t quieted = (bits >> 16) | 0x40u;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? quieted : rounded);
}

/// f16 -> fp32, exact, subnormals, infinities and NaN included.
FORETOKEN_CODEC float f16ToFloat(uint16_t code) {
  const uint32_t sign = (uint32_t{code} & 0x8000u) << 16;
  const uint32_t shifted = (uint32_t{code} & 0x7fffu) << 13;
  const uint32_t exponent = shifted & 0x0f800000u;
  // A subnormal is read as if it had a leading one at 2^-14, which is then taken off again.
  const float subnormal = bitsFloat(shifted + (113u << 23)) - bitsFloat(113u << 23);
  const uint32_t normal = shifted + ((exponent == 0x0f800000u ? 224u : 112u) << 23);
  return bitsFloat((exponent == 0 ? floatBits(subnormal) : normal) | sign);
}

/// fp32 -> f16. From 65520 on infinity; NaN becomes the quiet NaN 0x7e00 with its sign.
FORETOKEN_CODEC uint16_t floatToF16(float value) {
  const uint32_t sign = (floatBits(value) >> 16) & 0x8000u;
  const uint32_t bits = floatBits(value) & 0x7fffffffu;
  const uint32_t special = bits > 0x7f800000u ? 0x7e00u : 0x7c00u;
  // Below 2^-14: adding 0.5 puts the f16 subnormal step (2^-24) at the last place of an fp32, so the sum rounds.
  const uint32_t small = floatBits(bitsFloat(bits < (113u << 23) ? bits : 0u) + 0.5f) - floatBits(0.5f);
  const uint32_t normal = (bits - (112u << 23) + 0xfffu + ((bits >> 13) & 1u)) >> 13;
  const uint32_t finite = bits < (113u << 23) ? small : normal;
  return static_cast<uint16_t>((bits >= 0x47800000u ? special : finite) | sign);
}

/// e4m3 -> fp32, exact.
FORETOKEN_CODEC float e4m3ToFloat(uint8_t code) {
  const uint32_t magnitude = code & 0x7fu;
  const float subnormal = static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-9f;
  const uint32_t normal = magnitude == 0x7fu ? 0x7fc00000u : (magnitude << 20) + (120u << 23);
  return bitsFloat((magnitude < 8u ? floatBits(subnormal) : normal) | ((uint32_t{code} & 0x80u) << 24));
}

/// fp32 -> a float of `mantissa` bits whose smallest normal number is 2^lowest. Beyond `largest` (and infinity)
/// saturates to it; negative values get `signBit`; NaN gives `nan` whatever its sign.
template <int mantissa, int lowest>
FORETOKEN_CODEC uint8_t floatToSmall(float value, float largest, uint32_t signBit, uint32_t nan) {
  constexpr int dropped = 23 - mantissa;
  constexpr uint32_t smallestNormal = static_cast<uint32_t>(127 + lowest) << 23;
  // Below 2^lowest the step is 2^(lowest - mantissa), the last place of an fp32 near this power of two.
  constexpr uint32_t lastPlace = static_cast<uint32_t>(127 + lowest + dropped) << 23;
  const int32_t signless = static_cast<int32_t>(floatBits(value) & 0x7fffffffu);
  const int32_t most = static_cast<int32_t>(floatBits(largest));
  const uint32_t bits = static_cast<uint32_t>(signless < most ? signless : most);
  const uint32_t small = floatBits(bitsFloat(bits) + bitsFloat(lastPlace)) - lastPlace;
  const uint32_t half = (1u << (dropped - 1)) - 1u + ((bits >> dropped) & 1u);
  const uint32_t normal = ((bits + half) >> dropped) - (static_cast<uint32_t>(126 + lowest) << mantissa);
  const uint32_t magnitude = bits < smallestNormal ? small : normal;
  const uint32_t sign = (floatBits(value) >> 31) * signBit;
  return static_cast<uint8_t>(signless > 0x7f800000 ? nan : magnitude | sign);
}

/// fp32 -> e4m3. Above 448 (and infinity) saturates to 448 with its sign; NaN gives 0x7f whatever its sign.
FORETOKEN_CODEC uint8_t floatToE4m3(float value) { return floatToSmall<3, -6>(value, 448.0f, 0x80u, 0x7fu); }

/// e2m1 (low four bits of `code`) -> fp32, exact.
FORETOKEN_CODEC float e2m1ToFloat(uint8_t code) {
  const uint32_t magnitude = code & 7u;
  const uint32_t normal = (magnitude << 22) + (126u << 23);
  const uint32_t small = magnitude == 0 ? 0u : 126u << 23;
  return bitsFloat((magnitude < 2u ? small : normal) | ((uint32_t{code} & 8u) << 28));
}

/// Twice an e2m1 value as an integer (0, 1, 2, 3, 4, 6, 8, 12 with its sign): what integer kernels multiply.
FORETOKEN_CODEC int8_t e2m1Doubled(uint8_t code) {
  const int magnitude = code & 7;
  const int doubled = magnitude < 4 ? magnitude : (2 + (magnitude & 1)) << ((magnitude >> 1) - 1);
  return static_cast<int8_t>((code & 8) ? -doubled : doubled);
}

/// fp32 -> e2m1 in the low four bits. Above 6 saturates to 6 with its sign; NaN gives +6; -0.1 gives -0 (8).
FORETOKEN_CODEC uint8_t floatToE2m1(float value) { return floatToSmall<1, 0>(value, 6.0f, 8u, 7u); }

/// e8m0 -> fp32: 2^(code - 127), exact (code 0 is the subnormal 2^-127); 255 is NaN.
FORETOKEN_CODEC float e8m0ToFloat(uint8_t code) {
  const uint32_t normal = code == 255 ? 0x7fc00000u : uint32_t{code} << 23;
  return bitsFloat(code == 0 ? 0x00400000u : normal);
}

/// fp32 -> e8m0 rounded down to a power of two. The sign is dropped; 0 and anything below 2^-127 give 0; infinity gives
/// 254; NaN gives 255.
FORETOKEN_CODEC uint8_t floatToE8m0Floor(float value) {
  const uint32_t bits = floatBits(value) & 0x7fffffffu;
  const uint32_t exponent = bits >= 0x7f800000u ? 254u : bits >> 23;
  return static_cast<uint8_t>(bits > 0x7f800000u ? 255u : exponent);
}

/// fp32 -> e8m0 rounded up to a power of two; specials as floatToE8m0Floor, overflow gives 254.
FORETOKEN_CODEC uint8_t floatToE8m0Ceil(float value) {
  const uint32_t bits = floatBits(value) & 0x7fffffffu;
  const uint32_t exponent = bits >> 23;
  const bool exact = exponent == 0 ? bits <= 0x00400000u : (bits & 0x007fffffu) == 0;
  const uint32_t raised = exponent + (exact ? 0u : 1u);
  return static_cast<uint8_t>(bits > 0x7f800000u ? 255u : (raised < 254u ? raised : 254u));
}

}  // namespace foretoken
