// Softmax, loss and gradient of rows of logits, a block a row: what native/train/rows-inl.h computes on the CPU, from
// the same formulas. Logits are read three times and never normalised in memory; what comes out is the gradient, in
// bf16, as the products of the backward pass take it.
#pragma once
#include "cuda/common/exp2.cuh"
#include "cuda/common/half.cuh"
#include "cuda/common/reduce.cuh"
#include "train/formulas.h"

namespace foretoken::cuda {

constexpr int kLossThreads = 512;
constexpr int kLossWarps = kLossThreads / kWarp;
/// Tokens that a row's label can list, and of a draft vocabulary.
constexpr int kMostListedOnDevice = 128;
constexpr int kMostDraftTokens = 1 << 17;

struct LossArgs {
  const float* logits;  ///< [rows][vocabulary]
  int vocabulary;
  float kl, rejection;  ///< weights of the parts, as in LossWeights
  const float* weight;  ///< [rows] what a row counts

  // The label: listed tokens, each at most once, negative = none …
  const int32_t* token;      ///< [rows][listed]
  const float* probability;  ///< [rows][listed]
  const float* rest;         ///< [rows] of all others together
  int listed;
  const float* target;  ///< … or the target's own logits [rows][vocabulary]

  uint16_t* gradient;  ///< [rows][vocabulary] bf16
  float* klOut;        ///< [rows]
  float* acceptance;   ///< [rows]
  int32_t* top;        ///< [rows] the likeliest token
};

/// Sums of a block, several at once.
struct LossSums {
  float scratch[kLossWarps];
  __device__ float of(float value) { return blockReduce(value, scratch, kLossWarps, Sum()); }
};

/// f(i) for every token, shared among the threads.
template <class F>
__device__ void overVocabulary(int vocabulary, F f) {
  for (int i = static_cast<int>(threadIdx.x); i < vocabulary; i += kLossThreads) f(i);
}

/// The greatest of a row, and the first token that has it.
struct RowTop {
  float value;
  int token;
};
__device__ inline RowTop topOfRow(const float* x, int vocabulary) {
  __shared__ uint64_t scratch[kLossWarps];
  uint64_t best = 0;
  overVocabulary(vocabulary, [&](int i) {
    const uint32_t bits = __float_as_uint(x[i] + 0.0f);
    const uint32_t ordered = bits ^ (0x80000000u | (0u - (bits >> 31)));
    best = Max()(best, uint64_t{ordered} << 32 | (0xffffffffu - static_cast<uint32_t>(i)));
  });
  best = blockReduce(best, scratch, kLossWarps, Max());
  const auto token = static_cast<int>(0xffffffffu - static_cast<uint32_t>(best));
  return {x[token], token};
}

__device__ inline float exponential(float x, float top) { return exp2((x - top) * 1.44269504f); }

/// Against listed tokens. What is not listed counts as one token of probability `rest`, which the draft spreads as it
/// likes.
static __global__ void __launch_bounds__(kLossThreads, 2) listedLoss(LossArgs a) {
  __shared__ uint32_t isListed[kMostDraftTokens / 32];
  __shared__ LossSums sums;
  const int row = blockIdx.x, n = static_cast<int>(threadIdx.x);
  const float* const x = a.logits + static_cast<int64_t>(row) * a.vocabulary;
  uint16_t* const gradient = a.gradient + static_cast<int64_t>(row) * a.vocabulary;
  const RowTop top = topOfRow(x, a.vocabulary);
  for (int i = n; i < ceilDiv(a.vocabulary, 32); i += kLossThreads) isListed[i] = 0;
  __syncthreads();
  const int token = n < a.listed ? a.token[row * a.listed + n] : -1;
  if (token >= 0) atomicOr(&isListed[token / 32], 1u << token % 32);
  __syncthreads();
  const auto listed = [&](int i) { return (isListed[i / 32] >> i % 32 & 1) != 0; };
  float rest = 0;
  overVocabulary(a.vocabulary, [&](int i) { rest += listed(i) ? 0.0f : exponential(x[i], top.value); });
  // Summed by itself, not as what is left of the whole: where little is left, a difference would be noise.
  const float others = sums.of(rest);
  const float mine = token >= 0 ? exponential(x[token], top.value) : 0;
  const float inverse = 1.0f / (sums.of(mine) + others);
  const float pn = token >= 0 ? a.probability[row * a.listed + n] : 0, qn = mine * inverse;
  const float q = others * inverse, p = others > 0 ? a.rest[row] : 0.0f;
  const float mass = sums.of(pn) + p;
  const float falling = sums.of(qn < pn ? qn : 0.0f) + (q < p ? q : 0.0f);
  const float acceptance = sums.of(pn < qn ? pn : qn) + (p < q ? p : q);
  const float kl = sums.of(formula::klTerm(pn, qn)) + formula::klTerm(p, q);
  const auto of = [&](float draft, float target) {
    return a.weight[row] * (a.kl * formula::klGradient(draft, target, mass) +
                            a.rejection * formula::rejectionGradient(draft, target, falling));
  };
  const float share = others > 0 ? of(q, p) / others : 0.0f;
  overVocabulary(a.vocabulary, [&](int i) {
    if (!listed(i)) gradient[i] = fromFloat(Bf16(), exponential(x[i], top.value) * share);
  });
  if (token >= 0) gradient[token] = fromFloat(Bf16(), of(qn, pn));
  if (n == 0) a.klOut[row] = kl, a.acceptance[row] = acceptance, a.top[row] = top.token;
}

/// Against the softmax of the target's own logits.
static __global__ void __launch_bounds__(kLossThreads) denseLoss(LossArgs a) {
  __shared__ LossSums sums;
  const int row = blockIdx.x;
  const float* const x = a.logits + static_cast<int64_t>(row) * a.vocabulary;
  const float* const y = a.target + static_cast<int64_t>(row) * a.vocabulary;
  uint16_t* const gradient = a.gradient + static_cast<int64_t>(row) * a.vocabulary;
  const RowTop top = topOfRow(x, a.vocabulary), targetTop = topOfRow(y, a.vocabulary);
  float drafts = 0, targets = 0, excess = 0;
  overVocabulary(a.vocabulary, [&](int i) {
    const float p = exponential(y[i], targetTop.value);
    drafts += exponential(x[i], top.value);
    targets += p;
    excess += p * (y[i] - x[i]);
  });
  const float sum = sums.of(drafts), targetSum = sums.of(targets), weighted = sums.of(excess);
  // KL = sum p (log p - log q), and logarithms are logits less a constant.
  const float kl = weighted / targetSum + (top.value - targetTop.value) + (logf(sum) - logf(targetSum));
  float rising = 0, lost = 0;
  overVocabulary(a.vocabulary, [&](int i) {
    const float q = exponential(x[i], top.value) / sum, p = exponential(y[i], targetTop.value) / targetSum;
    rising += q >= p ? q : 0.0f;
    lost += p > q ? p - q : 0.0f;
  });
  const float falling = 1 - sums.of(rising), acceptance = 1 - sums.of(lost);
  overVocabulary(a.vocabulary, [&](int i) {
    const float q = exponential(x[i], top.value) / sum, p = exponential(y[i], targetTop.value) / targetSum;
    gradient[i] = fromFloat(Bf16(), a.weight[row] * (a.kl * formula::klGradient(q, p, 1.0f) +
                                                     a.rejection * formula::rejectionGradient(q, p, falling)));
  });
  if (threadIdx.x == 0) a.klOut[row] = kl, a.acceptance[row] = acceptance, a.top[row] = top.token;
}

inline cudaError_t launchLoss(const LossArgs& a, int rows, cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  return launch(a.target ? denseLoss : listedLoss, dim3(static_cast<unsigned>(rows)), dim3(kLossThreads), 0, stream, a);
}

}  // namespace foretoken::cuda
