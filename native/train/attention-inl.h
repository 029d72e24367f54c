// Attention over a sequence for one key head and the query heads that share it, forward and backward, written once over
// sixteen lanes. Included by one file per instruction set, which defines the vector type first.
//
// A query sees ranges of keys: a causal mask is one range, a draft's own branch some more. Keys and values are copied
// to the scratch column by column first, so that sixteen scores come out of plain multiply-adds. Probabilities are not
// kept for the backward pass but made again from the scores and logSum, as is usual.
#pragma once
#include <algorithm>
#include <cmath>

#include "train/rows-inl.h"

namespace foretoken::train {
namespace {

/// Keys or values by column: [width][stride], padded so that sixteen can be read from any key on.
struct Columns {
  float* data;
  int64_t stride;
};
inline Columns columnsOf(const AttentionRows& rows, const float* const* source, float* data) {
  const Columns out{data, rows.keys + kLanes};
  for (int64_t d = 0; d < rows.width; ++d) std::fill_n(data + d * out.stride + rows.keys, kLanes, 0.0f);
  for (int64_t j = 0; j < rows.keys; ++j)
    for (int64_t d = 0; d < rows.width; ++d) data[d * out.stride + j] = source[j][d];
  return out;
}

/// out[n] = factor * x . column n of the keys that a query sees, in the order of its ranges; returns how many.
inline int64_t products(const AttentionRows& rows, int64_t query, const float* x, Columns c, float factor, float* out) {
  int64_t count = 0;
  for (int64_t r = rows.firstRange[query]; r < rows.firstRange[query + 1]; ++r) {
    const KeyRange range = rows.ranges[r];
    constexpr int kBlock = 4;
    int64_t j = range.begin;
    for (; j + kBlock * kLanes <= range.end; j += kBlock * kLanes) {
      V16 sum[kBlock];
      for (V16& s : sum) s = broadcast(0.0f);
      for (int64_t d = 0; d < rows.width; ++d)
        for (int b = 0; b < kBlock; ++b)
          sum[b] = fma(broadcast(x[d]), load(c.data + d * c.stride + j + b * kLanes), sum[b]);
      for (int b = 0; b < kBlock; ++b)
        store(out + count + j - range.begin + b * kLanes, mul(sum[b], broadcast(factor)));
    }
    for (; j < range.end; j += kLanes) {
      V16 sum = broadcast(0.0f);
      for (int64_t d = 0; d < rows.width; ++d) sum = fma(broadcast(x[d]), load(c.data + d * c.stride + j), sum);
      store(out + count + j - range.begin, mul(sum, broadcast(factor)));  // beyond the range: overwritten or ignored
    }
    count += range.end - range.begin;
  }
  return count;
}

/// Calls f(key, n) for the n-th key that a query sees.
template <class F>
inline void forKeys(const AttentionRows& rows, int64_t query, F&& f) {
  int64_t n = 0;
  for (int64_t r = rows.firstRange[query]; r < rows.firstRange[query + 1]; ++r)
    for (int64_t j = rows.ranges[r].begin; j < rows.ranges[r].end; ++j) f(j, n++);
}

/// y += a x.
inline void addScaled(float a, const float* x, int64_t width, float* y) {
  for (int64_t i = 0; i < width; i += kLanes) store(y + i, fma(broadcast(a), load(x + i), load(y + i)));
}

/// The scores' factor: they are logarithms to base 2.
inline float scoreFactor(const AttentionRows& rows) { return kLog2e / std::sqrt(static_cast<float>(rows.width)); }

/// One head's output [width] and its logSum = log2 of the sum of the exponentials of its scores.
inline void attendOne(const AttentionRows& rows, int64_t query, Columns keys, const float* q, float* out, float* logSum,
                      float* score) {
  const int64_t count = products(rows, query, q, keys, scoreFactor(rows), score);
  const int64_t padded = (count + kLanes - 1) / kLanes * kLanes;
  std::fill(score + count, score + padded, -INFINITY);
  V16 most = broadcast(-INFINITY);
  for (int64_t n = 0; n < padded; n += kLanes) most = max(load(score + n), most);
  const float largest = maxLanes(most);
  for (int64_t n = 0; n < padded; n += kLanes) store(score + n, exp2(sub(load(score + n), broadcast(largest))));
  const float sum = sumRow(score, padded);
  std::fill_n(out, rows.width, 0.0f);
  forKeys(rows, query, [&](int64_t j, int64_t n) { addScaled(score[n], rows.value[j], rows.width, out); });
  for (int64_t d = 0; d < rows.width; ++d) out[d] = out[d] / sum;
  *logSum = largest + std::log2(sum);
}

/// q and out: rows of queryStride that hold the group's heads side by side; logSum: [queries][heads].
inline void attend(const AttentionRows& rows, const float* q, float* out, float* logSum, float* scratch) {
  const Columns keys = columnsOf(rows, rows.key, scratch);
  float* score = scratch + rows.width * keys.stride;
  for (int64_t i = 0; i < rows.queries; ++i)
    for (int64_t h = 0; h < rows.heads; ++h) {
      const int64_t at = i * rows.queryStride + h * rows.width;
      attendOne(rows, i, keys, q + at, out + at, logSum + i * rows.heads + h, score);
    }
}

/// Overwrites dq; adds to dkey and dvalue.
inline void attendBackward(const AttentionRows& rows, const float* q, const float* out, const float* logSum,
                           const float* dout, float* dq, float* const* dkey, float* const* dvalue, float* scratch) {
  const Columns keys = columnsOf(rows, rows.key, scratch);
  const Columns values = columnsOf(rows, rows.value, scratch + rows.width * keys.stride);
  float* p = values.data + rows.width * keys.stride;
  float* dp = p + rows.keys + 2 * kLanes;
  const float factor = 1.0f / std::sqrt(static_cast<float>(rows.width));
  for (int64_t i = 0; i < rows.queries; ++i)
    for (int64_t h = 0; h < rows.heads; ++h) {
      const int64_t at = i * rows.queryStride + h * rows.width;
      const int64_t count = products(rows, i, q + at, keys, scoreFactor(rows), p);
      products(rows, i, dout + at, values, 1.0f, dp);
      const V16 sum = broadcast(logSum[i * rows.heads + h]);
      const V16 along =
          broadcast(sumOver(rows.width, [&](int64_t d) { return mul(load(out + at + d), load(dout + at + d)); }));
      for (int64_t n = 0; n < count; n += kLanes) {
        const V16 probability = exp2(sub(load(p + n), sum));
        store(p + n, probability);
        store(dp + n, mul(mul(probability, sub(load(dp + n), along)), broadcast(factor)));  // of the scores
      }
      std::fill_n(dq + at, rows.width, 0.0f);
      forKeys(rows, i, [&](int64_t j, int64_t n) {
        addScaled(p[n], dout + at, rows.width, dvalue[j]);
        addScaled(dp[n], q + at, rows.width, dkey[j]);
        addScaled(dp[n], rows.key[j], rows.width, dq + at);
      });
    }
}

}  // namespace
}  // namespace foretoken::train
