#include "learn/cpu_layer_steps.h"

#include <utility>

namespace foretoken::learn {
namespace {

std::vector<train::Rule> layerRules(const train::Parameters& parameters) {
  std::vector<train::Rule> rules;
  for (const train::Parameter& p : parameters.all())
    rules.push_back(isLearned(p) ? train::Rule::adamw : train::Rule::frozen);
  return rules;
}

}  // namespace

CpuLayerSteps::CpuLayerSteps(train::Ops& ops, const LayerStart& start)
    : ops_(ops),
      head_(start.head),
      target_(start.target),
      rate_(start.options.rate),
      weights_(*start.live.layers),
      optimiser_(ops, head_.parameters(), layerRules(head_.parameters()), start.options.optimiser) {
  setRows(start.live.rows);
}

void CpuLayerSteps::setRows(std::shared_ptr<const HeadRows> rows) {
  rows_ = std::move(rows);
  weights_.resize(head_.before());
  weights_.insert(weights_.end(), rows_->markov.begin(), rows_->markov.end());
}

/// Tables and gradient, forty megabytes that any step makes anew, are there for its fifth of a second alone: tenants
/// that learn are several, and mostly wait.
bool CpuLayerSteps::step(const train::LabelledBlocks& batch) {
  const int64_t width = head_.shape().width;
  train::TargetTables moved = tablesFor(rows_->draft, target_);
  const bool sameTokens = rows_->draft == target_.draft;
  const train::Floats own = sameTokens ? train::Floats{} : moved.output;
  addDelta(rows_->delta, width, moved.output);
  train::Floats gradient(weights_.size());
  const train::Labels labels{
      .state = batch.state.data(), .output = (sameTokens ? target_.output : own).data(), .width = width};
  head_.train({ops_, weights_.data(), gradient.data()}, moved, batch.blocks, labels, {}, batch.weight.data());
  return !optimiser_.step(rate_, gradient.data(), weights_.data()).skipped;
}

LearnedHead CpuLayerSteps::learned() {
  return {std::make_shared<const train::Floats>(weights_.begin(), weights_.begin() + head_.before()), rows_};
}

}  // namespace foretoken::learn
