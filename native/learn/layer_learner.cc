#include "learn/layer_learner.h"

#include <algorithm>

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
                           const OutputNorm& norm, const LayerOptions& options, const train::HeadNumbers& start)
    : ops_(ops),
      head_(head),
      target_(target),
      norm_(norm),
      options_(options),
      tables_(target),
      weights_(start.weights),
      gradient_(start.weights.size()),
      optimiser_(ops, head.parameters(), layerRules(head.parameters()), options.optimiser) {
  setRows(start);
}

void LayerLearner::setRows(const train::HeadNumbers& head) {
  delta_ = head.delta;
  // The Markov term's rows are all that lies behind the layers.
  std::copy(head.weights.begin() + head_.before(), head.weights.end(), weights_.begin() + head_.before());
  tables_.draft = head.draft;
  tables_.place = train::placesOf(head.draft, static_cast<int64_t>(target_.place.size()));
  own_ = head.draft == target_.draft ? train::Floats{} : target_.rowsOf(head.draft);
  tables_.output = own_.empty() ? target_.output : own_;
  const int64_t width = head_.shape().width;
  for (size_t i = 0; i < delta_.place.size(); ++i)
    for (int64_t c = 0; c < width; ++c) tables_.output[delta_.place[i] * width + c] += delta_.row[i * width + c];
}

bool LayerLearner::step(const VerifiedText& text, double noise) {
  train::TrainSequence sequence;
  expand(text, head_.shape().fused, norm_, sequence);
  const train::LabelledBlocks batch = blocksInAnswer(head_.shape(), sequence, options_.anchors, noise);
  if (batch.blocks.anchors() == 0) return true;
  const train::Floats& rows = own_.empty() ? target_.output : own_;
  const train::Labels labels{.state = batch.state.data(), .output = rows.data(), .width = head_.shape().width};
  std::fill(gradient_.begin(), gradient_.end(), 0.0f);
  head_.train({ops_, weights_.data(), gradient_.data()}, tables_, batch.blocks, labels, {}, batch.weight.data());
  return !optimiser_.step(options_.rate, gradient_.data(), weights_.data()).skipped;
}

train::HeadNumbers LayerLearner::numbers() const { return {weights_, tables_.draft, delta_}; }

size_t LayerLearner::bytes() const {
  return (weights_.size() + gradient_.size() + optimiser_.moments().size() + tables_.output.size() + own_.size()) *
         sizeof(float);
}

}  // namespace foretoken::learn
