#include "learn/head_learner.h"

#include <algorithm>
#include <utility>

#include "common/philox.h"

namespace foretoken::learn {
namespace {

using train::Floats;
using train::LabelledBlocks;
using train::Rule;

/// Weight of a slot relative to the one before, as in training.
constexpr float kSlotDecay = 0.8f;
constexpr uint64_t kJudging = 1, kPicking = 2, kPlacing = 3;

std::vector<Rule> rulesOf(const train::Parameters& parameters, Moves moves) {
  std::vector<Rule> rules;
  for (const train::Parameter& p : parameters.all()) {
    const bool markov = p.name == "before.weight" || p.name == "after";
    const bool layer = p.name.find(".attention.q.") != std::string::npos ||
                       p.name.find(".attention.o.") != std::string::npos || p.name.find(".mlp.") != std::string::npos;
    rules.push_back(markov || (moves == Moves::all && layer && p.isMatrix()) ? Rule::adamw : Rule::frozen);
  }
  return rules;
}

}  // namespace

HeadLearner::HeadLearner(train::Ops& ops, train::BlockHead& head, const train::TargetTables& target,
                         const OutputNorm& norm, const LearnOptions& options, Weights live)
    : ops_(ops),
      head_(head),
      target_(target),
      norm_(norm),
      options_(options),
      live_(std::move(live)),
      replay_(options.replayBytes),
      patience_(options.textsPerCandidate) {}

/// Blocks at up to `count` positions from the first possible one on plus `first`.
LabelledBlocks HeadLearner::blocksIn(const train::TrainSequence& text, int64_t first, int64_t count) const {
  const int64_t begin = std::max<int64_t>(text.answer - 1, 0) + first;
  const auto isAnchor = [&](size_t, int32_t i) { return i >= begin && i < begin + count; };
  return train::labelledBlocks(head_.shape(), {&text, 1}, isAnchor, kSlotDecay);
}

std::vector<uint8_t> HeadLearner::judge(const LabelledBlocks& batch, const Floats& weights) {
  const int64_t slots = head_.shape().slots;
  const auto drafted = head_.draft({ops_, weights.data(), nullptr}, target_, batch.blocks);
  std::vector<uint8_t> right(batch.blocks.anchors());
  for (size_t a = 0; a < right.size(); ++a)
    while (right[a] < slots && drafted[a * slots + right[a]] == batch.truth[a * slots + right[a]]) ++right[a];
  return right;
}

bool HeadLearner::take(VerifiedText text, Foreseen& foreseen) {
  train::TrainSequence sequence;
  if (!expand(text, head_.shape().fused, norm_, sequence)) return ++skipped_, false;
  const int64_t room = static_cast<int64_t>(text.token.size()) - text.answer - options_.scored;
  const int64_t first = static_cast<int64_t>(positionNoise(kJudging, static_cast<uint64_t>(texts_)) *
                                             static_cast<double>(std::max<int64_t>(room, 0)));
  const LabelledBlocks batch = blocksIn(sequence, first, options_.scored);
  ++texts_;
  foreseen.slots = head_.shape().slots;
  if (batch.blocks.anchors() > 0) {
    foreseen.live = judge(batch, *live_);
    if (candidate_) foreseen.candidate = judge(batch, *candidate_), foreseen.candidateNumber = candidateNumber_;
    if (previous_) foreseen.previous = judge(batch, *previous_);
  }
  replay_.add(std::move(text));
  dropCandidateInTime();
  return true;
}

/// What was learned first is soon outdated; what comes late needs longer to be told from what drafts.
void HeadLearner::dropCandidateInTime() {
  constexpr int64_t kMostPatience = 1024;
  if (!candidate_ || ++judged_ < patience_) return;
  candidate_ = nullptr;
  sinceCandidate_ = options_.stepsPerCandidate;
  patience_ = std::min(kMostPatience, 2 * patience_);
}

void HeadLearner::beginAgain() {
  weights_ = *live_;
  gradient_.resize(weights_.size());
  optimiser_ = std::make_unique<train::Optimiser>(ops_, head_.parameters(), rulesOf(head_.parameters(), options_.moves),
                                                  options_.optimiser);
  sinceCandidate_ = 0;
}

bool HeadLearner::step() {
  if (replay_.empty()) return false;
  if (!optimiser_) beginAgain();
  const auto number = static_cast<uint64_t>(steps_++);
  const VerifiedText& text = replay_.pick(positionNoise(kPicking, number));
  train::TrainSequence sequence;
  expand(text, head_.shape().fused, norm_, sequence);
  const int64_t room = static_cast<int64_t>(text.token.size()) - text.answer - options_.anchors;
  const auto first =
      static_cast<int64_t>(positionNoise(kPlacing, number) * static_cast<double>(std::max<int64_t>(room, 0)));
  const LabelledBlocks batch = blocksIn(sequence, first, options_.anchors);
  if (batch.blocks.anchors() == 0) return true;
  const train::Labels labels{
      .state = batch.state.data(), .output = target_.output.data(), .width = head_.shape().width};
  std::fill(gradient_.begin(), gradient_.end(), 0.0f);
  head_.train({ops_, weights_.data(), gradient_.data()}, target_, batch.blocks, labels, {}, batch.weight.data());
  skipped_ += optimiser_->step(options_.rate, gradient_.data(), weights_.data()).skipped;
  if (!candidate_ && ++sinceCandidate_ >= options_.stepsPerCandidate) {
    candidate_ = std::make_shared<const Floats>(weights_);
    ++candidateNumber_;
    sinceCandidate_ = judged_ = 0;
  }
  return true;
}

void HeadLearner::promote() {
  if (!candidate_) return;
  previous_ = std::move(live_);
  live_ = std::move(candidate_);
  candidate_ = nullptr;
  patience_ = options_.textsPerCandidate;
}

void HeadLearner::discard(bool harmful) {
  candidate_ = nullptr;
  if (harmful) optimiser_ = nullptr;
}

void HeadLearner::rollBack() {
  if (!previous_) return;
  adopt(std::move(previous_));
}

void HeadLearner::propose(Weights candidate) {
  candidate_ = std::move(candidate);
  ++candidateNumber_;
  judged_ = 0;
  patience_ = options_.textsPerCandidate;
}

void HeadLearner::targetMoved(const Weights& start) {
  replay_.clear();
  previous_ = nullptr;
  if (live_ != start) candidate_ = std::exchange(live_, start);
  if (candidate_) propose(std::move(candidate_));
}

void HeadLearner::adopt(Weights live) {
  live_ = std::move(live);
  candidate_ = previous_ = nullptr;
  optimiser_ = nullptr;
}

}  // namespace foretoken::learn
