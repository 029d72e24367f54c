// Linear layers whose sum are logits, softmax, loss and all gradients at once (Ops::linearLoss of native/train): a
// chunk of rows at a time, so that logits of all rows never exist together, and in launches of less than 200 µs, so
// that a decode step never waits long for one.
#pragma once
#include <functional>
#include <span>

#include "cuda/train/gemm.cuh"
#include "cuda/train/loss.cuh"

namespace foretoken::cuda {

/// Rows whose logits exist at a time.
constexpr int kChunkRows = 128;
/// Rows whose loss a multiprocessor surely has in 200 µs.
constexpr int kRowsPerLossSlice = 8;

/// One term x w^T of the logits, and where its gradients go.
struct LossTerm {
  const uint16_t* x;  ///< [rows][inputs] bf16
  const uint16_t* w;  ///< [vocabulary][inputs] bf16
  int inputs;         ///< a multiple of 8
  float* dx;          ///< [rows][inputs], overwritten; null: nowhere
  float* dw;          ///< [vocabulary][inputs], added to; null: nowhere
};

/// What the target's own output layer sees, where its softmax is the label: its logits are state output^T.
struct TargetState {
  const uint16_t* state;   ///< [rows][inputs] bf16
  const uint16_t* output;  ///< [vocabulary][inputs] bf16
  int inputs;
};

struct LossScratch {
  float* logits;       ///< [kChunkRows][vocabulary]
  float* target;       ///< the same; only with a TargetState
  uint16_t* gradient;  ///< [kChunkRows][vocabulary]
};

/// The launches of one call, in order; the caller decides when each of them runs.
class LinearLossPlan {
 public:
  /// `loss`: labels and results of all rows; a vocabulary that is a multiple of 8. `target` may be null.
  LinearLossPlan(std::span<const LossTerm> terms, const TargetState* target, int rows, const LossArgs& loss,
                 const LossScratch& scratch, int processors)
      : vocabulary_(loss.vocabulary), processors_(processors) {
    for (int first = 0; first < rows; first += kChunkRows) {
      const int count = rows - first < kChunkRows ? rows - first : kChunkRows;
      bool accumulate = false;
      for (const LossTerm& t : terms) {
        addLogits(t.x, t.w, t.inputs, first, count, scratch.logits, accumulate);
        accumulate = true;
      }
      if (target) addLogits(target->state, target->output, target->inputs, first, count, scratch.target, false);
      addLoss(loss, scratch, target != nullptr, first, count);
      for (const LossTerm& t : terms) addGradients(t, scratch.gradient, first, count);
    }
  }

  size_t size() const { return steps_.size(); }
  cudaError_t run(size_t step, cudaStream_t stream) const { return steps_[step](stream); }

 private:
  void addGemm(const GemmArgs& g) {
    for (const GemmSlice& slice : planGemm(g, processors_))
      steps_.push_back([g, slice](cudaStream_t stream) { return launchGemm(g, slice, stream); });
  }

  void addLogits(const uint16_t* x, const uint16_t* w, int inputs, int first, int count, float* out, bool accumulate) {
    addGemm({.a = {x + static_cast<int64_t>(first) * inputs, inputs, count, false},
             .b = {w, inputs, vocabulary_, false},
             .depth = inputs,
             .out = out,
             .stride = vocabulary_,
             .accumulate = accumulate});
  }

  void addLoss(LossArgs loss, const LossScratch& scratch, bool dense, int first, int count) {
    const int most = kRowsPerLossSlice * processors_;
    for (int row = 0; row < count; row += most) {
      LossArgs a = loss;
      const int64_t local = static_cast<int64_t>(row) * vocabulary_, all = first + row;
      a.logits = scratch.logits + local;
      a.target = dense ? scratch.target + local : nullptr;
      a.gradient = scratch.gradient + local;
      a.weight += all, a.klOut += all, a.acceptance += all, a.top += all;
      if (!dense) a.token += all * a.listed, a.probability += all * a.listed, a.rest += all;
      const int here = count - row < most ? count - row : most;
      steps_.push_back([a, here](cudaStream_t stream) { return launchLoss(a, here, stream); });
    }
  }

  void addGradients(const LossTerm& t, const uint16_t* gradient, int first, int count) {
    const int64_t begin = static_cast<int64_t>(first) * t.inputs;
    if (t.dx)
      addGemm({.a = {gradient, vocabulary_, count, false},
               .b = {t.w, t.inputs, t.inputs, true},
               .depth = vocabulary_,
               .out = t.dx + begin,
               .stride = t.inputs,
               .accumulate = false});
    if (t.dw)
      addGemm({.a = {gradient, vocabulary_, vocabulary_, true},
               .b = {t.x + begin, t.inputs, t.inputs, true},
               .depth = count,
               .out = t.dw,
               .stride = t.inputs,
               .accumulate = true});
  }

  int vocabulary_, processors_;
  std::vector<std::function<cudaError_t(cudaStream_t)>> steps_;
};

}  // namespace foretoken::cuda
