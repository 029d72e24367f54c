// Steps of layers on the CPU, a fifth of a second each: work for times when nothing is decoded.
#pragma once
#include "learn/layer_steps.h"
#include "train/optimiser.h"

namespace foretoken::learn {

class CpuLayerSteps final : public LayerSteps {
 public:
  /// `ops` outlives it.
  CpuLayerSteps(train::Ops& ops, const LayerStart& start);

  bool step(const train::LabelledBlocks&) override;
  void setRows(std::shared_ptr<const HeadRows>) override;
  LearnedHead learned() override;
  size_t bytes() const override { return (weights_.size() + optimiser_.moments().size()) * sizeof(float); }

 private:
  train::Ops& ops_;
  train::BlockHead& head_;
  const train::TargetTables& target_;
  const float rate_;
  std::shared_ptr<const HeadRows> rows_;
  train::Floats weights_;  ///< with the Markov term of rows_
  train::Optimiser optimiser_;
};

}  // namespace foretoken::learn
