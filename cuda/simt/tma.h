// The tensor memory accelerator: boxes of a two-dimensional array of bytes, copied to shared memory in the 128-byte
// swizzle, zeros where the box lies outside, the bytes counted by an mbarrier. Until then the target is poison.
#pragma once
#include "cuda/simt/mbarrier.h"
#include "quant/float_codecs.h"

namespace foretoken::simt {

/// The part of a tensor map that such copies need: rows of one-byte elements.
struct TensorMap {
  const unsigned char* base;
  int64_t cols, rows, pitch;
  int boxCols, boxRows;
};

/// Where the byte at `offset` of an unswizzled tile lies: 16-byte units of a 128-byte row, exchanged by the row's
/// number.
constexpr uint32_t swizzle128(uint32_t offset) { return offset ^ (offset >> 3 & 0x70); }

/// Element (row, k) of an e4m3 operand: rows of 128 swizzled bytes, eight rows by the descriptor's stride.
inline float operandElement(uint64_t descriptor, int row, int k) {
  const auto start = static_cast<uint32_t>(descriptor & 0x3fff) << 4;
  const auto stride = static_cast<uint32_t>(descriptor >> 32 & 0x3fff) << 4;
  return e4m3ToFloat(dynamicSharedMemory()[swizzle128(start + row / 8 * stride + row % 8 * 128 + k)]);
}

/// Rows of 32 elements of an operand.
inline std::vector<float> operandRows(uint64_t descriptor, int rows) {
  std::vector<float> elements(static_cast<size_t>(rows) * 32);
  for (int i = 0; i < rows * 32; ++i) elements[i] = operandElement(descriptor, i / 32, i % 32);
  return elements;
}

inline void copyBox(void* to, const TensorMap& map, int col, int row, uint64_t* barrier, const Where& where) {
  const uint32_t base = sharedOffset(to, where);
  if (base % 1024 != 0 || map.boxCols != 128)
    block->fail("a swizzled box needs rows of 128 bytes at a multiple of 1024", where);
  mbarrier(barrier, where);
  std::memset(to, kPoison, static_cast<size_t>(map.boxRows) * 128);
  block->later([=, map = map] {
    for (int r = 0; r < map.boxRows; ++r) {
      for (int c = 0; c < 128; ++c) {
        const bool inside = row + r < map.rows && col + c < map.cols;
        dynamicSharedMemory()[swizzle128(base + r * 128 + c)] = inside ? map.base[(row + r) * map.pitch + col + c] : 0;
      }
    }
    auto& counted = *reinterpret_cast<Mbarrier*>(barrier);
    counted.bytes -= map.boxRows * 128;
    counted.check();
  });
}

}  // namespace foretoken::simt
