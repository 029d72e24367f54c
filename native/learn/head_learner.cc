#include "learn/head_learner.h"

#include <algorithm>
#include <array>
#include <utility>

#include "common/error.h"
#include "common/philox.h"
#include "learn/answer_blocks.h"
#include "learn/cpu_layer_steps.h"

namespace foretoken::learn {
namespace {

using train::Floats;
using train::LabelledBlocks;

constexpr uint64_t kJudging = 1, kPicking = 2, kPickingText = 3, kPlacing = 4;

}  // namespace

HeadLearner::HeadLearner(train::Ops& ops, train::BlockHead& head, const train::TargetTables& target,
                         const OutputNorm& norm, const LearnOptions& options, Weights live, StepTakers takers)
    : ops_(ops),
      head_(head),
      target_(target),
      norm_(norm),
      options_(options),
      takers_(std::move(takers)),
      start_(live),
      live_(std::move(live)),
      replay_(options.slotBytes, options.textBytes),
      patience_(options.textsPerCandidate) {}

/// Before the Markov term, which is therefore not looked at.
train::SlotLogits HeadLearner::logits(const LabelledBlocks& batch, const Floats& layers) {
  return head_.logits({ops_, layers.data(), nullptr}, target_, batch.blocks);
}

/// How many tokens would have been right at each anchor. `given`: by the target's rows.
std::vector<uint8_t> HeadLearner::judge(const LabelledBlocks& batch, const HeadRows& head,
                                        const train::SlotLogits& given) const {
  const int64_t count = head_.shape().slots;
  const DraftRows rows(head, target_);
  train::SlotLogits own;
  const train::SlotLogits& slots = rows.correct(ops_, head_.shape().width, given, own);
  std::vector<uint8_t> right(batch.blocks.anchors());
  std::vector<int32_t> proposed(count);
  for (size_t a = 0; a < right.size(); ++a) {
    const int64_t first = static_cast<int64_t>(a) * count;
    head_.walk(head.markov.data(), slots.logits.data() + first * head_.shape().vocabulary,
               rows.place(batch.blocks.token[first]), proposed.data());
    while (right[a] < count && head.draft[proposed[right[a]]] == batch.truth[first + right[a]]) ++right[a];
  }
  return right;
}

SlotExamples HeadLearner::examples(const LabelledBlocks& batch, const train::SlotLogits& given) const {
  HeadRows learned{{}, rows_->draft(), rows_->delta()};
  train::SlotLogits moved, still;
  const Floats& likely = DraftRows(learned, target_).correct(ops_, head_.shape().width, given, moved).logits;
  learned.delta = {};
  const train::SlotLogits& slots = DraftRows(learned, target_).correct(ops_, head_.shape().width, given, still);
  return slotExamples(ops_, head_, batch, target_, learned.draft, slots, likely);
}

bool HeadLearner::take(VerifiedText text, Foreseen& foreseen) {
  train::TrainSequence sequence;
  if (!expand(text, head_.shape().fused, norm_, sequence)) return ++skipped_, false;
  if (markov_.empty()) beginAgain();
  const double noise = positionNoise(kJudging, static_cast<uint64_t>(texts_++));
  const LabelledBlocks batch = blocksInAnswer(head_.shape(), sequence, options_.scored, noise);
  rows_->count(std::span(text.token).subspan(std::min<size_t>(text.answer, text.token.size())));
  if (batch.blocks.anchors() > 0) {
    const train::SlotLogits common = logits(batch, *live_->layers);
    train::SlotLogits others;
    const auto of = [&](const std::shared_ptr<const Floats>& layers) -> const train::SlotLogits& {
      return layers == live_->layers ? common : others = logits(batch, *layers);
    };
    foreseen.live = judge(batch, *live_->rows, common);
    if (candidate_) {
      foreseen.candidate = judge(batch, *candidate_->rows, of(candidate_->layers));
      foreseen.candidateNumber = candidateNumber_;
    }
    if (previous_) foreseen.previous = judge(batch, *previous_->rows, of(previous_->layers));
    if (options_.layers.rate == 0) text.kept = {};
    replay_.add({std::move(text), examples(batch, of(layersOfRows_))});
    dropCandidateInTime();
  }
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
  markov_ = live_->rows->markov, layersOfRows_ = live_->layers;
  rows_.emplace(ops_, head_, target_, options_.rows, *live_->rows, takers_.rows.get());
  sinceCandidate_ = 0;
}

bool HeadLearner::step() {
  if (replay_.textsWithSlots() == 0) return false;
  if (markov_.empty()) beginAgain();
  const Lesson& lesson = replay_.pick(positionNoise(kPicking, static_cast<uint64_t>(steps_++)));
  skipped_ += takeStep(lesson.slots);
  ++sinceCandidate_;
  makeCandidate();
  return true;
}

/// Rows that find no memory elsewhere go on on the CPU, from where they are.
int64_t HeadLearner::takeStep(const SlotExamples& slots) {
  try {
    return rows_->step(slots, markov_);
  } catch (const Error& error) {
    if (error.code() != "OUT_OF_MEMORY" || !rows_->goToCpu()) throw;
    takers_.onCpu(std::current_exception());
  }
  return rows_->step(slots, markov_);
}

/// Elsewhere, if somebody is there for it, who can with this head and has memory.
std::unique_ptr<LayerSteps> HeadLearner::beginLayers() {
  const LayerStart start{head_, target_, options_.layers, *live_};
  try {
    if (takers_.layers) return takers_.layers(start);
  } catch (const Error& error) {
    if (error.code() != "SHAPE_MISMATCH" && error.code() != "OUT_OF_MEMORY") throw;
    takers_.onCpu(std::current_exception());
  }
  return std::make_unique<CpuLayerSteps>(ops_, start);
}

/// Layers that find no memory elsewhere go on on the CPU, from where they are, with moments that begin anew.
bool HeadLearner::takeStep(const LabelledBlocks& batch) {
  try {
    return layers_->step(batch);
  } catch (const Error& error) {
    if (error.code() != "OUT_OF_MEMORY" || layers_->deviceBytes() == 0) throw;
    takers_.onCpu(std::current_exception());
  }
  const LearnedHead soFar = layers_->learned();
  layers_ = std::make_unique<CpuLayerSteps>(ops_, LayerStart{head_, target_, options_.layers, soFar});
  return layers_->step(batch);
}

bool HeadLearner::stepLayers() {
  if (options_.layers.rate == 0 || replay_.wholeTexts() == 0) return false;
  if (!layers_) layers_ = beginLayers();
  const auto number = static_cast<uint64_t>(layerSteps_++);
  train::TrainSequence text;
  expand(replay_.pickWhole(positionNoise(kPickingText, number)), head_.shape().fused, norm_, text);
  const double place = positionNoise(kPlacing, number);
  const LabelledBlocks batch = blocksInAnswer(head_.shape(), text, options_.layers.anchors, place);
  skipped_ += batch.blocks.anchors() > 0 && !takeStep(batch);
  ++layersSinceCandidate_;
  makeCandidate();
  return true;
}

/// Of the layers first, for they take longer to get there.
void HeadLearner::makeCandidate() {
  if (candidate_) return;
  if (layersSinceCandidate_ >= options_.layers.stepsPerCandidate) {
    layersSinceCandidate_ = 0;
    offer(std::make_shared<const LearnedHead>(layers_->learned()), Origin::layers);
  } else if (sinceCandidate_ >= options_.stepsPerCandidate) {
    sinceCandidate_ = 0;
    rows_->renew(markov_);
    const auto rows = std::make_shared<const HeadRows>(HeadRows{markov_, rows_->draft(), rows_->delta()});
    offer(std::make_shared<const LearnedHead>(LearnedHead{layersOfRows_, rows}), Origin::rows);
  }
}

void HeadLearner::offer(Weights candidate, Origin origin) {
  candidate_ = std::move(candidate), origin_ = origin;
  ++candidateNumber_;
  judged_ = 0;
}

size_t HeadLearner::bytes() const {
  size_t bytes = replay_.bytes() + (layers_ ? layers_->bytes() : 0) + markov_.size() * sizeof(float);
  // Without an allocation: it is asked where memory is lacking, too.
  std::array<const void*, 9> counted{start_->layers.get(), start_->rows.get()};
  size_t count = 2;
  const auto isNew = [&](const void* part) {
    const bool isKnown = std::find(counted.begin(), counted.begin() + count, part) != counted.begin() + count;
    if (!isKnown) counted[count++] = part;
    return !isKnown;
  };
  const auto addLayers = [&](const std::shared_ptr<const Floats>& layers) {
    if (layers && isNew(layers.get())) bytes += layers->size() * sizeof(float);
  };
  addLayers(layersOfRows_);
  for (const Weights& head : {live_, candidate_, previous_}) {
    if (!head) continue;
    addLayers(head->layers);
    if (isNew(head->rows.get())) bytes += head->rows->bytes();
  }
  return bytes;
}

/// What learns goes on from what drafts then, or begins again.
void HeadLearner::promote() {
  if (!candidate_) return;
  if (candidate_->layers == live_->layers) {
    if (layers_) layers_->setRows(candidate_->rows);
  } else if (origin_ != Origin::layers) {
    dropLayers();
  }
  // What slots hold is of the layers before.
  if (origin_ != Origin::rows) markov_ = {}, replay_.dropSlots();
  previous_ = std::move(live_);
  live_ = std::move(candidate_);
  candidate_ = nullptr;
  patience_ = options_.textsPerCandidate;
}

void HeadLearner::discard(bool harmful) {
  candidate_ = nullptr;
  if (!harmful) return;
  if (origin_ == Origin::layers) dropLayers();
  const bool underOthers = layersOfRows_ != live_->layers;  // those that drafted before the target's weights moved
  if (underOthers) replay_.dropSlots();
  if (underOthers || origin_ == Origin::rows) markov_ = {};
}

/// They begin again from those that draft by then.
void HeadLearner::dropLayers() { layers_ = nullptr, layersSinceCandidate_ = 0; }

void HeadLearner::rollBack() {
  if (!previous_) return;
  adopt(std::move(previous_));
}

void HeadLearner::propose(Weights candidate) {
  offer(std::move(candidate), Origin::elsewhere);
  patience_ = options_.textsPerCandidate;
}

void HeadLearner::recover() {
  replay_.clear();
  adopt(live_);
}

void HeadLearner::endLearning() {
  candidate_ = nullptr;
  markov_ = {}, rows_.reset(), layersOfRows_ = nullptr;
  layers_ = nullptr;
  replay_.clear();
}

void HeadLearner::targetMoved(const Weights& start) {
  replay_.clear();
  previous_ = nullptr;
  dropLayers();
  if (live_ != start) candidate_ = std::exchange(live_, start);
  if (candidate_) propose(std::move(candidate_));
}

void HeadLearner::adopt(Weights live) {
  if (live_->layers != live->layers) replay_.dropSlots();
  live_ = std::move(live);
  candidate_ = previous_ = nullptr;
  markov_ = {};
  dropLayers();
}

}  // namespace foretoken::learn
