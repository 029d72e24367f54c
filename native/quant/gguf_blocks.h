// The blocks of GGUF's quantised types as they lie in a file (little-endian), with accessors for packers.
//
// Blocks hold bytes only, so a pointer to one needs no alignment.
#pragma once
#include <cstdint>

#include "quant/float_codecs.h"

namespace foretoken {

/// A little-endian f16 at any address.
inline uint16_t loadHalf(const uint8_t* bytes) { return static_cast<uint16_t>(bytes[0] | (bytes[1] << 8)); }

/// 32 weights: w[j] = d * q[j].
struct BlockQ8_0 {
  uint8_t scale[2];
  int8_t q[32];

  float d() const { return f16ToFloat(loadHalf(scale)); }
};

/// 32 weights: w[j] = d * (q[j] - 8). Weight j is the low nibble of nibbles[j], weight j + 16 the high one.
struct BlockQ4_0 {
  uint8_t scale[2];
  uint8_t nibbles[16];

  float d() const { return f16ToFloat(loadHalf(scale)); }
  /// 0..15; the weight is d * (q - 8).
  int q(int j) const { return j < 16 ? nibbles[j] & 15 : nibbles[j - 16] >> 4; }
};

/// 32 weights: w[j] = d * q[j] + m. Nibbles as in Q4_0.
struct BlockQ4_1 {
  uint8_t scale[2];
  uint8_t minimum[2];
  uint8_t nibbles[16];

  float d() const { return f16ToFloat(loadHalf(scale)); }
  float m() const { return f16ToFloat(loadHalf(minimum)); }
  /// 0..15.
  int q(int j) const { return j < 16 ? nibbles[j] & 15 : nibbles[j - 16] >> 4; }
};

/// The eight 6-bit scales and eight 6-bit minima that Q4_K and Q5_K pack into twelve bytes.
struct PackedScales {
  uint8_t bytes[12];

  int scale(int i) const { return i < 4 ? bytes[i] & 63 : (bytes[i + 4] & 15) | ((bytes[i - 4] >> 6) << 4); }
  int minimum(int i) const { return i < 4 ? bytes[i + 4] & 63 : (bytes[i + 4] >> 4) | ((bytes[i] >> 6) << 4); }
};

/// 256 weights in eight groups of 32: w = d * scale(g) * q - dmin * minimum(g).
/// Groups 2i and 2i + 1 are the low and high nibbles of nibbles[32 i .. 32 i + 31].
struct BlockQ4_K {
  uint8_t scale[2];
  uint8_t minimumScale[2];
  PackedScales groups;
  uint8_t nibbles[128];
};

/// As Q4_K with a fifth bit: bit g of highBits[j] belongs to weight j of group g.
struct BlockQ5_K {
  uint8_t scale[2];
  uint8_t minimumScale[2];
  PackedScales groups;
  uint8_t highBits[32];
  uint8_t nibbles[128];
};

/// 256 weights in sixteen groups of 16: w = d * groupScale[g] * (q - 32), six bits a weight.
/// Half h of the block (128 weights) has 64 bytes of low nibbles and 32 bytes of high bit pairs.
struct BlockQ6_K {
  uint8_t nibbles[128];
  uint8_t highBits[64];
  int8_t groupScale[16];
  uint8_t scale[2];
};

static_assert(sizeof(BlockQ8_0) == 34 && sizeof(BlockQ4_0) == 18 && sizeof(BlockQ4_1) == 20);
static_assert(sizeof(BlockQ4_K) == 144 && sizeof(BlockQ5_K) == 176 && sizeof(BlockQ6_K) == 210);

}  // namespace foretoken
