// Steps of a head's layers, for whoever carries them out. What moves are queries, outputs and MLPs; rows over the draft
// vocabulary stay as they are meanwhile and count in the loss, so that the layers learn what the rows leave; fusion,
// keys and values never move, for KV slots hold what was made with them.
#pragma once
#include <functional>
#include <memory>

#include "learn/learned_head.h"
#include "train/labelled_blocks.h"

namespace foretoken::learn {

struct LayerOptions {
  float rate = 1e-4f;              ///< of AdamW; 0 = layers stay as they are
  int64_t anchors = 32;            ///< blocks of a step
  int64_t stepsPerCandidate = 64;  ///< more than rows take, which begin again under other layers
  train::OptimiserOptions optimiser{};
};

/// What steps begin with; head and target outlive them.
struct LayerStart {
  train::BlockHead& head;
  const train::TargetTables& target;
  const LayerOptions& options;
  const LearnedHead& live;
};

/// Of one head. Weights and moments stay with it from step to step.
class LayerSteps {
 public:
  virtual ~LayerSteps() = default;
  /// One step. False where the gradient is not finite. Nothing has moved then, nor where it throws OUT_OF_MEMORY,
  /// because there is no memory for one.
  virtual bool step(const train::LabelledBlocks&) = 0;
  /// Goes on under the rows of another head.
  virtual void setRows(std::shared_ptr<const HeadRows>) = 0;
  /// The layers as they are by now, with the rows under which they learn.
  virtual LearnedHead learned() = 0;
  /// Of the host's memory, without the rows, which are another head's.
  virtual size_t bytes() const = 0;
  /// Of a device's.
  virtual size_t deviceBytes() const { return 0; }
};

/// Throws SHAPE_MISMATCH where it can't with this head, and OUT_OF_MEMORY; anything else is a failure.
using MakeLayerSteps = std::function<std::unique_ptr<LayerSteps>(const LayerStart&)>;

/// Whether steps move it.
bool isLearned(const train::Parameter&);
/// The target's tables for a head's draft vocabulary.
train::TargetTables tablesFor(const std::vector<int32_t>& draft, const train::TargetTables&);
/// Adds what a head adds to output rows [draft tokens, width].
void addDelta(const train::OutputDelta&, int64_t width, train::Floats& output);

}  // namespace foretoken::learn
