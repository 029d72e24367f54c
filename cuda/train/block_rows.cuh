// The rows of blocks before their first layer, from the anchors' rows h of the context: slot 0 is what `join` makes of
// the newest token and h, slot s > 0 is mask_{s-1} + inject h (native/train/block_head.h).
#pragma once
#include "cuda/train/elements.cuh"

namespace foretoken::cuda {

/// y[i] = x[row[i]] for rows of `width` numbers; `count` of them in all.
static __global__ void __launch_bounds__(kPieceThreads)
    gatherRows(const uint16_t* x, const int32_t* row, int width, int64_t count, int64_t first, uint16_t* y) {
  overPiece(first, count, [&](int64_t i) { y[i] = x[row[i / width] * int64_t{width} + i % width]; });
}

/// x [anchors][slots][width], `count` numbers in all, of joined and injected [anchors][width] and mask [slots - 1].
static __global__ void __launch_bounds__(kPieceThreads)
    startBlocks(const float* joined, const float* injected, const float* mask, int slots, int width, int64_t count,
                int64_t first, float* x) {
  overPiece(first, count, [&](int64_t i) {
    const int64_t anchor = i / width / slots, column = i % width, slot = i / width % slots;
    const int64_t at = anchor * width + column;
    x[i] = slot == 0 ? joined[at] : mask[(slot - 1) * width + column] + injected[at];
  });
}

}  // namespace foretoken::cuda
