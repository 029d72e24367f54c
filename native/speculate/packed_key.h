// Keys in two bits a number instead of eight: below or above 0, by less or more than one deviation, which is about what
// four levels can best tell of a normal distribution. Nothing was lost by it that drafts would show. Files hold keys in
// this form, and a static memory is looked through in it.
#pragma once
#include <array>
#include <cstdint>
#include <cstring>

#include "backend.h"

namespace foretoken {

/// As the target makes it: of length 127, or all 0, which is none.
using Key = std::array<int8_t, kKeyWidth>;

constexpr int kPackedKeyBytes = kKeyWidth / 4;

/// Writes [kPackedKeyBytes], the first number in the lowest bits. A key of zeros becomes one of large negative numbers
/// only, all of whose bits are 0.
void packKey(const int8_t* key, uint8_t* packed);
/// What packKey keeps of a key; packed again it gives the same bytes.
Key unpackKey(const uint8_t* packed);

/// Numbers of a key that lie beyond one deviation: those whose two bits are equal.
[[gnu::always_inline]] inline int largeNumbers(const uint8_t* packed) {
  std::array<uint64_t, kPackedKeyBytes / 8> words;
  std::memcpy(words.data(), packed, kPackedKeyBytes);
  int count = 0;
  for (const uint64_t word : words) count += __builtin_popcountll(~(word ^ word >> 1) & 0x5555555555555555u);
  return count;
}

/// What two bits mean, by how many of the key's numbers are large: so that all keys are equally long. Four times the
/// same, as shuffles of 16 bytes want it. Where all are large it is no key.
using KeyLevels = std::array<std::array<int8_t, 16>, kKeyWidth + 1>;
const KeyLevels& keyLevels();

}  // namespace foretoken
