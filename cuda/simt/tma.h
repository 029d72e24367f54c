// The tensor memory accelerator: boxes of an array of bytes or of 4-bit codes, of two or four dimensions, copied to
// shared memory in the 128-byte swizzle, zeros where the box lies outside; and plain bytes. What is copied is counted
// by an mbarrier. Until then the target is poison.
#pragma once
#include <array>

#include "cuda/simt/mbarrier.h"

namespace foretoken::simt {

/// The part of a tensor map that such copies need, dimensions that are not there being 1 long: rows of one-byte
/// elements, or of 4-bit codes that go to shared memory `spaced`: sixteen in eight bytes, and eight bytes left alone.
struct TensorMap {
  static constexpr int kMost = 4;
  using Place = std::array<int, kMost>;

  const unsigned char* base;
  int rank;
  std::array<int64_t, kMost> sizes;        ///< elements
  std::array<int64_t, kMost - 1> strides;  ///< bytes, of all dimensions but the first
  std::array<int, kMost> box;
  bool spaced = false;

  int boxRows() const { return box[1] * box[2] * box[3]; }
  /// Row r of the box at this place; null where it lies outside.
  const unsigned char* row(const Place& at, int r) const {
    const unsigned char* found = base;
    for (int d = 1; d < kMost; r /= box[d], ++d) {
      const int place = at[d] + r % box[d];
      if (place < 0 || place >= sizes[d]) return nullptr;
      found += place * strides[d - 1];
    }
    return found;
  }
  bool isAligned() const {
    const int unit = spaced ? 32 : 16;
    bool aligned = reinterpret_cast<uintptr_t>(base) % unit == 0;
    for (int d = 1; d < rank; ++d) aligned = aligned && strides[d - 1] % unit == 0;
    return aligned;
  }
};

/// Where the byte at `offset` of an unswizzled tile lies: 16-byte units of a 128-byte row, exchanged by the row's
/// number.
constexpr uint32_t swizzle128(uint32_t offset) { return offset ^ (offset >> 3 & 0x70); }

/// `bytes` have come.
inline void countBytes(uint64_t* barrier, int bytes) {
  auto& counted = *reinterpret_cast<Mbarrier*>(barrier);
  counted.bytes -= bytes;
  counted.check();
}

inline void copyBox(void* to, const TensorMap& map, int rank, const TensorMap::Place& at, uint64_t* barrier,
                    const Where& where) {
  const uint32_t base = sharedOffset(to, where);
  if (map.rank != rank) block->fail("a box of another number of dimensions than the tensor map has", where);
  if (base % 1024 != 0 || map.box[0] != 128)
    block->fail("a swizzled box needs rows of 128 bytes at a multiple of 1024", where);
  if (!map.isAligned() || (map.spaced && map.sizes[0] % 128 != 0))
    block->fail("a tensor map needs base and strides at multiples of 16 bytes; spaced codes, of 32, and whole 128",
                where);
  mbarrier(barrier, where);
  std::memset(to, kPoison, static_cast<size_t>(map.boxRows()) * 128);
  block->later([=, map = map] {
    for (int r = 0; r < map.boxRows(); ++r) {
      const unsigned char* const row = map.row(at, r);
      for (int c = 0; c < 128; ++c) {
        if (map.spaced && c % 16 >= 8) continue;
        const int64_t from = map.spaced ? at[0] / 2 + c / 16 * 8 + c % 16 : at[0] + c;
        const bool inside = row && from < (map.spaced ? map.sizes[0] / 2 : map.sizes[0]);
        dynamicSharedMemory()[swizzle128(base + r * 128 + c)] = inside ? row[from] : 0;
      }
    }
    countBytes(barrier, map.boxRows() * (map.spaced ? 64 : 128));  // gaps do not count
  });
}

inline void copyBytes(void* to, const void* from, int bytes, uint64_t* barrier, const Where& where) {
  if ((sharedOffset(to, where) | reinterpret_cast<uintptr_t>(from) | static_cast<uintptr_t>(bytes)) % 16 != 0)
    block->fail("cp.async.bulk needs addresses and a size that are multiples of 16", where);
  mbarrier(barrier, where);
  std::memset(to, kPoison, static_cast<size_t>(bytes));
  block->later([=] {
    std::memcpy(to, from, static_cast<size_t>(bytes));
    countBytes(barrier, bytes);
  });
}

}  // namespace foretoken::simt
