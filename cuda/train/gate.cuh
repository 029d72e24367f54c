// The gate of an MLP, forward and backward, with s = 1 / (1 + e^-gate):
//
//     y = gate s up        dgate = dy up s (1 + gate (1 - s))        dup = dy gate s
//
// All that comes out goes into products, so it is bf16.
#pragma once
#include "cuda/common/exp2.cuh"
#include "cuda/common/half.cuh"
#include "cuda/train/elements.cuh"
#include "train/formulas.h"

namespace foretoken::cuda {

__device__ inline float sigmoidOf(float x) {
  constexpr float kLog2e = 1.44269504f;
  return formula::sigmoid(x, exp2(-fabsf(x) * kLog2e));
}

static __global__ void __launch_bounds__(kPieceThreads)
    gateUp(const float* gate, const float* up, int64_t count, int64_t first, uint16_t* y) {
  overPiece(first, count,
            [&](int64_t i) { y[i] = fromFloat(Bf16(), formula::swiglu(gate[i], sigmoidOf(gate[i]), up[i])); });
}

static __global__ void __launch_bounds__(kPieceThreads)
    gateUpBack(const float* gate, const float* up, const float* dy, int64_t count, int64_t first, uint16_t* dgate,
               uint16_t* dup) {
  overPiece(first, count, [&](int64_t i) {
    const float s = sigmoidOf(gate[i]);
    dgate[i] = fromFloat(Bf16(), formula::swigluGateGradient(gate[i], s, up[i], dy[i]));
    dup[i] = fromFloat(Bf16(), formula::swigluUpGradient(gate[i], s, dy[i]));
  });
}

}  // namespace foretoken::cuda
