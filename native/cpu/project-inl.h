// Projection of a hidden state, written once over sixteen lanes; see project.h. Included by one file per instruction
// set, which defines the vector type first.
#pragma once
#include "cpu/project.h"
#include "cpu/vector_math-inl.h"

namespace foretoken {
namespace {

/// Squared length: sixteen lanes by index mod 16, then the rest in order.
inline float squaredLength(const float* h, int64_t width) {
  const int64_t whole = width / kLanes * kLanes;
  V16 lanes = broadcast(0.0f);
  for (int64_t k = 0; k < whole; k += kLanes) lanes = add(lanes, mul(load(h + k), load(h + k)));
  float sum = sumLanes(lanes);
  for (int64_t k = whole; k < width; ++k) sum += h[k] * h[k];
  return sum;
}

/// The nearest integers, to even; 0 for NaN, infinity and what int8 does not hold.
inline void storeRounded(V16 value, int8_t* out) {
  const V16 least = broadcast(-0x1.fdfffep+6f);  // next to -127.5
  const V16 shift = broadcast(0x1.8p+23f);       // integers stand in the low bits of a sum with it
  value = whereAtLeast(value, least, value);
  value = whereAtLeast(sub(broadcast(0.0f), value), least, value);
  uint32_t bits[kLanes];
  float shifted[kLanes];
  store(shifted, add(value, shift));
  std::memcpy(bits, shifted, sizeof bits);
  for (int j = 0; j < kLanes; ++j) out[j] = static_cast<int8_t>(bits[j]);
}

inline void project(const float* h, int64_t width, const KeyProjection& projection, int8_t* key) {
  constexpr int kGroups = kKeyWidth / kLanes;
  V16 p[kGroups];
  for (V16& sum : p) sum = broadcast(0.0f);
  const int64_t all = (width + 31) / 32, each = (all + kKeyParts - 1) / kKeyParts;
  for (int64_t begin = 0; begin < all; begin += each) {
    V16 part[kGroups];
    for (V16& sum : part) sum = broadcast(0.0f);
    for (int64_t word = begin; word < all && word < begin + each; ++word) {
      float words[kKeyWidth];
      std::memcpy(words, projection.signs + word * kKeyWidth, sizeof words);
      V16 signs[kGroups];
      for (int i = 0; i < kGroups; ++i) signs[i] = load(words + i * kLanes);
      for (int64_t k = 32 * word; k < width && k < 32 * (word + 1); ++k) {
        const V16 value = broadcast(h[k]);
        for (int i = 0; i < kGroups; ++i) {
          part[i] = add(part[i], turnSigns(value, signs[i]));
          signs[i] = addWords(signs[i], signs[i]);  // the next number's sign comes to the top
        }
      }
    }
    for (int i = 0; i < kGroups; ++i) p[i] = add(p[i], part[i]);
  }
  const V16 length = broadcast(__builtin_sqrtf(squaredLength(h, width)));
  float direction[kKeyWidth];
  for (int i = 0; i < kGroups; ++i)
    store(direction + i * kLanes, sub(div(p[i], length), load(projection.centre + i * kLanes)));
  const V16 scale = broadcast(127.0f / __builtin_sqrtf(squaredLength(direction, kKeyWidth)));
  for (int i = 0; i < kGroups; ++i) storeRounded(mul(load(direction + i * kLanes), scale), key + i * kLanes);
}

}  // namespace
}  // namespace foretoken
