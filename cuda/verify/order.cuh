// The order of a row's tokens, and their mass: what all rules of drawing are made of. Both are integers, so that sums
// and cuts are exact and depend neither on who adds first nor on how a row is split.
#pragma once
#include <cstdint>

#include "cuda/common/device.cuh"
#include "cuda/common/exp2.cuh"
#include "cuda/verify/rows.h"

namespace foretoken::cuda {

constexpr int kTokenBits = 20;
constexpr uint64_t kTokenMask = (uint64_t{1} << kTokenBits) - 1;

/// The place of a token in its row, greater = earlier: by logit, equal ones by token, lower first. -0 is 0.
__device__ inline uint64_t placeOf(float logit, int token) {
  const uint32_t bits = __float_as_uint(logit + 0.0f);
  const uint32_t ordered = bits ^ (0x80000000u | (0u - (bits >> 31)));
  return uint64_t{ordered} << kTokenBits | (kTokenMask - static_cast<uint64_t>(token));
}
__device__ inline int tokenAt(uint64_t place) { return static_cast<int>(kTokenMask - (place & kTokenMask)); }
__device__ inline float logitAt(uint64_t place) {
  const auto ordered = static_cast<uint32_t>(place >> kTokenBits);
  return __uint_as_float(ordered ^ (0x80000000u | ((ordered >> 31) - 1)));
}

/// Mass of the greatest logit. A split sums 4096 of it by halves of 20 bits in 32-bit words.
constexpr int kMassBits = 39;
constexpr int kMassHalf = 20;
constexpr float kMassOne = 0x1p39f;

/// A token's likelihood, relative to the likeliest: 2^-distance.
struct Weight {
  float distance;  ///< >= 0
  float share;
  __device__ uint64_t mass() const { return static_cast<uint64_t>(share * kMassOne); }
};
__device__ inline Weight weightOf(float logit, const DrawState& s) {
  const float power = (logit - s.top) * s.factor;
  return {-power, exp2(power)};
}

/// Grows with the distance. Only for distances within s.range.
__device__ inline int bucketOf(float distance, const DrawState& s) {
  const int bucket = static_cast<int>(distance * s.bucketsPerBit);
  return bucket < kBuckets ? bucket : kBuckets - 1;
}

/// The mass that top-p keeps at least, of a whole.
__device__ inline unsigned long long massToReach(float p, unsigned long long whole) {
  const double target = static_cast<double>(p) * static_cast<double>(whole);
  const auto floor = static_cast<unsigned long long>(target);
  const unsigned long long reach = floor + (static_cast<double>(floor) < target ? 1 : 0);
  return reach > 0 ? reach : 1;
}

/// Which tokens may be drawn.
struct Kept {
  uint64_t cut;  ///< places down to here
  float least;   ///< and likelihoods from here on
  __device__ uint64_t massOf(uint64_t place, const Weight& w) const {
    return place >= cut && w.share >= least ? w.mass() : 0;
  }
};

}  // namespace foretoken::cuda
