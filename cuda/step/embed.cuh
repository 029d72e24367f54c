// Rows of tokens: what a pass begins with.
#pragma once
#include "cuda/gemm/element.cuh"
#include "cuda/step/pass_view.cuh"

namespace foretoken::cuda {

constexpr int kEmbedThreads = 256;

/// out[r] = row token[r] of the table. Grid: (columns, rows).
static __global__ void __launch_bounds__(kEmbedThreads)
    embedTokens(const int32_t* words, SkinnyFormat format, SkinnyWeights table, float* out) {
  const PassView pass(words);
  const int row = blockIdx.y, k = static_cast<int>(blockIdx.x * kEmbedThreads + threadIdx.x);
  if (row >= pass.rows() || k >= table.cols) return;
  out[static_cast<size_t>(row) * table.cols + k] = weightAt(format, table, pass.at(pass.header().token)[row], k);
}

}  // namespace foretoken::cuda
