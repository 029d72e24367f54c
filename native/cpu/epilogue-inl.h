// What happens to finished sums on their way out. Included by gemm_*.cc.
#pragma once
#include "cpu/kernels.h"
#include "cpu/vector_math-inl.h"

namespace foretoken {
namespace {

/// x / (1 + e^-x), as x * (1 or e) / (1 + e) with e = e^-|x|, so that nothing overflows.
inline void silu(const float* x, float* out, int count) {
  float e[kLanes];
  V16 v = load(x);
  const V16 magnitude = max(v, sub(broadcast(0.0f), v));
  store(e, exp2(mul(magnitude, broadcast(-1.44269504f))));
  for (int i = 0; i < count; ++i) out[i] = x[i] * (x[i] >= 0 ? 1.0f : e[i]) / (1.0f + e[i]);
}

/// Writes the sixteen results of one panel and one input row; `count` of them exist.
inline void finish(const Product& p, int64_t panel, int row, const float* sums) {
  const int64_t first = panel * kPanelRows;
  const int count = p.layout.rows - first < kPanelRows ? static_cast<int>(p.layout.rows - first) : kPanelRows;
  float* out = p.out + row * p.outWidth;
  if (p.epilogue == Epilogue::swiglu) {
    float gates[kLanes] = {}, activated[kLanes] = {};
    for (int i = 0; i < kPanelRows / 2; ++i) gates[i] = sums[2 * i];
    silu(gates, activated, kPanelRows / 2);
    for (int i = 0; i < count / 2; ++i) out[first / 2 + i] = activated[i] * sums[2 * i + 1];
  } else if (count < kPanelRows) {
    for (int i = 0; i < count; ++i) out[first + i] = p.epilogue == Epilogue::add ? out[first + i] + sums[i] : sums[i];
  } else {
    const V16 s = load(sums);
    store(out + first, p.epilogue == Epilogue::add ? add(load(out + first), s) : s);
  }
}

}  // namespace
}  // namespace foretoken
