// tcgen05, Blackwell's matrix unit: one thread orders products of tiles in shared memory, whose sums lie in tensor
// memory, 128 lanes of 512 columns. Products are done in order, at once or late; what they write is NaN from the order
// on. A commit arrives at an mbarrier when all products ordered before it are done.
#pragma once
#include <functional>

#include "cuda/simt/tma.h"

namespace foretoken::simt {

constexpr int kTensorLanes = 128, kTensorColumns = 512;

struct TensorUnit {
  std::vector<float> memory = std::vector<float>(kTensorLanes * kTensorColumns, __builtin_nanf(""));
  int allocated = 0;
  std::vector<std::function<void()>> orders;  ///< products and commits, as ordered
  size_t done = 0;

  float& at(int lane, int column) { return memory[lane * kTensorColumns + column]; }
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
  if (unit.allocated + columns > kTensorColumns) block->fail("more than 512 columns of tensor memory", where);
  *address = static_cast<uint32_t>(unit.allocated);
  unit.allocated += columns;
}

inline void freeTensorMemory(int columns, const Where& where) {
  vote(~0u, true, "tcgen05.dealloc", where);
  if (block->self().lane == 0) tensorUnit().allocated -= columns;
}

/// d (128 x 128) = or += a (128 x 32) b (128 x 32)^T, e4m3.
inline void orderProduct(uint32_t d, uint64_t a, uint64_t b, bool accumulate, const Where& where) {
  constexpr uint64_t kSwizzle128 = 2;
  if (a >> 61 != kSwizzle128 || b >> 61 != kSwizzle128)
    block->fail("tcgen05: only the 128-byte swizzle is known here", where);
  const auto unit = &tensorUnit();
  if (static_cast<int>(d) + 128 > unit->allocated) block->fail("tcgen05 sums behind what was allocated", where);
  if (!accumulate)
    for (int lane = 0; lane < kTensorLanes; ++lane)
      std::fill_n(&unit->at(lane, static_cast<int>(d)), 128, __builtin_nanf(""));
  unit->orders.push_back([=] {
    const auto left = operandRows(a, 128), right = operandRows(b, 128);
    for (int row = 0; row < 128; ++row) {
      for (int column = 0; column < 128; ++column) {
        float& to = unit->at(row, static_cast<int>(d) + column);
        float sum = accumulate ? to : 0;
        for (int k = 0; k < 32; ++k) sum += left[row * 32 + k] * right[column * 32 + k];
        to = sum;
      }
    }
  });
  if (block->atOnce()) unit->catchUp(unit->orders.size());
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
    to[i] = tensorUnit().at(own + block->self().lane, static_cast<int>(address & 0xffff) + i);
}

}  // namespace foretoken::simt
