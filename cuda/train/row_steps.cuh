// Steps of a head's rows over slots, RowLearner's (native/learn/row_learner.h) by the same formulas: one block goes
// through the slots in order, for each begins with what the one before has left. With entries c of a slot, z what its
// output layer saw and b the Markov row of the token before:
//
//     logit_c = given_c + delta_c z + after_c b            g_c = weight (softmax_c - [c came])
//     delta_c -= rate / z^2 g_c z      after_c -= rate s g_c b      b -= rate s sum_c g_c after_c
//
// where s clips the norm of the Markov rows' gradient. It is work for one multiprocessor beside decoding, in launches
// of some slots, none of which takes 200 µs.
#pragma once
#include "cuda/common/half.cuh"
#include "cuda/common/reduce.cuh"
#include "learn/row_steps.h"
#include "train/formulas.h"

namespace foretoken::cuda {

constexpr int kRowStepThreads = 256;
constexpr int kRowStepWarps = kRowStepThreads / kWarp;
using learn::kMostEntries;
/// Numbers of delta rows that one multiprocessor surely reads twice and writes once in 150 µs.
constexpr int64_t kNumbersPerRowSlice = int64_t{1} << 19;

struct RowStepArgs {
  const int32_t *first, *row, *before, *truth;  ///< as in RowSlots
  const float *logit, *rest, *weight;
  const uint16_t* state;
  int width, rank;
  float *beforeRows, *afterRows, *delta;  ///< as in MovedRows
  uint8_t* isMoved;
  int32_t *room, *skipped;
  float markov, output, clip;
};

/// What the threads know of a slot.
struct SlotOnDevice {
  float logit[kMostEntries], gradient[kMostEntries];
  float squares;    ///< z^2
  double length;    ///< b^2
  double ofLogits;  ///< sum of g_c^2
  bool moves[kMostEntries];
};

/// Sum over i < count of f(i), by a warp.
template <class T, class F>
__device__ T warpSum(int count, F f) {
  T sum = 0;
  for (int i = static_cast<int>(threadIdx.x % kWarp); i < count; i += kWarp) sum += f(i);
  return warpReduce(sum, Sum());
}

/// Logits of the slot's entries, a warp each, and the lengths of z and b as two entries more.
__device__ inline void rowLogits(const RowStepArgs& a, int slot, SlotOnDevice& s) {
  const int begin = a.first[slot], entries = a.first[slot + 1] - begin;
  const uint16_t* const z = a.state + static_cast<int64_t>(slot) * a.width;
  const float* const b = a.beforeRows + static_cast<int64_t>(a.before[slot]) * a.rank;
  const auto stateAt = [&](int i) { return toFloat(Bf16(), z[i]); };
  const bool first = threadIdx.x % kWarp == 0;
  for (int e = static_cast<int>(threadIdx.x / kWarp); e < entries + 2; e += kRowStepWarps) {
    if (e == entries) {
      const float squares = warpSum<float>(a.width, [&](int i) { return stateAt(i) * stateAt(i); });
      if (first) s.squares = squares;
    } else if (e == entries + 1) {
      const double length = warpSum<double>(a.rank, [&](int r) { return static_cast<double>(b[r]) * b[r]; });
      if (first) s.length = length;
    } else {
      const int64_t row = a.row[begin + e];
      const float* const after = a.afterRows + row * a.rank;
      const float* const delta = a.delta + row * a.width;
      float logit = a.logit[begin + e];
      if (a.isMoved[row]) logit += warpSum<float>(a.width, [&](int i) { return delta[i] * stateAt(i); });
      logit += warpSum<float>(a.rank, [&](int r) { return after[r] * b[r]; });
      if (first) s.logit[e] = logit;
    }
  }
}

/// The gradient of every logit, and which rows of `delta` move. By one thread.
__device__ inline void rowGradients(const RowStepArgs& a, int slot, SlotOnDevice& s) {
  const int begin = a.first[slot], entries = a.first[slot + 1] - begin, truth = a.truth[slot];
  float most = a.rest[slot];
  for (int e = 0; e < entries; ++e) most = s.logit[e] > most ? s.logit[e] : most;
  float sum = expf(a.rest[slot] - most);
  for (int e = 0; e < entries; ++e) sum += s.gradient[e] = expf(s.logit[e] - most);
  s.ofLogits = 0;
  for (int e = 0; e < entries; ++e) {
    s.gradient[e] = formula::truthGradient(s.gradient[e] / sum, e == truth, a.weight[slot]);
    s.ofLogits += static_cast<double>(s.gradient[e]) * s.gradient[e];
  }
}

/// Rows of `delta` that move: those that are there, and those that are worth it while there is room. By one thread.
__device__ inline void chooseMoved(const RowStepArgs& a, int slot, SlotOnDevice& s) {
  const int begin = a.first[slot], entries = a.first[slot + 1] - begin;
  for (int e = 0; e < entries; ++e) {
    uint8_t& isMoved = a.isMoved[a.row[begin + e]];
    if (!isMoved && *a.room > 0 && formula::isWorthARow(s.gradient[e], e == a.truth[slot])) isMoved = 1, --*a.room;
    s.moves[e] = isMoved;
  }
}

/// Grid: one block. Dynamic shared memory: the gradient of b, [rank].
static __global__ void __launch_bounds__(kRowStepThreads) stepRows(RowStepArgs a, int firstSlot, int endSlot) {
  __shared__ SlotOnDevice s;
  __shared__ double scratch[kRowStepWarps];
  float* const gradient = dynamicShared<float>();
  const auto thread = static_cast<int>(threadIdx.x);
  for (int slot = firstSlot; slot < endSlot; ++slot) {
    const int begin = a.first[slot], entries = a.first[slot + 1] - begin;
    const uint16_t* const z = a.state + static_cast<int64_t>(slot) * a.width;
    float* const b = a.beforeRows + static_cast<int64_t>(a.before[slot]) * a.rank;
    rowLogits(a, slot, s);
    __syncthreads();
    if (thread == 0) rowGradients(a, slot, s);
    __syncthreads();
    double ofBefore = 0;
    for (int r = thread; r < a.rank; r += kRowStepThreads) {
      float sum = 0;
      for (int e = 0; e < entries; ++e)
        sum += s.gradient[e] * a.afterRows[static_cast<int64_t>(a.row[begin + e]) * a.rank + r];
      gradient[r] = sum;
      ofBefore += static_cast<double>(sum) * sum;
    }
    ofBefore = blockReduce(ofBefore, scratch, kRowStepWarps, Sum());
    const double norm = sqrt(ofBefore + s.ofLogits * s.length);
    if (!(norm < INFINITY)) {
      if (thread == 0) ++*a.skipped;
      __syncthreads();
      continue;
    }
    if (a.output > 0 && s.squares > 0) {
      if (thread == 0) chooseMoved(a, slot, s);
      __syncthreads();
      const formula::Momentum rule{a.output / s.squares, 0, 0};
      for (int e = 0; e < entries; ++e) {
        if (!s.moves[e]) continue;
        float* const delta = a.delta + static_cast<int64_t>(a.row[begin + e]) * a.width;
        for (int i = thread; i < a.width; i += kRowStepThreads) {
          float velocity = 0;
          formula::sgd(rule, s.gradient[e] * toFloat(Bf16(), z[i]), delta[i], velocity);
        }
      }
    }
    if (a.markov > 0) {
      const formula::Momentum rule{a.markov, 0, 0};
      const auto scale = static_cast<float>(formula::clipScale(norm, static_cast<double>(a.clip)));
      for (int r = thread; r < a.rank; r += kRowStepThreads) {
        float velocity = 0;
        for (int e = 0; e < entries; ++e)
          formula::sgd(rule, scale * s.gradient[e] * b[r],
                       a.afterRows[static_cast<int64_t>(a.row[begin + e]) * a.rank + r], velocity);
        formula::sgd(rule, scale * gradient[r], b[r], velocity);
      }
    }
    __syncthreads();
  }
}

/// Slots of one launch.
inline int slotsPerRowSlice(int width) {
  const int64_t slots = kNumbersPerRowSlice / (int64_t{kMostEntries} * width);
  return static_cast<int>(slots < 1 ? 1 : slots < 64 ? slots : 64);
}

}  // namespace foretoken::cuda
