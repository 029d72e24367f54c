// RMSNorm of rows in training, forward and backward, a block a row:
//
//     r = 1 / sqrt(mean(x^2) + epsilon)      y = x r w      dx = r (dy w - x r^2 mean(dy w x))
//
// y goes into products and is bf16. What follows adds to x, so the forward pass can keep x as it was. Scales w are not
// among what learns on the device, and get no gradient.
#pragma once
#include "cuda/common/half.cuh"
#include "cuda/common/reduce.cuh"
#include "train/formulas.h"

namespace foretoken::cuda {

constexpr int kNormRowThreads = 256;
constexpr int kNormRowWarps = kNormRowThreads / kWarp;

struct NormRows {
  const float* x;      ///< [rows][width]
  const float* scale;  ///< [width]
  float epsilon;
  int width;
  float* inverse;  ///< [rows] r: written forward, read backward
};

/// Sum of f(i) over the row's numbers, by a block.
template <class F>
__device__ float rowSum(int width, F f) {
  __shared__ float scratch[kNormRowWarps];
  float sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < width; i += kNormRowThreads) sum += f(i);
  return blockReduce(sum, scratch, kNormRowWarps, Sum());
}

/// Rows from `first` on. `kept` may be null.
static __global__ void __launch_bounds__(kNormRowThreads) normRows(NormRows a, int first, uint16_t* y, float* kept) {
  const int row = first + static_cast<int>(blockIdx.x);
  const int64_t at = static_cast<int64_t>(row) * a.width;
  const float* const x = a.x + at;
  const float squares = rowSum(a.width, [&](int i) { return x[i] * x[i]; });
  const float inverse = 1.0f / sqrtf(squares / static_cast<float>(a.width) + a.epsilon);
  for (int i = static_cast<int>(threadIdx.x); i < a.width; i += kNormRowThreads) {
    y[at + i] = fromFloat(Bf16(), formula::norm(x[i], inverse, a.scale[i]));
    if (kept) kept[at + i] = x[i];
  }
  if (threadIdx.x == 0) a.inverse[row] = inverse;
}

/// dx becomes the gradient, or with `add` has it added.
static __global__ void __launch_bounds__(kNormRowThreads)
    normRowsBack(NormRows a, int first, const float* dy, float* dx, bool add) {
  const int row = first + static_cast<int>(blockIdx.x);
  const int64_t at = static_cast<int64_t>(row) * a.width;
  const float* const x = a.x + at;
  const float inverse = a.inverse[row];
  const float sum = rowSum(a.width, [&](int i) { return dy[at + i] * a.scale[i] * x[i]; });
  const float along = inverse * inverse * sum / static_cast<float>(a.width);
  for (int i = static_cast<int>(threadIdx.x); i < a.width; i += kNormRowThreads) {
    const float gradient = formula::normGradient(x[i], inverse, a.scale[i], dy[at + i], along);
    dx[at + i] = add ? dx[at + i] + gradient : gradient;
  }
}

}  // namespace foretoken::cuda
