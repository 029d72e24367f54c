// Learns the queries, outputs and MLPs of a head's layers from whole texts, a fifth of a second a step: work for times
// when nothing is decoded. Rows over the draft vocabulary stay as they are meanwhile and count in the loss, so that the
// layers learn what the rows leave; fusion, keys and values never move, for KV slots hold what was made with them.
#pragma once
#include "learn/learned_head.h"
#include "learn/replay.h"
#include "train/block_head.h"
#include "train/optimiser.h"

namespace foretoken::learn {

struct LayerOptions {
  float rate = 1e-4f;              ///< of AdamW; 0 = layers stay as they are
  int64_t anchors = 32;            ///< blocks of a step
  int64_t stepsPerCandidate = 64;  ///< more than rows take, which begin again under other layers
  train::OptimiserOptions optimiser{};
};

class LayerLearner {
 public:
  /// What it refers to outlives it. Begins with `start`.
  LayerLearner(train::Ops& ops, train::BlockHead& head, const train::TargetTables& target, const OutputNorm& norm,
               const LayerOptions& options, const LearnedHead& start);

  /// Takes one step on blocks at `noise` (0..1) of the text's answer. False where the gradient is not finite: nothing
  /// has moved then.
  bool step(const VerifiedText& text, double noise);
  /// Goes on under the rows of another head.
  void setRows(std::shared_ptr<const HeadRows> rows);
  /// The layers as they are by now, with the rows under which they learn.
  LearnedHead learned() const;
  /// Without the rows, which are another head's.
  size_t bytes() const;

 private:
  train::TargetTables ownTables() const;

  train::Ops& ops_;
  train::BlockHead& head_;
  const train::TargetTables& target_;
  const OutputNorm& norm_;
  const LayerOptions options_;
  std::shared_ptr<const HeadRows> rows_;
  train::Floats weights_;  ///< with the Markov term of rows_
  train::Optimiser optimiser_;
};

}  // namespace foretoken::learn
