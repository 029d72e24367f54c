// Rows of training: norm, gate, rotation and loss, forward and backward, written once over sixteen lanes. Included by
// one file per instruction set, which defines the vector type first. Every path computes the same bits.
#pragma once
#include <algorithm>
#include <cmath>

#include "cpu/vector_math-inl.h"
#include "quant/float_codecs.h"
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
      x[i] = a * cosine[i] - b * s;
      x[i + half] = b * cosine[i] + a * s;
    }
}

/// Turns logits into exponentials relative to the largest, which is returned.
inline float exponentials(float* logits, int64_t width) {
  V16 most = load(logits);
  for (int64_t i = kLanes; i < width; i += kLanes) most = max(load(logits + i), most);
  const float largest = maxLanes(most);
  const V16 shift = broadcast(largest), scale = broadcast(kLog2e);
  for (int64_t i = 0; i < width; i += kLanes) store(logits + i, exp2(mul(sub(load(logits + i), shift), scale)));
  return largest;
}

inline float sumRow(const float* x, int64_t width) {
  return sumOver(width, [&](int64_t i) { return load(x + i); });
}

/// p (log p - log q), and 0 where the label has nothing.
inline float klTerm(float p, float q) { return p > 0 ? p * (std::log(p) - std::log(std::max(q, 1e-30f))) : 0.0f; }

/// The loss of a row of exponentials e against a label in full; e becomes the gradient of the logits.
inline RowLoss denseLoss(float* e, int64_t width, const uint16_t* label, const LossWeights& weights, float weight) {
  RowLoss loss;
  const float inverse = 1.0f / sumRow(e, width);
  float mass = 0, falling = 0;
  for (int64_t i = 0; i < width; ++i) {
    const float q = e[i] * inverse, p = bf16ToFloat(label[i]);
    mass += p;
    falling += q < p ? q : 0.0f;
    loss.acceptance += std::min(p, q);
    loss.kl += klTerm(p, q);
  }
  for (int64_t i = 0; i < width; ++i) {
    const float q = e[i] * inverse, p = bf16ToFloat(label[i]);
    e[i] = weight * (weights.kl * formula::klGradient(q, p, mass) +
                     weights.rejection * formula::rejectionGradient(q, p, falling));
  }
  return loss;
}

/// The same against listed tokens. What is not listed counts as one token of probability `rest`: the draft spreads it
/// as it likes, because the label does not say how.
inline RowLoss listedLoss(float* e, int64_t width, const RowLabel& label, const LossWeights& weights, float weight) {
  float listed[kMostListed];
  RowLoss loss;
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
  loss.kl = klTerm(p, q);
  for (int64_t n = 0; n < label.count; ++n) {
    if (label.token[n] < 0) continue;
    const float qn = listed[n] * inverse, pn = label.probability[n];
    falling += qn < pn ? qn : 0.0f;
    loss.acceptance += std::min(pn, qn);
    loss.kl += klTerm(pn, qn);
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

/// The loss of a row; its logits become their gradient.
inline RowLoss loss(float* logits, int64_t width, const RowLabel& label, const LossWeights& weights, float weight) {
  exponentials(logits, width);
  int32_t top = 0;
  while (top + 1 < width && logits[top] < 1.0f) ++top;  // the largest has exponential 1
  RowLoss result = label.dense ? denseLoss(logits, width, label.dense, weights, weight)
                               : listedLoss(logits, width, label, weights, weight);
  result.top = top;
  return result;
}

}  // namespace
}  // namespace foretoken::train
