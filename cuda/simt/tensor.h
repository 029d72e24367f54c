// tcgen05, Blackwell's matrix unit: one thread orders products of tiles in shared memory, whose sums lie in tensor
// memory, 128 lanes of 512 columns of 32 bits. Orders are done in turn, at once or late; what a product writes is NaN
// from the order on. A commit arrives at an mbarrier when all that was ordered before it is done.
//
// Scales of a block-scaled product lie in tensor memory, too, four bytes a word: the word of row r of an operand of 128
// is in lane r modulo 32, column r / 32, and again in the lanes of the three other warps. Which of its bytes a product
// takes, if not all four, is a field of the instruction's descriptor. Memory that nobody has written is NaN, as a
// number and as scales.
#pragma once
#include <bit>
#include <functional>

#include "cuda/common/scaled_kind.h"
#include "cuda/simt/operand.h"
#include "cuda/simt/warp.h"

namespace foretoken::simt {

using cuda::ScaledKind;

constexpr int kTensorLanes = 128, kTensorColumns = 512;
constexpr int kTensorTile = 128;  ///< rows of both operands
constexpr uint32_t kTensorPoison = 0xffffffff;

struct TensorUnit {
  std::vector<uint32_t> memory = std::vector<uint32_t>(kTensorLanes * kTensorColumns, kTensorPoison);
  int allocated = 0;
  std::vector<std::function<void()>> orders;  ///< copies, products and commits, as ordered
  size_t done = 0;

  uint32_t& at(int lane, int column) { return memory[lane * kTensorColumns + column]; }
  void catchUp(size_t count) {
    for (; done < count; ++done) orders[done]();
  }
};

inline TensorUnit& tensorUnit() {
  if (!block->tensorUnit) block->tensorUnit = std::make_shared<TensorUnit>();
  return *block->tensorUnit;
}

/// A warp takes `columns` columns; the address goes to shared memory.
inline void allocateTensorMemory(uint32_t* address, int columns, const Where& where) {
  vote(~0u, true, "tcgen05.alloc", where);
  TensorUnit& unit = tensorUnit();
  if (block->self().lane != 0) return;
  if (columns < 32 || !std::has_single_bit(static_cast<unsigned>(columns)))
    block->fail("tcgen05.alloc of a number of columns that is no power of two from 32 on", where);
  if (unit.allocated + columns > kTensorColumns) block->fail("more than 512 columns of tensor memory", where);
  *address = static_cast<uint32_t>(unit.allocated);
  unit.allocated += columns;
}

inline void freeTensorMemory(int columns, const Where& where) {
  vote(~0u, true, "tcgen05.dealloc", where);
  if (block->self().lane == 0) tensorUnit().allocated -= columns;
}

/// Lets the matrix unit do `work` after everything that was ordered before.
inline void order(std::function<void()> work) {
  TensorUnit& unit = tensorUnit();
  unit.orders.push_back(std::move(work));
  if (block->atOnce()) unit.catchUp(unit.orders.size());
}

/// An operand or scales behind a descriptor: its version is Blackwell's, its layout `layout`.
inline void checkDescriptor(uint64_t descriptor, uint64_t layout, const Where& where) {
  if (descriptor >> 61 != layout || (descriptor >> 46 & 3) != 1)
    block->fail("tcgen05: a descriptor of another version or layout than is known here", where);
}
constexpr uint64_t kUnswizzled = 0, kSwizzle128 = 2;

inline void checkColumns(uint32_t first, int count, const Where& where) {
  if (static_cast<int>(first) + count > tensorUnit().allocated)
    block->fail("tcgen05 writes or reads columns behind what was allocated", where);
}

/// The scales that a product takes of the word of a row.
struct ProductScales {
  uint32_t column;
  int byte;     ///< the first one
  bool powers;  ///< e8m0, otherwise e4m3 without its sign

  float of(int row, int scale) const {
    const uint32_t word = tensorUnit().at(row % 32, static_cast<int>(column) + row / 32);
    const auto code = static_cast<uint8_t>(word >> (8 * (byte + scale)));
    return powers ? e8m0ToFloat(code) : e4m3ToFloat(code & 0x7f);
  }
};

/// What a product is: elements of both operands, and its scales, none of them where `groups` is 0.
struct TensorProduct {
  Element left, right;
  int groups = 0;
  ProductScales leftScales{}, rightScales{};

  /// Element (row, column) of the product of two rows.
  float dot(const float* a, const float* b, int row, int column, float sum) const {
    const int cols = operandCols(left);
    if (groups == 0) {
      for (int k = 0; k < cols; ++k) sum += a[k] * b[k];
      return sum;
    }
    for (int group = 0; group < groups; ++group) {
      float part = 0;
      for (int k = group * cols / groups; k < (group + 1) * cols / groups; ++k) part += a[k] * b[k];
      sum += part * leftScales.of(row, group) * rightScales.of(column, group);
    }
    return sum;
  }
};

/// d (128 x 128) = or += a b^T, a and b of 128 rows of 32 bytes.
inline void orderTensorProduct(const TensorProduct& product, uint32_t d, uint64_t a, uint64_t b, bool accumulate,
                               const Where& where) {
  checkDescriptor(a, kSwizzle128, where);
  checkDescriptor(b, kSwizzle128, where);
  checkColumns(d, kTensorTile, where);
  TensorUnit* const unit = &tensorUnit();
  const auto first = static_cast<int>(d);
  if (!accumulate)
    for (int lane = 0; lane < kTensorLanes; ++lane) std::fill_n(&unit->at(lane, first), kTensorTile, kTensorPoison);
  order([=] {
    const int cols = operandCols(product.left);
    const auto left = operandRows(product.left, a, kTensorTile), right = operandRows(product.right, b, kTensorTile);
    for (int row = 0; row < kTensorTile; ++row) {
      for (int column = 0; column < kTensorTile; ++column) {
        uint32_t& to = unit->at(row, first + column);
        const float before = accumulate ? std::bit_cast<float>(to) : 0;
        to = std::bit_cast<uint32_t>(product.dot(&left[row * cols], &right[column * cols], row, column, before));
      }
    }
  });
}

/// A field of an instruction's descriptor.
constexpr uint32_t field(uint32_t descriptor, int first, int bits) { return descriptor >> first & ((1u << bits) - 1); }

/// d = or += a b^T, e4m3; `instruction` is what PTX calls the instruction descriptor.
inline void orderProduct(uint32_t instruction, uint32_t d, uint64_t a, uint64_t b, bool accumulate,
                         const Where& where) {
  constexpr uint32_t kFp32Sums = 1u << 4, kShape = 128u / 8 << 17 | 128u / 16 << 24;
  if (instruction != (kFp32Sums | kShape))
    block->fail("tcgen05.mma kind::f8f6f4: an instruction not known here", where);
  orderTensorProduct({Element::e4m3, Element::e4m3}, d, a, b, accumulate, where);
}

/// d = or += a b^T of scaled elements, with scales in columns from `scalesA` and `scalesB` on.
inline void orderScaledProduct(ScaledKind kind, uint32_t instruction, uint32_t d, uint64_t a, uint64_t b,
                               uint32_t scalesA, uint32_t scalesB, bool accumulate, const Where& where) {
  constexpr uint32_t kE4m3 = 0, kE2m1OfEight = 5, kE2m1 = 1;
  const bool mixed = kind == ScaledKind::mxfp8;
  const uint32_t left = field(instruction, 7, 3), right = field(instruction, 10, 3);
  const auto byteA = static_cast<int>(field(instruction, 29, 2)), byteB = static_cast<int>(field(instruction, 4, 2));
  const bool powers = field(instruction, 23, 1);
  const int groups = cuda::productScales(kind);
  if (left != (mixed ? kE4m3 : kE2m1) || right != (mixed ? kE2m1OfEight : kE2m1))
    block->fail("tcgen05.mma block_scale: elements that are not known here", where);
  if (field(instruction, 17, 6) * 8 != kTensorTile || field(instruction, 24, 5) * 16 != kTensorTile)
    block->fail("tcgen05.mma block_scale: only 128 x 128 is known here", where);
  if (powers != (kind != ScaledKind::nvfp4)) block->fail("tcgen05.mma block_scale: scales of the other format", where);
  if (byteA % groups != 0 || byteB % groups != 0)
    block->fail("tcgen05.mma block_scale: scales that do not begin at a multiple of their number", where);
  if (scalesA % 4 != 0 || scalesB % 4 != 0)
    block->fail("tcgen05.mma block_scale: scales at a column that is no multiple of four", where);
  checkColumns(scalesA, 4, where);
  checkColumns(scalesB, 4, where);
  orderTensorProduct({mixed ? Element::e4m3 : Element::e2m1,
                      mixed ? Element::spacedE2m1 : Element::e2m1,
                      groups,
                      {scalesA, byteA, powers},
                      {scalesB, byteB, powers}},
                     d, a, b, accumulate, where);
}

/// tcgen05.cp.32x128b.warpx4: 32 rows of 16 bytes, eight rows by the descriptor's stride, become four columns, for each
/// of the four warps' lanes the same. Products that were ordered before still see what was there.
inline void orderScaleCopy(uint32_t to, uint64_t from, const Where& where) {
  checkDescriptor(from, kUnswizzled, where);
  checkColumns(to, 4, where);
  TensorUnit* const unit = &tensorUnit();
  order([=] {
    const auto start = static_cast<uint32_t>(from & 0x3fff) << 4, stride = static_cast<uint32_t>(from >> 32 & 0x3fff)
                                                                           << 4;
    for (int lane = 0; lane < kTensorLanes; ++lane) {
      const int row = lane % 32;
      std::memcpy(&unit->at(lane, static_cast<int>(to)),
                  dynamicSharedMemory() + start + row / 8 * stride + row % 8 * 16, 16);
    }
  });
}

inline void commitOrders(uint64_t* at, const Where& where) {
  mbarrier(at, where);
  const auto unit = &tensorUnit();
  unit->orders.push_back([at] {
    auto& barrier = *reinterpret_cast<Mbarrier*>(at);
    --barrier.pending;
    barrier.check();
  });
  block->later([unit, count = unit->orders.size()] { unit->catchUp(count); });
}

/// Columns of the lane of tensor memory that is this thread's: a warp sees the 32 lanes of its number modulo 4.
template <int kColumns>
void loadTensorMemory(uint32_t address, float (&to)[kColumns], const Where& where) {
  vote(~0u, true, "tcgen05.ld", where);
  const int first = static_cast<int>(address >> 16), own = block->self().linear / kWarpLanes % 4 * kWarpLanes;
  if (first != own) block->fail("tcgen05.ld of another warp's lanes", where);
  for (int i = 0; i < kColumns; ++i)
    to[i] = std::bit_cast<float>(tensorUnit().at(own + block->self().lane, static_cast<int>(address & 0xffff) + i));
}

}  // namespace foretoken::simt
