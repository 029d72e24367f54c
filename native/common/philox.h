// Philox4x32-10, the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1,
// 2, 3" (SC'11): ten rounds of multiply and exchange turn a counter and a key into four independent 32-bit words. No
// state: whoever knows (key, counter) has the number, in any order, on any machine.
#pragma once
#include <cstdint>

namespace foretoken {

struct PhiloxBlock {
  uint32_t word[4];
};

/// The block of random words of a 128-bit counter under a 64-bit key, both least significant word first.
constexpr PhiloxBlock philox(PhiloxBlock counter, uint32_t key0, uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * counter.word[0];
    const uint64_t b = uint64_t{0xCD9E8D57u} * counter.word[2];
    counter = {{static_cast<uint32_t>(b >> 32) ^ counter.word[1] ^ key0, static_cast<uint32_t>(b),
                static_cast<uint32_t>(a >> 32) ^ counter.word[3] ^ key1, static_cast<uint32_t>(a)}};
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return counter;
}

/// 53 random bits of one position of one sequence: a function of (seed, position) alone.
constexpr uint64_t positionBits(uint64_t seed, int64_t position) {
  const auto p = static_cast<uint64_t>(position);
  const PhiloxBlock block = philox({{static_cast<uint32_t>(p), static_cast<uint32_t>(p >> 32), 0, 0}},
                                   static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  return (uint64_t{block.word[0]} << 32 | block.word[1]) >> 11;
}
/// The noise of one position of one sequence: uniform in [0, 1).
constexpr double positionNoise(uint64_t seed, int64_t position) {
  return static_cast<double>(positionBits(seed, position)) * 0x1p-53;
}

}  // namespace foretoken
