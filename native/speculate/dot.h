// Integer dot products of one key with many: exact, so every path gives the same numbers.
#pragma once
#include <cstdint>
#include <span>

namespace foretoken {

/// out[i] = query · keys[i] over kKeyWidth int8 numbers between -127 and 127, for i < count.
struct KeyDots {
  void (*whole)(const int8_t* query, const int8_t* const* keys, int count, int32_t* out);
  /// Of what packed keys (packed_key.h) stand for.
  void (*packed)(const int8_t* query, const uint8_t* const* keys, int count, int32_t* out);
};

/// The paths that this CPU can run, best first.
std::span<const KeyDots> keyDotsPaths();

extern const KeyDots kKeyDotsPortable, kKeyDotsNeon, kKeyDotsAvx2, kKeyDotsAvx512;

}  // namespace foretoken
