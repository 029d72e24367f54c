// The tensor memory accelerator: boxes of a two-dimensional array of bytes or of 4-bit codes, copied to shared memory
// in the 128-byte swizzle, zeros where the box lies outside; and plain bytes. What is copied is counted by an mbarrier.
// Until then the target is poison.
#pragma once
#include "cuda/simt/mbarrier.h"

namespace foretoken::simt {

/// The part of a tensor map that such copies need: rows of one-byte elements, or of 4-bit codes that go to shared
/// memory `spaced`: sixteen in eight bytes, and eight bytes left alone.
struct TensorMap {
  const unsigned char* base;
  int64_t cols, rows, pitch;
  int boxCols, boxRows;
  bool spaced;
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

inline void copyBox(void* to, const TensorMap& map, int col, int row, uint64_t* barrier, const Where& where) {
  const uint32_t base = sharedOffset(to, where);
  if (base % 1024 != 0 || map.boxCols != 128)
    block->fail("a swizzled box needs rows of 128 bytes at a multiple of 1024", where);
  if (map.spaced && (reinterpret_cast<uintptr_t>(map.base) % 32 != 0 || map.pitch % 32 != 0 || map.cols % 128 != 0))
    block->fail("spaced codes need rows of whole 128, at multiples of 32 bytes", where);
  mbarrier(barrier, where);
  std::memset(to, kPoison, static_cast<size_t>(map.boxRows) * 128);
  block->later([=, map = map] {
    for (int r = 0; r < map.boxRows; ++r) {
      for (int c = 0; c < 128; ++c) {
        if (map.spaced && c % 16 >= 8) continue;
        const int64_t at = map.spaced ? col / 2 + c / 16 * 8 + c % 16 : col + c;
        const bool inside = row + r < map.rows && at < (map.spaced ? map.cols / 2 : map.cols);
        dynamicSharedMemory()[swizzle128(base + r * 128 + c)] = inside ? map.base[(row + r) * map.pitch + at] : 0;
      }
    }
    countBytes(barrier, map.boxRows * (map.spaced ? 64 : 128));  // gaps do not count
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
