// Heads of queries, keys and values between their product and attention: a bias is added, then a head becomes its
// RMSNorm.
//
//   x[d] += bias[d],  x[d] = x[d] / sqrt(mean(x^2) + eps) * weight[d]
//
// A warp takes a head of a row, so that the order of the mean's sum depends on the head's width alone.
#pragma once
#include "backend.h"
#include "cuda/common/reduce.cuh"
#include "cuda/step/pass_view.cuh"

namespace foretoken::cuda {

constexpr int kHeadWarps = 4;

struct HeadsArgs {
  const int32_t* pass;
  float* qkv;  ///< [rows][(heads + 2 kvHeads) * headDim]
  int heads, kvHeads, headDim;
  HeadRules rules;  ///< on the device
  bool operator==(const HeadsArgs&) const = default;
};

/// Grid: (row, head / kHeadWarps), heads counted queries, keys, values.
static __global__ void __launch_bounds__(kHeadWarps* kWarp) adjustHeads(HeadsArgs a) {
  const int row = blockIdx.x, lane = threadIdx.x % kWarp, all = a.heads + 2 * a.kvHeads;
  const int head = static_cast<int>(blockIdx.y * kHeadWarps + threadIdx.x / kWarp);
  if (row >= PassView(a.pass).rows() || head >= all) return;
  const auto [bias, norm] = a.rules.of(head, a.heads, a.kvHeads, a.headDim);
  float* const x = a.qkv + (static_cast<size_t>(row) * all + head) * a.headDim;
  float sum = 0;
  for (int d = lane; d < a.headDim; d += kWarp) {
    if (bias) x[d] += bias[d];
    sum = fmaf(x[d], x[d], sum);
  }
  if (!norm) return;
  const float factor = 1.0f / sqrtf(warpReduce(sum, Sum{}) / static_cast<float>(a.headDim) + a.rules.eps);
  for (int d = lane; d < a.headDim; d += kWarp) x[d] = x[d] * factor * norm[d];
}

}  // namespace foretoken::cuda
