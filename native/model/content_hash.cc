// Multiply-and-fold over 64-byte stripes in four independent lanes (the idea of wyhash: a 64 x 64 -> 128 bit product
// folded by xor mixes sixteen bytes at once), which runs at about memory speed on one core.
#include "model/content_hash.h"

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "model/parallel.h"

namespace foretoken {
namespace {

constexpr uint64_t kPrimes[8] = {0x9e3779b185ebca87, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9, 0x85ebca77c2b2ae63,
                                 0x27d4eb2f165667c5, 0xd6e8feb86659fd93, 0xa0761d6478bd642f, 0xe7037ed1a0b428db};

uint64_t load(const uint8_t* bytes) {
  uint64_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

uint64_t fold(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

struct Lanes {
  uint64_t lane[4];

  void stripe(const uint8_t* p) {
    for (int i = 0; i < 4; ++i)
      lane[i] = fold(load(p + 16 * i) ^ kPrimes[2 * i], load(p + 16 * i + 8) ^ lane[i]) + kPrimes[2 * i + 1];
  }
};

}  // namespace

Hash128 hashBytes(std::span<const uint8_t> bytes, uint64_t seed) {
  Lanes lanes{{seed ^ kPrimes[0], seed + kPrimes[1], seed ^ kPrimes[2], seed + kPrimes[3]}};
  size_t at = 0;
  for (; at + 64 <= bytes.size(); at += 64) lanes.stripe(bytes.data() + at);
  uint8_t tail[64] = {};
  if (at < bytes.size()) std::memcpy(tail, bytes.data() + at, bytes.size() - at);
  lanes.stripe(tail);
  const uint64_t length = bytes.size();
  const uint64_t a = fold(lanes.lane[0] ^ kPrimes[4], lanes.lane[1] ^ length);
  const uint64_t b = fold(lanes.lane[2] ^ kPrimes[5], lanes.lane[3] + length);
  return {fold(a ^ kPrimes[6], b ^ kPrimes[7]), fold(a + kPrimes[7], b ^ kPrimes[4]) ^ a};
}

Hash128 combine(std::span<const Hash128> pieces) {
  return hashBytes({reinterpret_cast<const uint8_t*>(pieces.data()), pieces.size_bytes()}, pieces.size());
}

Hash128 hashContents(std::span<const uint8_t> bytes) {
  std::vector<Hash128> pieces((bytes.size() + kHashPiece - 1) / kHashPiece);
  parallelFor(pieces.size(), [&](size_t i) {
    const size_t begin = i * kHashPiece;
    pieces[i] = hashBytes(bytes.subspan(begin, std::min(kHashPiece, bytes.size() - begin)), i);
  });
  return combine(pieces);
}

std::string hex(const Hash128& hash) {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(hash.high),
                static_cast<unsigned long long>(hash.low));
  return text;
}

}  // namespace foretoken
