// Small operations on rows of activations: gates, sums, and what drafters keep of a row beside its keys and values.
#pragma once
#include "backend.h"
#include "cuda/common/half.cuh"
#include "cuda/step/pass_view.cuh"

namespace foretoken::cuda {

constexpr int kRowThreads = 256;

/// silu(g) = g / (1 + e^-g).
struct Silu {
  __device__ float operator()(float g) const { return g / (1.0f + expf(-g)); }
};
/// Gelu in its form with tanh.
struct Gelu {
  __device__ float operator()(float g) const {
    return 0.5f * g * (1.0f + tanhf(0.7978845608028654f * fmaf(0.044715f * g * g, g, g)));
  }
};

/// out[r][i] = activation(gate i) * up i of in[r] [2 width], where gates and ups take turns. Grid: (columns, rows).
template <class Activation>
__global__ void __launch_bounds__(kRowThreads)
    gate(const int32_t* pass, const float* in, float* out, int width, int stride) {
  const int row = blockIdx.y, i = static_cast<int>(blockIdx.x * kRowThreads + threadIdx.x);
  if (row >= PassView(pass).rows() || i >= width) return;
  const float2 x = reinterpret_cast<const float2*>(in)[static_cast<size_t>(row) * width + i];
  out[static_cast<size_t>(row) * stride + i] = Activation{}(x.x) * x.y;
}

/// out[i] += in[row i of the pass's list]. Rows of a list of `out` are different. Grid: (columns, rows).
inline __global__ void __launch_bounds__(kRowThreads)
    addListed(const int32_t* words, int list, const float* in, float* out, int stride) {
  const PassHeader& header = PassView(words).header();
  const int row = blockIdx.y, i = static_cast<int>(blockIdx.x * kRowThreads + threadIdx.x);
  if (row >= header.listCount[list] || i >= stride) return;
  const int from = words[header.list[list] + row];
  out[static_cast<size_t>(row) * stride + i] += in[static_cast<size_t>(from) * stride + i];
}

/// The side bytes of KV slots.
struct Sides {
  uint8_t* base;
  int bytes;  ///< of a slot
  bool operator==(const Sides&) const = default;
  __device__ uint8_t* at(int slot) const { return base + static_cast<size_t>(slot) * bytes; }
};

/// in[r], rounded to bf16, goes to the side bytes of its slot from `offset` on. Grid: (columns, rows).
inline __global__ void __launch_bounds__(kRowThreads)
    keepRows(const int32_t* words, const float* in, int width, int stride, Sides sides, int offset) {
  const PassView pass(words);
  const int row = blockIdx.y, i = static_cast<int>(blockIdx.x * kRowThreads + threadIdx.x);
  if (row >= pass.rows() || i >= width) return;
  auto* const to = reinterpret_cast<uint16_t*>(sides.at(pass.at(pass.header().slot)[row]) + offset);
  to[i] = fromFloat(Bf16{}, in[static_cast<size_t>(row) * stride + i]);
}

/// And back.
inline __global__ void __launch_bounds__(kRowThreads)
    keptRows(const int32_t* words, Sides sides, int offset, float* out, int width, int stride) {
  const PassView pass(words);
  const int row = blockIdx.y, i = static_cast<int>(blockIdx.x * kRowThreads + threadIdx.x);
  if (row >= pass.rows() || i >= width) return;
  const auto* const from = reinterpret_cast<const uint16_t*>(sides.at(pass.at(pass.header().slot)[row]) + offset);
  out[static_cast<size_t>(row) * stride + i] = toFloat(Bf16{}, from[i]);
}

}  // namespace foretoken::cuda
