// Trains a block head on sequences of text with what the target made of them: steps, held-back figures, checkpoints.
//
// A run is a function of its options and its data. Which sequences a step takes and which positions are anchors is
// addressed by (seed, step), so that a checkpoint needs no generator's state, and a run that was killed and resumed
// ends with the same bits as one that went on, whatever the number of threads.
#pragma once
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "train/head_file.h"
#include "train/labelled_blocks.h"

namespace foretoken::train {

/// A text by its tokens.
struct TextToLearn {
  std::vector<int32_t> token;
  int64_t answer = 0;  ///< where the text begins that the head shall learn to draft
};

/// Where sequences come from: a file, or a target that computes them when asked.
class SequenceSource {
 public:
  virtual ~SequenceSource() = default;
  virtual int64_t count() const = 0;
  /// What a sequence is of.
  virtual const TextToLearn& text(int64_t index) const = 0;
  int64_t length(int64_t index) const { return static_cast<int64_t>(text(index).token.size()); }
  /// What sequences are made with: of another origin the same texts are other data.
  virtual std::string origin() const = 0;
  virtual std::vector<TrainSequence> read(std::span<const int64_t> indices) = 0;
};

struct TrainOptions {
  uint64_t seed = 1;
  int64_t epochs = 1;
  int64_t rowsPerStep = 1024;  ///< positions of the sequences of a step
  double anchorShare = 0.6;    ///< of the positions where a block could start
  float slotDecay = 0.8f;      ///< weight of a slot relative to the one before
  LossWeights loss;
  float rate = 1e-3f;
  int64_t warmup = 20;
  OptimiserOptions optimiser;
};

struct TrainReport {
  int64_t step = 0, tokens = 0;   ///< counted from 1; blocks' rows that counted
  double kl = 0, acceptance = 0;  ///< means over the slots of a step, weighted as in the loss
  std::vector<double> hits;       ///< of each slot: how often its likeliest token is what came
  StepReport optimiser;
};

struct HeldBack {
  double acceptanceLength = 0;  ///< tokens a pass when every round drafts a block, the target's own token counted
  std::vector<double> hits;     ///< of each slot, where all before it were right
};

class Trainer {
 public:
  /// `source` and `target` outlive the trainer. Throws NOTHING_TO_LEARN where no sequence has room for a block.
  Trainer(Ops&, BlockHead&, const TargetTables& target, SequenceSource& source, const TrainOptions&, Floats weights);

  int64_t steps() const { return static_cast<int64_t>(plan_.size()); }
  int64_t step() const { return step_; }
  const Floats& weights() const { return weights_; }

  /// The next step; at most steps() can be taken.
  TrainReport train();
  /// Drafts at every position of the answers and replays rounds on them.
  HeldBack evaluate(SequenceSource& source);

  /// Everything that the run needs to go on, whole or not at all. Throws HEAD_NOT_FINITE, WRITE_FAILED.
  void saveCheckpoint(const std::string& path, const HeadBinding&) const;
  /// Throws CHECKPOINT_MISMATCH where it belongs to another run: other options, data or target.
  void loadCheckpoint(const std::string& path, const HeadBinding&);

 private:
  LabelledBlocks blocksOf(std::span<const int64_t> sequences, SequenceSource&, double share, uint64_t seed) const;
  std::map<std::string, std::string> facts(const HeadBinding&) const;

  Ops& ops_;
  BlockHead& head_;
  const TargetTables& target_;
  SequenceSource& source_;
  TrainOptions options_;
  std::vector<std::vector<int64_t>> plan_;  ///< sequences of every step
  Schedule schedule_;
  Floats weights_, gradient_;
  Optimiser optimiser_;
  int64_t step_ = 0;
};

}  // namespace foretoken::train
