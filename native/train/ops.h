// The operations of a draft head's training over many rows, forward and backward. A matrix is fp32 rows without gaps; x
// is an input, y the output, w a weight, dx the gradient of the loss with respect to x. Gradients are added to, so
// that what is used twice collects both parts; the exceptions say so.
//
// Results do not depend on the number of threads: every sum is one thread's, in a fixed order.
#pragma once
#include <span>
#include <vector>

#include "train/gemm.h"

namespace foretoken::train {

/// Rotary embedding's angles of positions [0, positions).
class RotaryTable {
 public:
  /// `base`: rope_theta of the model; `width`: of a head.
  RotaryTable(int64_t positions, int64_t width, double base);
  int64_t width() const { return 2 * half_; }
  const float* cosine(int64_t position) const { return cosine_.data() + position * half_; }
  const float* sine(int64_t position) const { return sine_.data() + position * half_; }

 private:
  int64_t half_;
  std::vector<float> cosine_, sine_;
};

struct Heads {
  int64_t queries, keys, width;  ///< query heads, key (and value) heads, numbers in each
  int64_t group() const { return queries / keys; }
  bool operator==(const Heads&) const = default;
};

/// Who sees whom. Queries come sequence after sequence; sequence s has queries [firstQuery[s], firstQuery[s + 1]) and
/// its own keys: the rows that keyRows[firstKeyRows[s] .. firstKeyRows[s + 1]) name, numbered from 0 in that order.
/// Query i sees the keys that ranges[firstRange[i] .. firstRange[i + 1]) name by these numbers: at least one, none
/// twice.
struct AttentionPlan {
  std::vector<int64_t> firstQuery{0};
  std::vector<int64_t> firstKeyRows{0};
  std::vector<KeyRange> keyRows;
  std::vector<int64_t> firstRange{0};
  std::vector<KeyRange> ranges;

  int64_t sequences() const { return static_cast<int64_t>(firstQuery.size()) - 1; }
  int64_t queries() const { return firstQuery.back(); }
};

/// Labels of rows: `count` listed tokens a row and what the rest has together; or the states that the target's own
/// output layer sees, whose softmax over the draft vocabulary is the label.
struct Labels {
  const int32_t* token = nullptr;
  const float* probability = nullptr;
  const float* rest = nullptr;
  int64_t count = 0;  ///< at most kMostListed

  const float* state = nullptr;   ///< [rows, width]
  const float* output = nullptr;  ///< [draft vocabulary, width]
  int64_t width = 0;

  RowLabel row(int64_t r) const { return {token + r * count, probability + r * count, count, rest[r]}; }
};

/// One term x w^T of a sum of linear layers, and where its gradients go (null: nowhere).
struct LinearTerm {
  const float* x;  ///< [rows, inputs]
  const float* w;  ///< [outputs, inputs]
  int64_t inputs;
  float* dx = nullptr;  ///< overwritten
  float* dw = nullptr;  ///< added to
};

class Ops {
 public:
  Ops(ThreadPool& threads, const TrainKernels& kernels);
  Ops(ThreadPool& threads, Isa isa) : Ops(threads, trainKernels(isa)) {}
  ThreadPool& threads() { return threads_; }
  Gemm& gemm() { return gemm_; }
  const TrainKernels& kernels() const { return kernels_; }

  /// y [rows, outputs] = x [rows, inputs] w^T, or += with `addTo`.
  void linear(const float* x, const float* w, int64_t rows, int64_t inputs, int64_t outputs, float* y,
              bool addTo = false);
  /// Backward of linear; dx and dw may be null. dx is overwritten unless `addTo`.
  void linearBackward(const float* x, const float* w, const float* dy, int64_t rows, int64_t inputs, int64_t outputs,
                      float* dx, float* dw, bool addTo = true);

  /// RMSNorm with a scale [width]; inverse [rows] is what backward needs.
  void norm(const float* x, const float* scale, float epsilon, int64_t rows, int64_t width, float* y, float* inverse);
  /// dx may be null.
  void normBackward(const float* x, const float* scale, const float* inverse, const float* dy, int64_t rows,
                    int64_t width, float* dx, float* dscale);

  /// y = silu(gate) up.
  void swiglu(const float* gate, const float* up, int64_t rows, int64_t width, float* y);
  /// Overwrites dgate and dup.
  void swigluBackward(const float* gate, const float* up, const float* dy, int64_t rows, int64_t width, float* dgate,
                      float* dup);

  /// Rotary embedding of `heads` heads a row, in place; `back`: of a gradient.
  void rotate(float* x, const RotaryTable& table, std::span<const int32_t> position, int64_t heads, bool back = false);

  /// y [rows, width] = rows of a bf16 table.
  void embed(const uint16_t* table, std::span<const int32_t> token, int64_t width, float* y);

  /// out [queries, heads] from q, of keys and values [rows, key heads]; logSum [queries * query heads] is what backward
  /// needs.
  void attend(const Heads&, const AttentionPlan&, const float* q, const float* key, const float* value, float* out,
              float* logSum);
  /// Overwrites dq, adds to dkey and dvalue.
  void attendBackward(const Heads&, const AttentionPlan&, const float* q, const float* key, const float* value,
                      const float* out, const float* logSum, const float* dout, float* dq, float* dkey, float* dvalue);

  /// Linear layers whose sum are logits, softmax and loss at once, a chunk of rows at a time, so that logits of all
  /// rows never exist together: the forward pass makes the gradient. Row r counts weight[r]; a row of weight 0 has a
  /// loss but no gradient.
  void linearLoss(std::span<const LinearTerm> terms, int64_t rows, int64_t vocabulary, const Labels& labels,
                  const LossWeights& weights, const float* weight, std::span<RowLoss> loss);

 private:
  /// What a thread attends with, sized before it runs: its job must not throw.
  struct Attending {
    std::vector<const float*> key, value;  ///< of a sequence and key head
    std::vector<float*> dkey, dvalue;      ///< their gradients
    std::vector<float> scratch;
  };

  void sizeAttending(const Heads&, const AttentionPlan&);
  template <class F>
  void forItems(const Heads&, const AttentionPlan&, const float* key, const float* value, F&& f);

  ThreadPool& threads_;
  const TrainKernels& kernels_;
  Gemm gemm_;
  std::vector<Attending> attending_;    ///< of each thread
  std::vector<float> logits_, target_;  ///< of a chunk of rows
};

}  // namespace foretoken::train
