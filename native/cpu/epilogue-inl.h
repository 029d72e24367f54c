// What happens to finished sums on their way out. Included by gemm_*.cc.
#pragma once
#include "cpu/kernels.h"
#include "cpu/vector_math-inl.h"

namespace foretoken {
namespace {

/// x / (1 + e^-z), z of the sign of x, as x * (1 or e) / (1 + e) with e = e^-|z|, so that nothing overflows.
inline V16 timesSigmoid(V16 x, V16 z) {
  const V16 zero = broadcast(0.0f), minus = sub(zero, x);
  const V16 e = exp2(mul(max(sub(zero, z), z), broadcast(-1.44269504f)));
  const V16 positive = max(zero, x), negative = sub(zero, max(zero, minus));
  return div(add(positive, mul(negative, e)), add(e, broadcast(1.0f)));
}

inline V16 silu(V16 x) { return timesSigmoid(x, x); }

/// x (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3), which is x / (1 + e^-2u).
inline V16 gelu(V16 x) {
  const V16 inner = fma(mul(x, x), broadcast(2 * 0.7978845608f * 0.044715f), broadcast(2 * 0.7978845608f));
  return timesSigmoid(x, mul(x, inner));
}

/// Sums of one panel are eight pairs of gate and up. The sums of two rows, one after the other, fill a vector.
inline void finishGated(const Product& p, int64_t panel, int row, int rows, const float* sums) {
  constexpr int kPairs = kPanelRows / 2;
  const int64_t first = panel * kPairs, width = p.layout.rows / 2;
  const int64_t count = width - first < kPairs ? width - first : kPairs;
  float activated[2 * kPairs];
  const V16 gate = evenFloats(sums);
  store(activated, mul(p.epilogue == Epilogue::geglu ? gelu(gate) : silu(gate), oddFloats(sums)));
  for (int t = 0; t < rows; ++t) {
    float* const out = p.out + (row + t) * p.outWidth + first;
    const float* const from = activated + t * kPairs;
    if (count == kPairs)  // one store
      __builtin_memcpy(out, from, sizeof(float) * kPairs);
    else
      __builtin_memcpy(out, from, sizeof(float) * count);
  }
}

/// Writes the sixteen results of one panel and one input row, as many as exist.
inline void finishRow(const Product& p, int64_t panel, int row, const float* sums) {
  const int64_t first = panel * kPanelRows;
  const int count = p.layout.rows - first < kPanelRows ? static_cast<int>(p.layout.rows - first) : kPanelRows;
  float* out = p.out + row * p.outWidth;
  if (count < kPanelRows) {
    for (int i = 0; i < count; ++i) out[first + i] = p.epilogue == Epilogue::add ? out[first + i] + sums[i] : sums[i];
  } else {
    const V16 s = load(sums);
    store(out + first, p.epilogue == Epilogue::add ? add(load(out + first), s) : s);
  }
}

/// Writes the results of one panel for input rows [row, row + rows) from sums [rows][16], which are read as if `rows`
/// were even.
inline void finish(const Product& p, int64_t panel, int row, int rows, const float* sums) {
  for (int t = 0; t < rows; t += 2) {
    const int count = rows - t < 2 ? 1 : 2;
    if (isGated(p.epilogue))
      finishGated(p, panel, row + t, count, sums + t * kPanelRows);
    else
      for (int i = t; i < t + count; ++i) finishRow(p, panel, row + i, sums + i * kPanelRows);
  }
}

}  // namespace
}  // namespace foretoken
