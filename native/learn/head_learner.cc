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

train::SlotLogits HeadLearner::logits(const LabelledBlocks& batch, const Floats& weights) {
  return head_.logits({ops_, weights.data(), nullptr}, target_, batch.blocks);
}

/// Whether two heads differ in rows over the draft vocabulary alone, so that one pass gives the logits of both.
bool HeadLearner::sameLayers(const Floats& a, const Floats& b) const {
  return std::equal(a.begin(), a.begin() + head_.before(), b.begin());
}

/// How many tokens would have been right at each anchor. `slots`: by the target's rows.
std::vector<uint8_t> HeadLearner::judge(const LabelledBlocks& batch, const train::HeadNumbers& head,
                                        train::SlotLogits slots) const {
  const int64_t count = head_.shape().slots;
  const DraftRows rows(head, target_);
  rows.correct(ops_, head_.shape().width, slots);
  std::vector<uint8_t> right(batch.blocks.anchors());
  std::vector<int32_t> proposed(count);
  for (size_t a = 0; a < right.size(); ++a) {
    const int64_t first = static_cast<int64_t>(a) * count;
    head_.walk(head.weights.data(), slots.logits.data() + first * head_.shape().vocabulary,
               rows.place(batch.blocks.token[first]), proposed.data());
    while (right[a] < count && head.draft[proposed[right[a]]] == batch.truth[first + right[a]]) ++right[a];
  }
  return right;
}

SlotExamples HeadLearner::examples(const LabelledBlocks& batch, train::SlotLogits slots) const {
  train::HeadNumbers learned{{}, rows_->draft(), rows_->delta()};
  train::SlotLogits moved = slots;
  DraftRows(learned, target_).correct(ops_, head_.shape().width, moved);
  learned.delta = {};
  DraftRows(learned, target_).correct(ops_, head_.shape().width, slots);
  return slotExamples(ops_, head_, batch, target_, learned.draft, slots, moved.logits);
}

bool HeadLearner::take(VerifiedText text, Foreseen& foreseen) {
  train::TrainSequence sequence;
  if (!expand(text, head_.shape().fused, norm_, sequence)) return ++skipped_, false;
  if (weights_.empty()) beginAgain();
  const int64_t room = static_cast<int64_t>(text.token.size()) - text.answer - options_.scored;
  const int64_t first = static_cast<int64_t>(positionNoise(kJudging, static_cast<uint64_t>(texts_)) *
                                             static_cast<double>(std::max<int64_t>(room, 0)));
  const LabelledBlocks batch = blocksIn(sequence, first, options_.scored);
  ++texts_;
  foreseen.slots = head_.shape().slots;
  Lesson lesson;
  if (batch.blocks.anchors() > 0) {
    const train::SlotLogits common = logits(batch, live_->weights);
    const auto of = [&](const Floats& weights) {
      return sameLayers(weights, live_->weights) ? common : logits(batch, weights);
    };
    foreseen.live = judge(batch, *live_, common);
    if (candidate_) {
      foreseen.candidate = judge(batch, *candidate_, of(candidate_->weights));
      foreseen.candidateNumber = candidateNumber_;
    }
    if (previous_) foreseen.previous = judge(batch, *previous_, of(previous_->weights));
    lesson.slots = examples(batch, of(weights_));
  }
  rows_->count(std::span(text.token).subspan(std::min<size_t>(text.answer, text.token.size())));
  if (options_.layers == 0) text.kept = {};
  lesson.text = std::move(text);
  replay_.add(std::move(lesson));
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
  weights_ = live_->weights;
  rows_.emplace(ops_, head_, target_, options_.rows, *live_);
  own_ = nullptr;
  sinceCandidate_ = 0;
  if (options_.layers == 0) return;
  gradient_.resize(weights_.size());
  optimiser_ =
      std::make_unique<train::Optimiser>(ops_, head_.parameters(), layerRules(head_.parameters()), options_.optimiser);
}

bool HeadLearner::step() {
  if (replay_.empty()) return false;
  if (weights_.empty()) beginAgain();
  const auto number = static_cast<uint64_t>(steps_++);
  const Lesson& lesson = replay_.pick(positionNoise(kPicking, number));
  skipped_ += rows_->step(lesson.slots, weights_);
  if (options_.layers > 0) moveLayers(lesson.text, number);
  if (!candidate_ && ++sinceCandidate_ >= options_.stepsPerCandidate) makeCandidate();
  return true;
}

/// By the whole draft vocabulary, without what is added to output rows.
void HeadLearner::moveLayers(const VerifiedText& text, uint64_t number) {
  train::TrainSequence sequence;
  expand(text, head_.shape().fused, norm_, sequence);
  const int64_t room = static_cast<int64_t>(text.token.size()) - text.answer - options_.anchors;
  const auto first =
      static_cast<int64_t>(positionNoise(kPlacing, number) * static_cast<double>(std::max<int64_t>(room, 0)));
  const LabelledBlocks batch = blocksIn(sequence, first, options_.anchors);
  if (batch.blocks.anchors() == 0) return;
  const train::TargetTables& tables = own_ ? *own_ : target_;
  const train::Labels labels{.state = batch.state.data(), .output = tables.output.data(), .width = head_.shape().width};
  std::fill(gradient_.begin(), gradient_.end(), 0.0f);
  head_.train({ops_, weights_.data(), gradient_.data()}, tables, batch.blocks, labels, {}, batch.weight.data());
  skipped_ += optimiser_->step(options_.layers, gradient_.data(), weights_.data()).skipped;
}

void HeadLearner::makeCandidate() {
  if (rows_->renew(weights_) && options_.layers > 0) {
    own_ = std::make_unique<train::TargetTables>(target_);
    own_->draft = rows_->draft();
    own_->place = train::placesOf(own_->draft, static_cast<int64_t>(target_.place.size()));
    own_->output = target_.rowsOf(own_->draft);
  }
  candidate_ = std::make_shared<const train::HeadNumbers>(train::HeadNumbers{weights_, rows_->draft(), rows_->delta()});
  ++candidateNumber_;
  sinceCandidate_ = judged_ = 0;
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
  if (harmful) weights_ = {};
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
  own_ = nullptr;
  if (live_ != start) candidate_ = std::exchange(live_, start);
  if (candidate_) propose(std::move(candidate_));
}

void HeadLearner::adopt(Weights live) {
  live_ = std::move(live);
  candidate_ = previous_ = nullptr;
  weights_ = {};
}

}  // namespace foretoken::learn
