// Small operations on rows of activations: sums, and what drafters keep of a row beside its keys and values.
#pragma once
#include "backend.h"
#include "cuda/common/half.cuh"
#include "cuda/step/pass_view.cuh"

namespace foretoken::cuda {

constexpr int kRowThreads = 256;

/// out[i] += in[row i of the pass's list]. Rows of a list of `out` are different. Grid: (columns, rows).
static __global__ void __launch_bounds__(kRowThreads)
    addListed(const int32_t* words, int list, const float* in, float* out, int width) {
  const PassHeader& header = PassView(words).header();
  const int row = blockIdx.y, i = static_cast<int>(blockIdx.x * kRowThreads + threadIdx.x);
  if (row >= header.listCount[list] || i >= width) return;
  const int from = words[header.list[list] + row];
  out[static_cast<size_t>(row) * width + i] += in[static_cast<size_t>(from) * width + i];
}

/// Rows of `width` numbers, one after the other, come to lie `stride` apart. Grid: (columns, rows).
static __global__ void __launch_bounds__(kRowThreads) spreadRows(const float* in, int width, float* out, int stride) {
  const int i = static_cast<int>(blockIdx.x * kRowThreads + threadIdx.x);
  if (i < width) out[static_cast<size_t>(blockIdx.y) * stride + i] = in[static_cast<size_t>(blockIdx.y) * width + i];
}

/// in[r], rounded to bf16, goes to the side bytes of its slot from `offset` on. Grid: (columns, rows).
static __global__ void __launch_bounds__(kRowThreads)
    keepRows(const int32_t* words, const float* in, int width, Sides sides, int offset) {
  const PassView pass(words);
  const int row = blockIdx.y, i = static_cast<int>(blockIdx.x * kRowThreads + threadIdx.x);
  if (row >= pass.rows() || i >= width) return;
  auto* const to = reinterpret_cast<uint16_t*>(sides.at(pass.at(pass.header().slot)[row]) + offset);
  to[i] = fromFloat(Bf16{}, in[static_cast<size_t>(row) * width + i]);
}

/// And back.
static __global__ void __launch_bounds__(kRowThreads)
    keptRows(const int32_t* words, Sides sides, int offset, float* out, int width) {
  const PassView pass(words);
  const int row = blockIdx.y, i = static_cast<int>(blockIdx.x * kRowThreads + threadIdx.x);
  if (row >= pass.rows() || i >= width) return;
  const auto* const from = reinterpret_cast<const uint16_t*>(sides.at(pass.at(pass.header().slot)[row]) + offset);
  out[static_cast<size_t>(row) * width + i] = toFloat(Bf16{}, from[i]);
}

}  // namespace foretoken::cuda
