// Walking through a product: rows in tiles, weights in blocks. Included by gemm_*.cc.
#pragma once
#include <utility>

#include "cpu/vector_math-inl.h"

namespace foretoken {
namespace {

/// What follows a block that some rows are multiplied by, as two requests see it: for the second-level cache, and later
/// for the first, where loads would otherwise wait for the slots that hold what is on its way from memory. One or two
/// rows go through blocks as fast as memory gives them: what they ask for early only makes the queue longer.
struct Ahead {
  static constexpr size_t kFar = 8192, kFarOfFewRows = 4096, kSoon = 2048;
  const uint8_t *far, *soon;

  Ahead(const uint8_t* block, int rows, bool asks = true)
      : far(block + (asks ? rows <= 2 ? kFarOfFewRows : kFar : 0)), soon(block + (asks ? kSoon : 0)) {}
};

/// Asks piece by piece, between the products of a block: asked for together, lines wait for slots, and all that is
/// loaded after them waits as well.
constexpr int kPieces = 8;
[[gnu::always_inline]] inline void prefetchPiece(const Ahead& ahead, int lines, int piece) {
  for (int line = lines * piece / kPieces; line < lines * (piece + 1) / kPieces; ++line) {
    prefetch(ahead.far + line * 64);
    prefetchSoon(ahead.soon + line * 64);
  }
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
