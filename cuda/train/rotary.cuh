// Rotary embedding of rows in training: numbers i and i + half of each head turn by angle i of the row,
//
//     (a, b) -> (a cos - b sin, b cos + a sin)
//
// or back, which is the gradient.
#pragma once
#include "cuda/common/half.cuh"
#include "train/formulas.h"

namespace foretoken::cuda {

constexpr int kRotaryThreads = 256;

struct RotaryRows {
  float* x;  ///< [rows][heads][2 half], turned in place
  int heads, half;
  const float *cosine, *sine;  ///< [rows][half]
  uint16_t* rounded;           ///< [rows][heads][2 half] as products read it, or null
};

/// Grid: rows, from `first` on.
static __global__ void __launch_bounds__(kRotaryThreads) rotateRows(RotaryRows a, int first, bool back) {
  const int64_t row = first + static_cast<int64_t>(blockIdx.x), width = int64_t{2} * a.half * a.heads;
  for (int i = static_cast<int>(threadIdx.x); i < a.heads * a.half; i += kRotaryThreads) {
    const int angle = i % a.half;
    const int64_t one = row * width + int64_t{2} * a.half * (i / a.half) + angle, other = one + a.half;
    const float cosine = a.cosine[row * a.half + angle], sine = a.sine[row * a.half + angle];
    const float x = a.x[one], y = a.x[other], s = back ? -sine : sine;
    a.x[one] = formula::turnedFirst(x, y, cosine, s);
    a.x[other] = formula::turnedSecond(x, y, cosine, s);
    if (!a.rounded) continue;
    a.rounded[one] = fromFloat(Bf16(), a.x[one]);
    a.rounded[other] = fromFloat(Bf16(), a.x[other]);
  }
}

}  // namespace foretoken::cuda
