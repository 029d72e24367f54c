// The formulas of training, one element at a time: one definition for the CPU, for CUDA and for tests. Loops over them
// vectorise: selections are conditional expressions, and nothing depends on contraction.
#pragma once
#include <cmath>

#ifdef __CUDACC__
#define FORETOKEN_FORMULA __host__ __device__ inline
#else
#define FORETOKEN_FORMULA inline
#endif

namespace foretoken::formula {

// --- forward and backward of a row

/// y = x r w, where r = 1 / sqrt(mean(x^2) + epsilon) is the row's inverse root mean square and w the scale.
template <class T>
FORETOKEN_FORMULA T norm(T x, T r, T w) {
  return x * r * w;
}
/// dL/dx, where `along` = r^2 mean(dy w x).
template <class T>
FORETOKEN_FORMULA T normGradient(T x, T r, T w, T dy, T along) {
  return r * (dy * w - x * along);
}

/// The logistic function of x, given e = exp(-|x|).
template <class T>
FORETOKEN_FORMULA T sigmoid(T x, T e) {
  return (x >= 0 ? T(1) : e) / (T(1) + e);
}
/// y = silu(gate) up, where s = sigmoid(gate).
template <class T>
FORETOKEN_FORMULA T swiglu(T gate, T s, T up) {
  return gate * s * up;
}
template <class T>
FORETOKEN_FORMULA T swigluGateGradient(T gate, T s, T up, T dy) {
  return dy * up * s * (T(1) + gate * (T(1) - s));
}
template <class T>
FORETOKEN_FORMULA T swigluUpGradient(T gate, T s, T dy) {
  return dy * gate * s;
}

/// A pair of numbers after a turn by an angle: (a cos - b sin, b cos + a sin). The gradient turns back: minus the sine.
template <class T>
FORETOKEN_FORMULA T turnedFirst(T a, T b, T cosine, T sine) {
  return a * cosine - b * sine;
}
template <class T>
FORETOKEN_FORMULA T turnedSecond(T a, T b, T cosine, T sine) {
  return b * cosine + a * sine;
}

/// dL / d score of a key with softmax weight p, where dp = dout value and `along` = dout out.
template <class T>
FORETOKEN_FORMULA T scoreGradient(T p, T dp, T along) {
  return p * (dp - along);
}

// --- loss against the target's probability p of a token, where the draft's is q = softmax(logits)

/// A token's part of KL(p || q): p (log p - log q), and 0 where the target has nothing.
template <class T>
FORETOKEN_FORMULA T klTerm(T p, T q) {
  const T least = T(1e-30f);
  return p > 0 ? p * (std::log(p) - std::log(q > least ? q : least)) : T(0);
}
/// d KL / d logit. `mass` is the sum of the label's probabilities: below 1 where the draft vocabulary lacks tokens.
template <class T>
FORETOKEN_FORMULA T klGradient(T q, T p, T mass) {
  return mass * q - p;
}
/// d (1 - acceptance) / d logit, where acceptance = sum min(p, q) and `falling` = the sum of q over tokens with q < p.
template <class T>
FORETOKEN_FORMULA T rejectionGradient(T q, T p, T falling) {
  return q * (falling - (q < p ? T(1) : T(0)));
}

// --- rows that learn from what came

/// d (-log share of what came) / d logit, where `share` is the softmax's of this logit.
template <class T>
FORETOKEN_FORMULA T truthGradient(T share, bool came, T weight) {
  return weight * (share - (came ? T(1) : T(0)));
}
/// Whether a logit's gradient is enough for a row that is not moved yet to be moved.
template <class T>
FORETOKEN_FORMULA bool isWorthARow(T gradient, bool came) {
  return came || (gradient < 0 ? -gradient : gradient) >= T(0.02f);
}

// --- optimisers

/// What a gradient of this norm is multiplied by, so that none is above `most`.
template <class T>
FORETOKEN_FORMULA T clipScale(T norm, T most) {
  const T scale = most / (norm + T(1e-6));
  return scale < T(1) ? scale : T(1);
}

struct AdamW {
  float rate, beta1, beta2, epsilon, decay;
  float correction1, correction2;  ///< 1 - beta1^step, 1 - beta2^step
};
/// One step of AdamW (Loshchilov and Hutter): decay apart from the gradient, moments corrected for their start at 0.
FORETOKEN_FORMULA void adamw(const AdamW& o, float gradient, float& weight, float& mean, float& square) {
  mean = o.beta1 * mean + (1 - o.beta1) * gradient;
  square = o.beta2 * square + (1 - o.beta2) * (gradient * gradient);
  const float spread = std::sqrt(square / o.correction2) + o.epsilon;
  weight = weight * (1 - o.rate * o.decay) - o.rate * (mean / o.correction1) / spread;
}

struct Momentum {
  float rate, momentum, decay;
};
/// One step of SGD with momentum; decay is added to the gradient.
FORETOKEN_FORMULA void sgd(const Momentum& o, float gradient, float& weight, float& velocity) {
  velocity = o.momentum * velocity + (gradient + o.decay * weight);
  weight = weight - o.rate * velocity;
}

}  // namespace foretoken::formula
