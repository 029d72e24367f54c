// The head of one tenant as it learns: rows that move and layers that do, each under the head that drafts; a candidate
// of either that is being judged, the ones that draft and the ones before them. What it does depends on the texts it is
// given and on nothing else: no clock, no other tenant.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "learn/draft_rows.h"
#include "learn/learned_head.h"
#include "learn/replay.h"
#include "learn/row_learner.h"
#include "learn/step_takers.h"

namespace foretoken::learn {

struct LearnOptions {
  RowOptions rows;                 ///< what rows over the draft vocabulary learn: of tokens seen, at hardly any cost
  LayerOptions layers;             ///< what layers learn, in idle time
  int64_t scored = 32;             ///< positions of a text that heads are judged on
  int64_t stepsPerCandidate = 32;  ///< steps after which the weights become a candidate
  int64_t textsPerCandidate = 16;  ///< texts on which the first candidate is judged before a newer one takes its place;
                                   ///< each one after it gets twice as many
  size_t slotBytes = 32 << 20, textBytes = 24 << 20;  ///< of texts' slots for rows, and of whole texts for layers
};

/// What heads would have drafted: of each judged position, how many tokens would have been right.
struct Foreseen {
  std::vector<uint8_t> live, candidate, previous;  ///< the last two may be empty
  int64_t candidateNumber = 0;                     ///< 0 = there is none
};

class HeadLearner {
 public:
  using Weights = std::shared_ptr<const LearnedHead>;

  /// What it refers to outlives it. Learners may share `ops`, `head` and `takers` if they take turns.
  HeadLearner(train::Ops& ops, train::BlockHead& head, const train::TargetTables& target, const OutputNorm& norm,
              const LearnOptions& options, Weights live, StepTakers takers = {});

  /// Judges the heads on a text, then keeps it to learn from if its answer has room for a block. False where the text
  /// is not finite: it is dropped.
  bool take(VerifiedText text, Foreseen& foreseen);
  /// One step of the rows, or of the layers, which take two hundred times as long; false where there is nothing to
  /// learn from. A gradient that is not finite moves nothing.
  bool step();
  bool stepLayers();

  /// The candidate drafts from now on; the weights that did are kept to go back to. Throws what layers do: nothing has
  /// changed then.
  void promote();
  /// The candidate is given up; with `harmful`, what it came from begins again from the weights that draft.
  void discard(bool harmful);
  /// Back to the weights before the last promotion, also for learning.
  void rollBack();
  /// Other weights draft: those that were kept, or none of its own.
  void adopt(Weights live);
  /// Weights are to be judged, whatever was judged before.
  void propose(Weights candidate);
  /// What learns begins again without texts, wherever it was when something failed; what drafts stays.
  void recover();
  /// Nothing is learned from now on, and nothing judged; the weights that draft stay, and those to go back to.
  void endLearning();
  /// The target's weights have moved, tables and norm with them. `start` drafts; what drafted before has to be judged
  /// again. Texts are dropped, for their features are of the older weights; learning goes on from where it was.
  void targetMoved(const Weights& start);

  const Weights& live() const { return live_; }
  /// What promote() and rollBack() would let draft; null where there is nothing.
  const Weights& candidate() const { return candidate_; }
  const Weights& previous() const { return previous_; }
  /// 0 = there is none.
  int64_t candidateNumber() const { return candidate_ ? candidateNumber_ : 0; }
  /// Of rows, and of layers.
  int64_t steps() const { return steps_; }
  int64_t layerSteps() const { return layerSteps_; }
  int64_t skipped() const { return skipped_; }
  /// Of texts, of what learns, and of heads but for the one that it began with.
  size_t bytes() const;
  /// Of a device's memory, for this head alone.
  size_t deviceBytes() const { return layers_ ? layers_->deviceBytes() : 0; }
  const Replay& replay() const { return replay_; }

 private:
  /// Where a candidate comes from: what learns here, or somebody else.
  enum class Origin { rows, layers, elsewhere };

  train::SlotLogits logits(const train::LabelledBlocks& batch, const train::Floats& layers);
  std::vector<uint8_t> judge(const train::LabelledBlocks& batch, const HeadRows& head,
                             const train::SlotLogits& given) const;
  SlotExamples examples(const train::LabelledBlocks& batch, const train::SlotLogits& given) const;
  int64_t takeStep(const SlotExamples& slots);
  std::unique_ptr<LayerSteps> beginLayers();
  bool takeStep(const train::LabelledBlocks& batch);
  void makeCandidate();
  void offer(Weights candidate, Origin origin);
  void dropCandidateInTime();
  void beginAgain();
  void dropLayers();

  train::Ops& ops_;
  train::BlockHead& head_;
  const train::TargetTables& target_;
  const OutputNorm& norm_;
  const LearnOptions options_;
  const StepTakers takers_;
  const Weights start_;
  Weights live_, candidate_, previous_;
  int64_t candidateNumber_ = 0;
  train::Floats markov_;                               ///< that rows move; empty before the first text
  std::shared_ptr<const train::Floats> layersOfRows_;  ///< under which they learn
  std::optional<RowLearner> rows_;
  std::unique_ptr<LayerSteps> layers_;  ///< null before their first step
  Replay replay_;
  int64_t texts_ = 0, steps_ = 0, layerSteps_ = 0, skipped_ = 0, sinceCandidate_ = 0, layersSinceCandidate_ = 0,
          judged_ = 0, patience_;
  Origin origin_ = Origin::rows;  ///< of the candidate
};

}  // namespace foretoken::learn
