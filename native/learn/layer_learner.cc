#include "learn/layer_learner.h"

#include <utility>

#include "learn/answer_blocks.h"

namespace foretoken::learn {
namespace {

using train::Rule;

std::vector<Rule> layerRules(const train::Parameters& parameters) {
  std::vector<Rule> rules;
  for (const train::Parameter& p : parameters.all()) {
    const bool moves = p.isMatrix() &&
                       (p.name.find(".attention.q.") != std::string::npos ||
                        p.name.find(".attention.o.") != std::string::npos || p.name.find(".mlp.") != std::string::npos);
    rules.push_back(moves ? Rule::adamw : Rule::frozen);
  }
  return rules;
}

}  // namespace

LayerLearner::LayerLearner(train::Ops& ops, train::BlockHead& head, const train::TargetTables& target,
                           const OutputNorm& norm, const LayerOptions& options, const LearnedHead& start)
    : ops_(ops),
      head_(head),
      target_(target),
      norm_(norm),
      options_(options),
      weights_(*start.layers),
      optimiser_(ops, head.parameters(), layerRules(head.parameters()), options.optimiser) {
  setRows(start.rows);
}

void LayerLearner::setRows(std::shared_ptr<const HeadRows> rows) {
  rows_ = std::move(rows);
  weights_.resize(head_.before());
  weights_.insert(weights_.end(), rows_->markov.begin(), rows_->markov.end());
}

/// The target's tables for the head's draft vocabulary; what it adds to output rows is not in them.
train::TargetTables LayerLearner::ownTables() const {
  return {.embedding = target_.embedding,
          .draft = rows_->draft,
          .place = train::placesOf(rows_->draft, static_cast<int64_t>(target_.place.size())),
          .output = target_.rowsOf(rows_->draft),
          .rowsOf = target_.rowsOf};
}

/// Tables and gradient, forty megabytes that any step makes anew, are there for its fifth of a second alone: tenants
/// that learn are several, and mostly wait.
bool LayerLearner::step(const VerifiedText& text, double noise) {
  train::TrainSequence sequence;
  expand(text, head_.shape().fused, norm_, sequence);
  const train::LabelledBlocks batch = blocksInAnswer(head_.shape(), sequence, options_.anchors, noise);
  if (batch.blocks.anchors() == 0) return true;
  const int64_t width = head_.shape().width;
  const train::TargetTables own = rows_->draft == target_.draft ? train::TargetTables{} : ownTables();
  const train::TargetTables& still = own.draft.empty() ? target_ : own;
  train::TargetTables moved = still;
  const train::OutputDelta& delta = rows_->delta;
  for (size_t i = 0; i < delta.place.size(); ++i)
    for (int64_t c = 0; c < width; ++c) moved.output[delta.place[i] * width + c] += delta.row[i * width + c];
  train::Floats gradient(weights_.size());
  const train::Labels labels{.state = batch.state.data(), .output = still.output.data(), .width = width};
  head_.train({ops_, weights_.data(), gradient.data()}, moved, batch.blocks, labels, {}, batch.weight.data());
  return !optimiser_.step(options_.rate, gradient.data(), weights_.data()).skipped;
}

LearnedHead LayerLearner::learned() const {
  return {std::make_shared<const train::Floats>(weights_.begin(), weights_.begin() + head_.before()), rows_};
}

size_t LayerLearner::bytes() const { return (weights_.size() + optimiser_.moments().size()) * sizeof(float); }

}  // namespace foretoken::learn
