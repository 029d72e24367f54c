// What products read of numbers that others go on with.
#pragma once
#include "cuda/common/half.cuh"
#include "cuda/train/elements.cuh"

namespace foretoken::cuda {

static __global__ void __launch_bounds__(kPieceThreads)
    roundNumbers(const float* x, int64_t count, int64_t first, uint16_t* y) {
  overPiece(first, count, [&](int64_t i) { y[i] = fromFloat(Bf16(), x[i]); });
}

}  // namespace foretoken::cuda
