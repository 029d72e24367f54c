// The head of one tenant as it learns: weights that move, a candidate that is being judged, the ones that draft and the
// ones before them. What it does depends on the texts it is given and on nothing else: no clock, no other tenant.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "learn/draft_rows.h"
#include "learn/replay.h"
#include "learn/row_learner.h"
#include "train/optimiser.h"

namespace foretoken::learn {

struct LearnOptions {
  RowOptions rows;       ///< what rows over the draft vocabulary learn: of tokens seen, at hardly any cost
  float layers = 0;      ///< rate of the layers' queries, outputs and MLPs; 0 = they stay as they are. Fusion, keys and
                         ///< values never move: what is kept of positions in KV slots was made with them
  int64_t anchors = 32;  ///< blocks of a step
  int64_t scored = 32;   ///< positions of a text that heads are judged on
  int64_t stepsPerCandidate = 32;  ///< steps after which the weights become a candidate
  int64_t textsPerCandidate = 16;  ///< texts on which the first candidate is judged before a newer one takes its place;
                                   ///< each one after it gets twice as many
  size_t replayBytes = 32 << 20;
  train::OptimiserOptions optimiser{};
};

/// What heads would have drafted: of each judged position, how many tokens would have been right.
struct Foreseen {
  std::vector<uint8_t> live, candidate, previous;  ///< the last two may be empty
  int64_t candidateNumber = 0;                     ///< 0 = there is none
  int64_t slots = 0;                               ///< tokens of every draft
};

class HeadLearner {
 public:
  using Weights = std::shared_ptr<const train::HeadNumbers>;

  /// What it refers to outlives it. Learners may share `ops` and `head` if they take turns.
  HeadLearner(train::Ops& ops, train::BlockHead& head, const train::TargetTables& target, const OutputNorm& norm,
              const LearnOptions& options, Weights live);

  /// Judges the heads on a text, then keeps it to learn from. False where the text is not finite: it is dropped.
  bool take(VerifiedText text, Foreseen& foreseen);
  /// One step of training; false where there is nothing to learn from. A gradient that is not finite moves nothing.
  bool step();

  /// The candidate drafts from now on; the weights that did are kept to go back to.
  void promote();
  /// The candidate is given up; with `harmful`, learning begins again from the weights that draft.
  void discard(bool harmful);
  /// Back to the weights before the last promotion, also for learning.
  void rollBack();
  /// Other weights draft: those that were kept, or none of its own.
  void adopt(Weights live);
  /// Weights are to be judged, whatever was judged before.
  void propose(Weights candidate);
  /// The target's weights have moved, tables and norm with them. `start` drafts; what drafted before has to be judged
  /// again. Texts are dropped, for their features are of the older weights; learning goes on from where it was.
  void targetMoved(const Weights& start);

  const Weights& live() const { return live_; }
  bool hasPrevious() const { return previous_ != nullptr; }
  /// 0 = there is none.
  int64_t candidateNumber() const { return candidate_ ? candidateNumber_ : 0; }
  int64_t steps() const { return steps_; }
  int64_t skipped() const { return skipped_; }
  const Replay& replay() const { return replay_; }

 private:
  train::LabelledBlocks blocksIn(const train::TrainSequence& text, int64_t first, int64_t count) const;
  train::SlotLogits logits(const train::LabelledBlocks& batch, const train::Floats& weights);
  bool sameLayers(const train::Floats& a, const train::Floats& b) const;
  std::vector<uint8_t> judge(const train::LabelledBlocks& batch, const train::HeadNumbers& head,
                             train::SlotLogits slots) const;
  SlotExamples examples(const train::LabelledBlocks& batch, train::SlotLogits slots) const;
  void moveLayers(const VerifiedText& text, uint64_t number);
  void makeCandidate();
  void dropCandidateInTime();
  void beginAgain();

  train::Ops& ops_;
  train::BlockHead& head_;
  const train::TargetTables& target_;
  const OutputNorm& norm_;
  const LearnOptions options_;
  Weights live_, candidate_, previous_;
  int64_t candidateNumber_ = 0;
  train::Floats weights_, gradient_;  ///< empty before the first text
  std::optional<RowLearner> rows_;
  std::unique_ptr<train::Optimiser> optimiser_;  ///< of the layers, if they move
  std::unique_ptr<train::TargetTables> own_;     ///< for the layers, where the draft vocabulary is another by now
  Replay replay_;
  int64_t texts_ = 0, steps_ = 0, skipped_ = 0, sinceCandidate_ = 0, judged_ = 0, patience_;
};

}  // namespace foretoken::learn
