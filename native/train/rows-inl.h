// Rows of training: norm, gate, rotation and loss, forward and backward, written once over sixteen lanes. Included by
// one file per instruction set, which defines the vector type first. Every path computes the same bits.
#pragma once
#include <algorithm>
#include <cmath>

#include "cpu/vector_math-inl.h"
#include "train/kernels.h"

namespace foretoken::train {
namespace {

constexpr float kLog2e = 1.44269504f;
constexpr float kLn2 = 0.693147181f;

/// Sum of f(i) over the groups of sixteen in [0, width), lane by lane.
template <class F>
inline float sumOver(int64_t width, F&& f) {
  V16 sum = broadcast(0.0f);
  for (int64_t i = 0; i < width; i += kLanes) sum = add(sum, f(i));
  return sumLanes(sum);
}

inline float dot(const float* x, const float* y, int64_t width) {
  return sumOver(width, [&](int64_t i) { return mul(load(x + i), load(y + i)); });
}

inline float norm(const float* x, const float* scale, float epsilon, int64_t width, float* y) {
  const float squares = sumOver(width, [&](int64_t i) { return mul(load(x + i), load(x + i)); });
  const float inverse = 1.0f / std::sqrt(squares / static_cast<float>(width) + epsilon);
  for (int64_t i = 0; i < width; ++i) y[i] = formula::norm(x[i], inverse, scale[i]);
  return inverse;
}

/// dx += the gradient.
inline void normBackward(const float* x, const float* scale, float inverse, const float* dy, int64_t width, float* dx) {
  const float sum = sumOver(width, [&](int64_t i) { return mul(mul(load(dy + i), load(scale + i)), load(x + i)); });
  const float along = inverse * inverse * sum / static_cast<float>(width);
  for (int64_t i = 0; i < width; ++i) dx[i] += formula::normGradient(x[i], inverse, scale[i], dy[i], along);
}

/// dscale += this row's part, for columns [begin, end).
inline void addNormScale(const float* x, float inverse, const float* dy, int64_t begin, int64_t end, float* dscale) {
  for (int64_t i = begin; i < end; ++i) dscale[i] += dy[i] * x[i] * inverse;
}

/// Sigmoids of sixteen values.
inline void sigmoids(const float* x, float* s) {
  float minus[kLanes];
  for (int i = 0; i < kLanes; ++i) minus[i] = -std::fabs(x[i]);
  store(minus, exp2(mul(load(minus), broadcast(kLog2e))));
  for (int i = 0; i < kLanes; ++i) s[i] = formula::sigmoid(x[i], minus[i]);
}

inline void swiglu(const float* gate, const float* up, int64_t width, float* y) {
  for (int64_t i = 0; i < width; i += kLanes) {
    float s[kLanes];
    sigmoids(gate + i, s);
    for (int l = 0; l < kLanes; ++l) y[i + l] = formula::swiglu(gate[i + l], s[l], up[i + l]);
  }
}

/// Overwrites dgate and dup, either of which may be the buffer of dy.
inline void swigluBackward(const float* gate, const float* up, const float* dy, int64_t width, float* dgate,
                           float* dup) {
  for (int64_t i = 0; i < width; i += kLanes) {
    float s[kLanes], g[kLanes], u[kLanes];
    sigmoids(gate + i, s);
    for (int l = 0; l < kLanes; ++l) {
      g[l] = formula::swigluGateGradient(gate[i + l], s[l], up[i + l], dy[i + l]);
      u[l] = formula::swigluUpGradient(gate[i + l], s[l], dy[i + l]);
    }
    store(dgate + i, load(g));
    store(dup + i, load(u));
  }
}

/// Rotary embedding in place: value i of a head turns with value i + width / 2, by the position's angle i; `back` turns
/// the other way, which is the gradient.
inline void rotate(float* x, int64_t heads, int64_t width, const float* cosine, const float* sine, bool back) {
  const int64_t half = width / 2;
  const float sign = back ? -1.0f : 1.0f;
  for (int64_t h = 0; h < heads; ++h, x += width)
    for (int64_t i = 0; i < half; ++i) {
      const float a = x[i], b = x[i + half], s = sign * sine[i];
      x[i] = formula::turnedFirst(a, b, cosine[i], s);
      x[i + half] = formula::turnedSecond(a, b, cosine[i], s);
    }
}

inline float largest(const float* x, int64_t width) {
  V16 most = load(x);
  for (int64_t i = kLanes; i < width; i += kLanes) most = max(load(x + i), most);
  return maxLanes(most);
}

/// Turns logits into exponentials relative to the largest, whose index is returned.
inline int32_t exponentials(float* logits, int64_t width) {
  const V16 shift = broadcast(largest(logits, width)), scale = broadcast(kLog2e);
  for (int64_t i = 0; i < width; i += kLanes) store(logits + i, exp2(mul(sub(load(logits + i), shift), scale)));
  int32_t top = 0;
  while (top + 1 < width && logits[top] < 1.0f) ++top;  // the largest has exponential 1
  return top;
}

inline float sumRow(const float* x, int64_t width) {
  return sumOver(width, [&](int64_t i) { return load(x + i); });
}

/// The loss of a row against the target's own logits on the draft vocabulary. Logits become their gradient, the
/// target's its probabilities.
inline RowLoss denseLoss(float* logits, float* target, int64_t width, const LossWeights& weights, float weight) {
  RowLoss loss;
  const float above = largest(logits, width), targetAbove = largest(target, width);
  // KL = sum p (log p - log q), and logarithms are logits less a constant.
  const auto excess = [&](int64_t i) { return sub(load(target + i), load(logits + i)); };
  const V16 shift = broadcast(targetAbove), scale = broadcast(kLog2e);
  const float weighted =
      sumOver(width, [&](int64_t i) { return mul(exp2(mul(sub(load(target + i), shift), scale)), excess(i)); });
  loss.top = exponentials(logits, width);
  exponentials(target, width);
  const float sum = sumRow(logits, width), targetSum = sumRow(target, width);
  loss.kl = weighted / targetSum + (above - targetAbove) + (std::log(sum) - std::log(targetSum));
  for (int64_t i = 0; i < width; ++i) logits[i] /= sum, target[i] /= targetSum;
  const float notFalling =
      sumOver(width, [&](int64_t i) { return whereAtLeast(load(logits + i), load(target + i), load(logits + i)); });
  const float lost =
      sumOver(width, [&](int64_t i) { return max(sub(load(target + i), load(logits + i)), broadcast(0)); });
  loss.acceptance = 1 - lost;
  const float falling = 1 - notFalling;
  for (int64_t i = 0; i < width; ++i)
    logits[i] = weight * (weights.kl * formula::klGradient(logits[i], target[i], 1.0f) +
                          weights.rejection * formula::rejectionGradient(logits[i], target[i], falling));
  return loss;
}

/// The loss of a row against listed tokens; its logits become their gradient. What is not listed counts as one token of
/// probability `rest`: the draft spreads it as it likes, because the label does not say how.
inline RowLoss listedLoss(float* logits, int64_t width, const RowLabel& label, const LossWeights& weights,
                          float weight) {
  float listed[kMostListed];
  RowLoss loss;
  loss.top = exponentials(logits, width);
  float* const e = logits;
  float mass = label.rest, known = 0;
  for (int64_t n = 0; n < label.count; ++n) {
    const int32_t token = label.token[n];
    listed[n] = token < 0 ? 0.0f : e[token];
    if (token < 0) continue;
    e[token] = 0;
    known += listed[n];
    mass += label.probability[n];
  }
  // Summed by itself, not as what is left of the whole: where little is left, a difference would be noise.
  const float others = sumRow(e, width), inverse = 1.0f / (known + others);
  const float q = others * inverse, p = others > 0 ? label.rest : 0.0f;
  if (others <= 0) mass -= label.rest;
  float falling = q < p ? q : 0.0f;
  loss.acceptance = std::min(p, q);
  loss.kl = formula::klTerm(p, q);
  for (int64_t n = 0; n < label.count; ++n) {
    if (label.token[n] < 0) continue;
    const float qn = listed[n] * inverse, pn = label.probability[n];
    falling += qn < pn ? qn : 0.0f;
    loss.acceptance += std::min(pn, qn);
    loss.kl += formula::klTerm(pn, qn);
  }
  const auto gradient = [&](float qn, float pn) {
    return weight * (weights.kl * formula::klGradient(qn, pn, mass) +
                     weights.rejection * formula::rejectionGradient(qn, pn, falling));
  };
  const float share = others > 0 ? gradient(q, p) / others : 0.0f;
  for (int64_t i = 0; i < width; i += kLanes) store(e + i, mul(load(e + i), broadcast(share)));
  for (int64_t n = 0; n < label.count; ++n)
    if (label.token[n] >= 0) e[label.token[n]] = gradient(listed[n] * inverse, label.probability[n]);
  return loss;
}

}  // namespace
}  // namespace foretoken::train
