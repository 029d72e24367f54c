// Optimiser steps over a run of parameters. Included by one file per instruction set.
#pragma once
#include "cpu/vector_math-inl.h"
#include "train/kernels.h"

namespace foretoken::train {
namespace {

/// `scale` multiplies the gradient: what clipping left of it.
inline void adamw(const formula::AdamW& options, float scale, const float* __restrict gradient, int64_t count,
                  float* __restrict weight, float* __restrict mean, float* __restrict square) {
  for (int64_t i = 0; i < count; ++i) formula::adamw(options, scale * gradient[i], weight[i], mean[i], square[i]);
}

inline void sgd(const formula::Momentum& options, float scale, const float* __restrict gradient, int64_t count,
                float* __restrict weight, float* __restrict velocity) {
  for (int64_t i = 0; i < count; ++i) formula::sgd(options, scale * gradient[i], weight[i], velocity[i]);
}

/// Sum of squares, in sixteen partial sums. In double, so that no finite gradient overflows.
inline double squares(const float* x, int64_t count) {
  double sum[kLanes] = {};
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes)
    for (int l = 0; l < kLanes; ++l) sum[l] += static_cast<double>(x[i + l]) * x[i + l];
  for (int64_t i = whole; i < count; ++i) sum[i - whole] += static_cast<double>(x[i]) * x[i];
  double total = 0;
  for (double s : sum) total += s;
  return total;
}

}  // namespace
}  // namespace foretoken::train
