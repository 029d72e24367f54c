// The sampler's loops over a vocabulary, written once over sixteen lanes; see sample.h. Included by one file per
// instruction set, which defines the vector type first.
#pragma once
#include "cpu/sample.h"
#include "cpu/vector_math-inl.h"

namespace foretoken {
namespace {

constexpr float kMinusInfinity = -__builtin_inff();

/// Sixteen values from `at`, those beyond the end replaced.
inline V16 loadSome(const float* p, int at, int count, float otherwise) {
  if (at + kLanes <= count) return load(p + at);
  float t[kLanes];
  for (int i = 0; i < kLanes; ++i) t[i] = at + i < count ? p[at + i] : otherwise;
  return load(t);
}
inline void storeSome(float* p, int at, int count, V16 v) {
  if (at + kLanes <= count) return store(p + at, v);
  float t[kLanes];
  store(t, v);
  for (int i = 0; at + i < count; ++i) p[at + i] = t[i];
}

/// f(at) for each sixteen of each block, then end(block).
template <class F, class End>
inline void overBlocks(int count, F f, End end) {
  for (int begin = 0; begin < count; begin += kSampleBlock) {
    const int stop = begin + kSampleBlock < count ? begin + kSampleBlock : count;
    for (int at = begin; at < stop; at += kLanes) f(at);
    end(begin / kSampleBlock);
  }
}

inline void maxima(const float* logits, int count, float* blockMax) {
  V16 top = broadcast(kMinusInfinity);
  overBlocks(
      count, [&](int at) { top = max(loadSome(logits, at, count, kMinusInfinity), top); },
      [&](int block) {
        blockMax[block] = maxLanes(top);
        top = broadcast(kMinusInfinity);
      });
}

inline void weigh(const float* logits, int count, float top, float factor, float* weights, float* blockSum) {
  const V16 shift = broadcast(top), scale = broadcast(factor);
  V16 sum = broadcast(0.0f);
  overBlocks(
      count,
      [&](int at) {
        const V16 w = exp2(mul(sub(loadSome(logits, at, count, kMinusInfinity), shift), scale));
        storeSome(weights, at, count, w);
        sum = add(sum, w);
      },
      [&](int block) {
        blockSum[block] = sumLanes(sum);
        sum = broadcast(0.0f);
      });
}

inline void keep(const float* logits, int count, float threshold, float least, float* weights, float* blockSum) {
  const V16 bound = broadcast(threshold), floor = broadcast(least);
  V16 sum = broadcast(0.0f);
  overBlocks(
      count,
      [&](int at) {
        V16 w = loadSome(weights, at, count, 0.0f);
        w = whereAtLeast(loadSome(logits, at, count, kMinusInfinity), bound, w);
        w = whereAtLeast(w, floor, w);
        storeSome(weights, at, count, w);
        sum = add(sum, w);
      },
      [&](int block) {
        blockSum[block] = sumLanes(sum);
        sum = broadcast(0.0f);
      });
}

inline int collect(const float* logits, int count, float threshold, int32_t* ids) {
  const V16 bound = broadcast(threshold);
  int found = 0;
  for (int at = 0; at < count; at += kLanes) {
    uint32_t mask = maskAtLeast(loadSome(logits, at, count, __builtin_nanf("")), bound);
    for (; mask != 0; mask &= mask - 1) ids[found++] = at + __builtin_ctz(mask);
  }
  return found;
}

}  // namespace
}  // namespace foretoken
