// From logits to the target's tokens, and down the draft trees: the launches, in order.
#pragma once
#include "cuda/verify/adjust.cuh"
#include "cuda/verify/batch.h"
#include "cuda/verify/draw.cuh"
#include "cuda/verify/walk.cuh"

namespace foretoken::cuda {

/// Draws a.drawn[row] for every row.
template <class Logit>
cudaError_t drawRows(const VerifyArgs<Logit>& a, DrawKinds kinds, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(ceilDiv(chunksOf(a), kDrawWarps)), static_cast<unsigned>(a.rows));
  cudaError_t error = cudaSuccess;
  const auto run = [&](bool needed, auto kernel, dim3 blocks, int threads, auto... arguments) {
    if (needed && error == cudaSuccess)
      error = launch(kernel, blocks, dim3(static_cast<unsigned>(threads)), 0, stream, arguments...);
  };
  if (a.rows == 0) return error;
  run(kinds.adjusts, adjust<Logit>, dim3(static_cast<unsigned>(a.rows)), kAdjustThreads, a);
  run(true, findTop<Logit>, grid, kDrawThreads, a);
  run(kinds.weighs, weigh<Logit>, grid, kDrawThreads, a, false);
  run(kinds.cuts, findCut<Logit>, grid, kDrawThreads, a);
  run(kinds.cuts, weigh<Logit>, grid, kDrawThreads, a, true);
  return error;
}

inline cudaError_t walkTrees(const DraftTrees& trees, int sequences, const int32_t* drawn, const Walked& out,
                             cudaStream_t stream) {
  if (sequences == 0) return cudaSuccess;
  return launch(walk, dim3(static_cast<unsigned>(sequences)), dim3(kWalkThreads), 0, stream, trees, drawn, out);
}

}  // namespace foretoken::cuda
