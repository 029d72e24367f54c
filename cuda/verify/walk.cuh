// Down a draft tree as long as the target says one of the drafted children. A warp a sequence.
#pragma once
#include "cuda/common/device.cuh"
#include "cuda/verify/rows.h"

namespace foretoken::cuda {

constexpr int kWalkThreads = kWarp;

/// The first row of [begin, end) that drafts `token` below `parent`; -1 where there is none.
__device__ inline int childOf(const DraftTrees& trees, int parent, int token, int begin, int end) {
  for (int first = begin; first < end; first += kWarp) {
    const int row = first + static_cast<int>(threadIdx.x);
    const bool is = row < end && trees.parent[row] == parent && trees.token[row] == token;
    const uint32_t found = __ballot_sync(kAllLanes, is);
    if (found != 0) return first + __ffs(static_cast<int>(found)) - 1;
  }
  return -1;
}

/// drawn: the target's token after each row.
static __global__ void __launch_bounds__(kWalkThreads) walk(DraftTrees trees, const int32_t* drawn, Walked out) {
  const int sequence = blockIdx.x, end = trees.first[sequence + 1];
  int row = trees.first[sequence], count = 0;
  for (; row >= 0 && count < out.depth; ++count) {
    const int token = drawn[row];
    if (threadIdx.x == 0) {
      out.token[sequence * out.depth + count] = token;
      out.row[sequence * out.depth + count] = row;
    }
    row = childOf(trees, row, token, row + 1, end);
  }
  if (threadIdx.x == 0) out.count[sequence] = count;
}

}  // namespace foretoken::cuda
