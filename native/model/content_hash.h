// A fast 128-bit hash of large contents: identifies files and detects damage. Not against an adversary.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace foretoken {

struct Hash128 {
  uint64_t low = 0, high = 0;
  bool operator==(const Hash128&) const = default;
};

/// Hash of one run of bytes; `seed` tells runs with the same bytes apart.
Hash128 hashBytes(std::span<const uint8_t> bytes, uint64_t seed);

/// Hash of contents too large for one thread: the hash of the hashes of its pieces of kHashPiece bytes, computed on
/// several threads.
constexpr size_t kHashPiece = size_t{1} << 20;
Hash128 hashContents(std::span<const uint8_t> bytes);
/// The same from the hashes of the pieces (piece i hashed with seed i).
Hash128 combine(std::span<const Hash128> pieces);

/// 32 lower-case hex digits.
std::string hex(const Hash128&);

}  // namespace foretoken
