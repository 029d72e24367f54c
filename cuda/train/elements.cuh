// Something for every number of a long run: a piece a block, some pieces a launch, so that no launch takes long.
#pragma once
#include "cuda/common/device.cuh"

namespace foretoken::cuda {

constexpr int kPieceThreads = 256;
constexpr int kPiece = 4 * kPieceThreads;
/// Numbers of a launch: some 64 MB go through memory.
constexpr int64_t kElementSlice = int64_t{2} << 20;

/// f(i) for this block's piece of the numbers [first, count).
template <class F>
__device__ void overPiece(int64_t first, int64_t count, F f) {
  const int64_t begin = first + static_cast<int64_t>(blockIdx.x) * kPiece + threadIdx.x;
#pragma unroll
  for (int n = 0; n < kPiece / kPieceThreads; ++n) {
    const int64_t i = begin + n * kPieceThreads;
    if (i < count) f(i);
  }
}

/// Blocks of the launch that begins at number `first`; its kernel has kPieceThreads threads.
inline dim3 pieceGrid(int64_t first, int64_t count) {
  const int64_t here = count - first < kElementSlice ? count - first : kElementSlice;
  return dim3(static_cast<unsigned>(ceilDiv(here, int64_t{kPiece})));
}

}  // namespace foretoken::cuda
