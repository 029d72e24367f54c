// Walking through a product: rows in tiles, weights in blocks. Included by gemm_*.cc.
#pragma once
#include <utility>

#include "cpu/vector_math-inl.h"

namespace foretoken {
namespace {

/// Asks for what follows a block, four kilobytes ahead: with few rows, kernels issue their loads too slowly for the
/// hardware's own prefetching to reach the memory's speed.
inline void prefetchBlock(const uint8_t* block, size_t bytes) {
  constexpr size_t kAhead = 4096;
  for (size_t line = 0; line < bytes; line += 64) prefetch(block + line + kAhead);
}

/// Asks again for what is about to be multiplied: with several rows, loads that find their line in the second level
/// only would wait for the slots that what is on its way from memory holds.
inline void prefetchBlockSoon(const uint8_t* block, size_t bytes) {
  constexpr size_t kAhead = 768;
  for (size_t line = 0; line < bytes; line += 64) prefetchSoon(block + line + kAhead);
}

/// Calls f.operator()<T>(row) for tiles of at most `max` rows, as equal as they can be.
template <int max, class F>
inline void forTiles(int count, F&& f) {
  const int tiles = (count + max - 1) / max;
  for (int i = 0; i < tiles; ++i) {
    const int row = static_cast<int>(int64_t{count} * i / tiles);
    const int size = static_cast<int>(int64_t{count} * (i + 1) / tiles) - row;
    [&]<int... T>(std::integer_sequence<int, T...>) {
      ((size == T + 1 ? f.template operator()<T + 1>(row) : void()), ...);
    }
    (std::make_integer_sequence<int, max>());
  }
}

}  // namespace
}  // namespace foretoken
