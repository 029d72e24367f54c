// Operands of wgmma and tcgen05 in shared memory, read as their descriptors say: rows of 128 swizzled bytes, eight rows
// by the descriptor's stride. A product takes 32 bytes of each row.
#pragma once
#include "cuda/simt/tma.h"
#include "quant/float_codecs.h"

namespace foretoken::simt {

enum class Element : uint8_t {
  e4m3,
  e2m1,        ///< two in a byte, the first in the low bits
  spacedE2m1,  ///< sixteen in eight bytes, then eight bytes that nobody reads
};

/// Elements of a row that a product takes.
constexpr int operandCols(Element element) { return element == Element::e2m1 ? 64 : 32; }

inline uint8_t operandByte(uint64_t descriptor, int row, int at) {
  const auto start = static_cast<uint32_t>(descriptor & 0x3fff) << 4;
  const auto stride = static_cast<uint32_t>(descriptor >> 32 & 0x3fff) << 4;
  return dynamicSharedMemory()[swizzle128(start + row / 8 * stride + row % 8 * 128 + at)];
}

inline float operandElement(Element element, uint64_t descriptor, int row, int k) {
  if (element == Element::e4m3) return e4m3ToFloat(operandByte(descriptor, row, k));
  const int at = element == Element::e2m1 ? k / 2 : k / 16 * 16 + k % 16 / 2;
  return e2m1ToFloat(static_cast<uint8_t>(operandByte(descriptor, row, at) >> (k % 2 * 4)));
}

/// Rows of operandCols(element) elements.
inline std::vector<float> operandRows(Element element, uint64_t descriptor, int rows) {
  const int cols = operandCols(element);
  std::vector<float> elements(static_cast<size_t>(rows) * cols);
  for (int i = 0; i < rows * cols; ++i) elements[i] = operandElement(element, descriptor, i / cols, i % cols);
  return elements;
}

}  // namespace foretoken::simt
