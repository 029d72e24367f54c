#include "quant/quantize.h"

#include <algorithm>
#include <cstring>

#include "quant/float_codecs.h"

namespace foretoken {
namespace {

// Four lanes, the width that every target has: results are the same wherever this is compiled.
using Floats = float __attribute__((vector_size(16)));
using Ints = int32_t __attribute__((vector_size(16)));
constexpr int kLanes = 4;

constexpr float kLargestE2m1 = 6.0f;
constexpr uint8_t kLargestE4m3 = 0x7e;

// How far the search for an nvfp4 scale goes beyond amax / 6 and amax / 4, in e4m3 codes.
// Measured on SmolLM2-135M: relative error 0.0823 at 0 and 0, 0.0794 at 2 and 1, no better beyond.
constexpr int kScalesBelow = 2;
constexpr int kScalesAbove = 1;

/// One block, padded with zeros, so that every loop over it has a constant length.
template <int kBlock>
struct Block {
  float values[kBlock] = {};
  Floats magnitudes[kBlock / kLanes];
  float amax;

  Block(const float* row, int count) {
    std::memcpy(values, row, static_cast<size_t>(count) * sizeof(float));
    float signless[kBlock];
    for (int i = 0; i < kBlock; ++i) signless[i] = bitsFloat(floatBits(values[i]) & 0x7fffffffu);
    std::memcpy(magnitudes, signless, sizeof signless);
    amax = maxMagnitude(values, kBlock);
  }

  /// Squared error in e2m1 with this scale.
  float squaredError(float scale, float inverse) const {
    Floats sum = {};
    for (const Floats& magnitude : magnitudes) {
      const Floats error = magnitude - roundToE2m1(magnitude * inverse) * scale;
      sum += error * error;
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
  }

  void encode(float inverse, uint8_t* codes, int count) const {
    uint8_t all[kBlock];
    for (int i = 0; i < kBlock; ++i) all[i] = floatToE2m1(values[i] * inverse);
    std::memcpy(codes, all, static_cast<size_t>(count));
  }

 private:
  /// Rounds values >= 0 to the e2m1 grid. Within a binade the grid is even, so adding a number whose last place is the
  /// grid's step and taking it off again rounds to nearest, ties to even.
  static Floats roundToE2m1(Floats value) {
    const Floats largest = {kLargestE2m1, kLargestE2m1, kLargestE2m1, kLargestE2m1};
    const Ints one = {127 << 23, 127 << 23, 127 << 23, 127 << 23};
    const Floats clamped = value < largest ? value : largest;
    const Ints binade = __builtin_bit_cast(Ints, clamped) & 0x7f800000;
    const Floats magic = __builtin_bit_cast(Floats, (binade > one ? binade : one) + (22 << 23));
    return (clamped + magic) - magic;
  }
};

/// One nvfp4 block: tries every e4m3 scale from a little below amax / 6 (the largest value saturates) to a little
/// above amax / 4 (the coarse step between 4 and 6 stays unused) and keeps the first of the best. Returns the scale.
uint8_t quantizeBlockNvfp4(const Block<kNvfp4Block>& block, float global, uint8_t* codes, int count) {
  const int lowest = floatToE4m3(block.amax / (kLargestE2m1 * global)) - kScalesBelow;
  const int highest = floatToE4m3(block.amax / (4.0f * global)) + kScalesAbove;
  int best = 1;
  float bestError = __builtin_inff();
  float bestInverse = 0.0f;
  for (int code = std::max(lowest, 1); code <= std::min<int>(highest, kLargestE4m3); ++code) {
    const float scale = e4m3ToFloat(static_cast<uint8_t>(code)) * global;
    const float inverse = 1.0f / scale;
    const float error = block.squaredError(scale, inverse);
    if (error < bestError) {
      best = code;
      bestError = error;
      bestInverse = inverse;
    }
  }
  block.encode(bestInverse, codes, count);
  return static_cast<uint8_t>(best);
}

/// One mxfp4 block; a block of zeros has scale 1. Scales are 1..254, so that code << 23 is always the fp32 scale.
uint8_t quantizeBlockMxfp4(const Block<kMxfp4Block>& block, uint8_t* codes, int count) {
  const auto power = [](int exponent) { return bitsFloat(static_cast<uint32_t>(exponent) << 23); };
  int best = 127;
  if (block.amax > 0.0f) {
    best = std::max(floatToE8m0Floor(block.amax) - 2, 1);
    const float floored = block.squaredError(power(best), power(254 - best));
    const float raised = block.squaredError(power(best + 1), power(254 - best - 1));
    if (raised < floored) ++best;
  }
  block.encode(power(254 - best), codes, count);
  return static_cast<uint8_t>(best);
}

}  // namespace

float maxMagnitude(const float* values, int64_t count) {
  // Magnitudes order like their bits, and integers may be reduced in any order.
  int32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, static_cast<int32_t>(floatBits(values[i]) & 0x7fffffffu));
  }
  return bitsFloat(static_cast<uint32_t>(largest));
}

float quantizeRowFp8(const float* row, int64_t cols, uint8_t* codes) {
  const float exact = maxMagnitude(row, cols) / 448.0f;
  const float scale = exact < kSmallestScale ? 1.0f : exact;
  for (int64_t i = 0; i < cols; ++i) codes[i] = floatToE4m3(row[i] / scale);
  return scale;
}

float nvfp4Global(float amax) {
  const float exact = amax / (kLargestE2m1 * 256.0f);
  return exact < kSmallestScale ? 1.0f : exact;
}

void quantizeRowNvfp4(const float* row, int64_t cols, float global, uint8_t* codes, uint8_t* scales) {
  for (int64_t at = 0; at < cols; at += kNvfp4Block) {
    const int count = static_cast<int>(std::min<int64_t>(kNvfp4Block, cols - at));
    const Block<kNvfp4Block> block(row + at, count);
    scales[at / kNvfp4Block] = quantizeBlockNvfp4(block, global, codes + at, count);
  }
}

void quantizeRowMxfp4(const float* row, int64_t cols, uint8_t* codes, uint8_t* scales) {
  for (int64_t at = 0; at < cols; at += kMxfp4Block) {
    const int count = static_cast<int>(std::min<int64_t>(kMxfp4Block, cols - at));
    const Block<kMxfp4Block> block(row + at, count);
    scales[at / kMxfp4Block] = quantizeBlockMxfp4(block, codes + at, count);
  }
}

void roundRowBf16(const float* row, int64_t cols, uint16_t* out) {
  for (int64_t i = 0; i < cols; ++i) out[i] = floatToBf16(row[i]);
}

void roundRowF16(const float* row, int64_t cols, uint16_t* out) {
  for (int64_t i = 0; i < cols; ++i) out[i] = floatToF16(row[i]);
}

void dequantizeRowFp8(const uint8_t* codes, float scale, int64_t cols, float* out) {
  for (int64_t i = 0; i < cols; ++i) out[i] = e4m3ToFloat(codes[i]) * scale;
}

void dequantizeRowNvfp4(const uint8_t* codes, const uint8_t* scales, float global, int64_t cols, float* out) {
  for (int64_t i = 0; i < cols; ++i) {
    out[i] = e2m1ToFloat(codes[i]) * (e4m3ToFloat(scales[i / kNvfp4Block]) * global);
  }
}

void dequantizeRowMxfp4(const uint8_t* codes, const uint8_t* scales, int64_t cols, float* out) {
  for (int64_t i = 0; i < cols; ++i) out[i] = e2m1ToFloat(codes[i]) * e8m0ToFloat(scales[i / kMxfp4Block]);
}

}  // namespace foretoken
