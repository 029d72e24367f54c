// Learns a head's rows over its draft vocabulary from slots: the Markov term's, what is added to the target's output
// rows, and which tokens have a row at all.
//
// A slot has listed tokens c with logits u_c, what its output layer saw, z, and the token before, a. The head says
//
//     logit_c = u_c + delta_c z + after_c before_a
//
// and the loss is -log of the softmax's share of the token that came, over what is listed and the mass of all else as
// it was: what drafting corrects, no more. So its gradient is that of rows before_a, after_c and delta_c. Steps are
// plain SGD, slot by slot, so that no row has a state of its own and what no slot names is not touched: the same as
// dense SGD at the cost of some rows. The steps of delta are divided by z^2: a rate of 1 would take a logit to its
// label at once.
#pragma once
#include <span>
#include <utility>
#include <vector>

#include "learn/learned_head.h"
#include "learn/row_steps.h"
#include "learn/slot_examples.h"
#include "train/block_head.h"

namespace foretoken::learn {

class RowLearner {
 public:
  /// What it refers to outlives it. `steps`: who takes them; null = the CPU, here.
  RowLearner(train::Ops& ops, const train::BlockHead& head, const train::TargetTables& target,
             const RowOptions& options, const HeadRows& start, RowSteps* steps = nullptr);

  /// Takes one step for each slot, moving rows of `markov`, as in HeadRows; returns how many were skipped as not
  /// finite. Nothing has moved where it throws what `steps` throws.
  int64_t step(const SlotExamples& slots, train::Floats& markov);
  /// The CPU takes the steps from now on. False where it did before.
  bool goToCpu() { return std::exchange(steps_, nullptr) != nullptr; }

  /// Traffic has used these tokens.
  void count(std::span<const int32_t> tokens);
  /// Tokens that are used often and can't be drafted take the places of tokens that are not used: with the target's
  /// output row, before the next token what unknown tokens had, and no correction. True where there were any.
  bool renew(train::Floats& markov);

  const std::vector<int32_t>& draft() const { return draft_; }
  /// What has been learned for output rows so far.
  train::OutputDelta delta() const;

 private:
  struct Listed {
    int32_t place;
    float logit, gradient;
  };

  /// Rows that slots name, as they are gathered: the first so many are numbered in order of first use.
  struct Gathered {
    explicit Gathered(size_t places) : number(places, -1) {}
    std::vector<int32_t> number, place;
    int32_t of(int32_t which) {
      if (number[which] < 0) number[which] = static_cast<int32_t>(place.size()), place.push_back(which);
      return number[which];
    }
  };

  int64_t stepElsewhere(const SlotExamples& slots, train::Floats& markov);
  RowSlots slotsByRow(const SlotExamples& slots, Gathered& before, Gathered& rows) const;
  MovedRows gather(const Gathered& before, const Gathered& rows, const train::Floats& markov);
  void scatter(const MovedRows& moved, const Gathered& before, const Gathered& rows, train::Floats& markov);
  bool stepSlot(const SlotExamples& slots, int64_t slot, train::Floats& markov);
  void list(const SlotExamples& slots, int64_t slot, const float* before, const float* after);
  void moveMarkov(float* before, float* after, float scale);
  void moveOutput(int32_t truth);
  float* deltaFor(int32_t place);
  float* deltaOf(int32_t place) { return deltaAt_[place] < 0 ? nullptr : delta_.data() + deltaAt_[place] * width_; }

  train::Ops& ops_;
  const train::TargetTables& target_;
  const RowOptions options_;
  RowSteps* steps_;
  const int64_t width_, rank_, after_;
  std::vector<int32_t> draft_, place_;
  train::Floats delta_;           ///< rows that are added to output rows
  std::vector<int64_t> deltaAt_;  ///< which of them, by draft index; negative = none
  std::vector<uint32_t> used_;    ///< by token
  // of a slot
  std::vector<Listed> listed_;
  train::Floats state_, gradient_, velocity_;
};

}  // namespace foretoken::learn
