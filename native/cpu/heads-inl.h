// Heads of queries, keys and values between their product and attention. Included by gemm-inl.h.
#pragma once
#include "cpu/prepare-inl.h"

namespace foretoken {
namespace {

/// One head: a bias is added, then it becomes its RMSNorm, whose sums are those of a product's input rows; null =
/// neither. `headDim`: a multiple of kLanes.
inline void adjustHead(float* head, int headDim, const float* bias, const float* norm, float eps) {
  if (bias != nullptr)
    for (int d = 0; d < headDim; d += kLanes) store(head + d, add(load(head + d), load(bias + d)));
  if (norm == nullptr) return;
  const V16 factor = broadcast(normFactor(head, headDim, eps));
  for (int d = 0; d < headDim; d += kLanes) store(head + d, mul(mul(load(head + d), factor), load(norm + d)));
}

}  // namespace
}  // namespace foretoken
