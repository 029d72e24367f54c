// wgmma: four warps multiply tiles that lie in shared memory, asynchronously. Sums cannot be read between issue and
// wait (they are NaN meanwhile); the tiles are read at issue or, where completion is late, at the wait.
#pragma once
#include <memory>
#include <utility>

#include "cuda/simt/operand.h"

namespace foretoken::simt {

/// Sums of one warpgroup while products are under way: of each thread, kept apart from its registers.
struct HiddenSums {
  std::array<float*, kWarpgroupThreads> registers;
  std::array<std::vector<float>, kWarpgroupThreads> value;
};

/// One wgmma: sums (64 x columns) += or = a (64 x 32) b (columns x 32, transposed), e4m3.
struct Product {
  std::shared_ptr<HiddenSums> sums;
  uint64_t a, b;
  int columns;
  bool accumulate, done = false;

  void multiply() {
    if (std::exchange(done, true)) return;
    const auto left = operandRows(Element::e4m3, a, 64), right = operandRows(Element::e4m3, b, columns);
    for (int thread = 0; thread < kWarpgroupThreads; ++thread) {
      auto& mine = sums->value[thread];
      for (int i = 0; i < columns / 2; ++i) {
        // Lane l of warp w: rows 16 w + l / 4 and 8 more, columns 2 (l % 4), 2 (l % 4) + 1 of every eight.
        const int row = thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8;
        const int column = i / 4 * 8 + thread % 4 * 2 + i % 2;
        float sum = accumulate ? mine[i] : 0;
        for (int k = 0; k < 32; ++k) sum += left[row * 32 + k] * right[column * 32 + k];
        mine[i] = sum;
      }
    }
  }
};

/// All threads of the warpgroup come together; the last one does `operation` with what each of them brings.
template <class Frame, class Operation>
void gatherWarpgroup(const char* name, Frame& frame, Operation operation, const Where& where) {
  Warpgroup& group = block->warpgroup();
  const int first = block->self().linear / kWarpgroupThreads * kWarpgroupThreads;
  if (group.arrived > 0 && std::strcmp(group.operation, name) != 0)
    block->fail(std::string("divergent warpgroup: ") + name + " while others are in " + group.operation, where);
  group.operation = name;
  group.frame[block->self().linear - first] = &frame;
  if (++group.arrived < kWarpgroupThreads) {
    block->wait(State::collective, name, where);
    return;
  }
  group.arrived = 0;
  operation(group);
  for (int i = 0; i < kWarpgroupThreads; ++i)
    if (&block->thread(first + i) != &block->self()) block->thread(first + i).state = State::ready;
}

struct ProductFrame {
  float* sums;
  uint64_t a, b;
};

/// The sums that products under way hold for these registers, or new ones, with the registers poisoned.
inline std::shared_ptr<HiddenSums> hide(Warpgroup& group, int columns) {
  const auto* first = static_cast<ProductFrame*>(group.frame[0]);
  const auto holds = [&](const auto& product) { return product->sums->registers[0] == first->sums; };
  for (const auto& product : group.open)
    if (holds(product)) return product->sums;
  for (const auto& products : group.groups)
    for (const auto& product : products)
      if (holds(product)) return product->sums;
  auto hidden = std::make_shared<HiddenSums>();
  for (int i = 0; i < kWarpgroupThreads; ++i) {
    float* sums = static_cast<ProductFrame*>(group.frame[i])->sums;
    hidden->registers[i] = sums;
    hidden->value[i].assign(sums, sums + columns / 2);
    std::fill(sums, sums + columns / 2, __builtin_nanf(""));
  }
  return hidden;
}

inline void issueProduct(float* sums, int columns, uint64_t a, uint64_t b, bool accumulate, const Where& where) {
  ProductFrame frame{sums, a, b};
  gatherWarpgroup(
      "wgmma.mma_async", frame,
      [&](Warpgroup& group) {
        for (const void* each : group.frame) {
          const auto* other = static_cast<const ProductFrame*>(each);
          if (other->a != a || other->b != b) block->fail("wgmma with descriptors that differ between threads", where);
        }
        if (a >> 62 != 1 || b >> 62 != 1) block->fail("wgmma: only the 128-byte swizzle is known here", where);
        auto product = std::make_shared<Product>(Product{hide(group, columns), a, b, columns, accumulate});
        if (block->atOnce() && group.groups.empty()) {
          for (const auto& earlier : group.open) earlier->multiply();  // in order, as they share sums
          product->multiply();
        }
        group.open.push_back(std::move(product));
      },
      where);
}

inline void commitProducts(const Where& where) {
  int nothing = 0;
  gatherWarpgroup(
      "wgmma.commit_group", nothing, [](Warpgroup& group) { group.groups.push_back(std::exchange(group.open, {})); },
      where);
}

/// Until at most `left` groups are under way. Sums that no product holds any more go back to the registers.
inline void waitForProducts(int left, const Where& where) {
  int nothing = 0;
  gatherWarpgroup(
      "wgmma.wait_group", nothing,
      [left](Warpgroup& group) {
        while (static_cast<int>(group.groups.size()) > left) {
          auto finished = std::move(group.groups.front());
          group.groups.erase(group.groups.begin());
          for (auto& product : finished) product->multiply();
          for (auto& product : finished) {
            const auto sums = std::move(product->sums);
            if (sums.use_count() > 1) continue;  // a later product adds to them
            for (int i = 0; i < kWarpgroupThreads; ++i)
              std::copy(sums->value[i].begin(), sums->value[i].end(), sums->registers[i]);
          }
        }
      },
      where);
}

}  // namespace foretoken::simt
