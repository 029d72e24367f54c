// Integer dot products of one key with many: exact, so every path gives the same numbers.
#pragma once
#include <cstdint>
#include <span>

namespace foretoken {

/// out[i] = query · keys[i] over kKeyWidth int8 numbers between -127 and 127, for i < count.
using DotKeys = void (*)(const int8_t* query, const int8_t* const* keys, int count, int32_t* out);

/// The paths that this CPU can run, best first.
std::span<const DotKeys> dotKeysPaths();

void dotKeysPortable(const int8_t* query, const int8_t* const* keys, int count, int32_t* out);
void dotKeysAvx2(const int8_t* query, const int8_t* const* keys, int count, int32_t* out);
void dotKeysAvx512(const int8_t* query, const int8_t* const* keys, int count, int32_t* out);

}  // namespace foretoken
