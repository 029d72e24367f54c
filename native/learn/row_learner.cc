#include "learn/row_learner.h"

#include <algorithm>
#include <cmath>

#include "quant/float_codecs.h"

namespace foretoken::learn {
namespace {

using train::Floats;

/// Output rows that may be moved.
constexpr int64_t kMostMoved = 2048;
/// Tokens that get a row at a time.
constexpr size_t kMostRenewed = 256;
/// Uses of all tokens after which they count half.
constexpr uint32_t kMemory = 1 << 15;

}  // namespace

RowLearner::RowLearner(train::Ops& ops, const train::BlockHead& head, const train::TargetTables& target,
                       const RowOptions& options, const HeadRows& start, RowSteps* steps)
    : ops_(ops),
      target_(target),
      options_(options),
      steps_(steps),
      width_(head.shape().width),
      rank_(head.shape().rank),
      after_(head.after()),
      draft_(start.draft),
      place_(train::placesOf(start.draft, static_cast<int64_t>(target.place.size()))),
      delta_(start.delta.row),
      deltaAt_(draft_.size(), -1),
      used_(place_.size()),
      state_(width_),
      gradient_(rank_),
      velocity_(std::max(width_, rank_)) {
  for (size_t i = 0; i < start.delta.place.size(); ++i) deltaAt_[start.delta.place[i]] = static_cast<int64_t>(i);
}

int64_t RowLearner::step(const SlotExamples& slots, Floats& markov) {
  if (steps_) return stepElsewhere(slots, markov);
  int64_t skipped = 0;
  for (int64_t s = 0; s < slots.slots(); ++s) skipped += !stepSlot(slots, s, markov);
  return skipped;
}

/// What can be drafted of what a slot lists, with its logits.
void RowLearner::list(const SlotExamples& slots, int64_t slot, const float* before, const float* after) {
  for (int64_t i = 0; i < width_; ++i) state_[i] = bf16ToFloat(slots.state[slot * width_ + i]);
  listed_.clear();
  for (int64_t i = slot * SlotExamples::kListed; i < (slot + 1) * SlotExamples::kListed; ++i) {
    const int32_t place = slots.listed[i] < 0 ? -1 : place_[slots.listed[i]];
    if (place < 0 || place == static_cast<int32_t>(draft_.size())) continue;
    float logit = slots.logit[i];
    if (const float* const delta = deltaOf(place)) logit += ops_.kernels().dot(delta, state_.data(), width_);
    for (int64_t r = 0; r < rank_; ++r) logit += after[place * rank_ + r] * before[r];
    listed_.push_back({place, logit, 0});
  }
}

/// False where something is not finite: nothing has moved then.
bool RowLearner::stepSlot(const SlotExamples& slots, int64_t slot, Floats& markov) {
  const int32_t truth = place_[slots.truth[slot]];
  float* const before = markov.data() + place_[slots.previous[slot]] * rank_;
  float* const after = markov.data() + after_;
  if (truth == static_cast<int32_t>(draft_.size())) return true;
  list(slots, slot, before, after);
  const auto isTruth = [&](const Listed& each) { return each.place == truth; };
  if (std::none_of(listed_.begin(), listed_.end(), isTruth)) return true;
  float most = slots.rest[slot];
  for (const Listed& each : listed_) most = std::max(most, each.logit);
  float sum = std::exp(slots.rest[slot] - most);
  for (Listed& each : listed_) sum += each.gradient = std::exp(each.logit - most);
  double ofLogits = 0, ofBefore = 0, length = 0;
  std::fill(gradient_.begin(), gradient_.end(), 0.0f);
  for (Listed& each : listed_) {
    each.gradient = formula::truthGradient(each.gradient / sum, isTruth(each), slots.weight[slot]);
    ofLogits += static_cast<double>(each.gradient) * each.gradient;
    for (int64_t r = 0; r < rank_; ++r) gradient_[r] += each.gradient * after[each.place * rank_ + r];
  }
  for (int64_t r = 0; r < rank_; ++r) {
    ofBefore += static_cast<double>(gradient_[r]) * gradient_[r];
    length += static_cast<double>(before[r]) * before[r];
  }
  const double norm = std::sqrt(ofBefore + ofLogits * length);
  if (!std::isfinite(norm)) return false;
  if (options_.output > 0) moveOutput(truth);
  if (options_.markov > 0)
    moveMarkov(before, after, static_cast<float>(formula::clipScale(norm, double{options_.clip})));
  return true;
}

/// The slots that teach something: what came can be drafted and is listed.
RowSlots RowLearner::slotsByRow(const SlotExamples& slots, Gathered& before, Gathered& rows) const {
  static_assert(SlotExamples::kListed <= kMostEntries);
  const auto none = static_cast<int32_t>(draft_.size());
  RowSlots out;
  for (int64_t s = 0; s < slots.slots(); ++s) {
    const int32_t* const listed = slots.listed.data() + s * SlotExamples::kListed;
    const auto placeOf = [&](int64_t i) { return listed[i] < 0 ? none : place_[listed[i]]; };
    const int32_t truth = place_[slots.truth[s]];
    int32_t entries = 0, came = -1;
    for (int64_t i = 0; i < SlotExamples::kListed; ++i) {
      if (placeOf(i) != none && placeOf(i) == truth) came = entries;
      entries += placeOf(i) != none;
    }
    if (came < 0) continue;
    for (int64_t i = 0; i < SlotExamples::kListed; ++i) {
      if (placeOf(i) == none) continue;
      out.row.push_back(rows.of(placeOf(i)));
      out.logit.push_back(slots.logit[s * SlotExamples::kListed + i]);
    }
    out.first.push_back(static_cast<int32_t>(out.row.size()));
    out.before.push_back(before.of(place_[slots.previous[s]]));
    out.truth.push_back(came);
    out.rest.push_back(slots.rest[s]), out.weight.push_back(slots.weight[s]);
    out.state.insert(out.state.end(), slots.state.begin() + s * width_, slots.state.begin() + (s + 1) * width_);
  }
  return out;
}

MovedRows RowLearner::gather(const Gathered& before, const Gathered& rows, const Floats& markov) {
  MovedRows out{width_, rank_, {}, {}, Floats(rows.place.size() * width_), {}, 0};
  out.room = static_cast<int32_t>(kMostMoved - static_cast<int64_t>(delta_.size()) / width_);
  const auto append = [&](Floats& to, int64_t at) {
    to.insert(to.end(), markov.begin() + at, markov.begin() + at + rank_);
  };
  for (const int32_t place : before.place) append(out.before, place * rank_);
  for (size_t i = 0; i < rows.place.size(); ++i) {
    append(out.after, after_ + rows.place[i] * rank_);
    const float* const delta = deltaOf(rows.place[i]);
    out.isMoved.push_back(delta != nullptr);
    if (delta) std::copy_n(delta, width_, out.delta.begin() + static_cast<int64_t>(i) * width_);
  }
  return out;
}

void RowLearner::scatter(const MovedRows& moved, const Gathered& before, const Gathered& rows, Floats& markov) {
  const auto replace = [&](const Floats& from, size_t i, int64_t at) {
    std::copy_n(from.begin() + static_cast<int64_t>(i) * rank_, rank_, markov.begin() + at);
  };
  for (size_t i = 0; i < before.place.size(); ++i) replace(moved.before, i, before.place[i] * rank_);
  for (size_t i = 0; i < rows.place.size(); ++i) {
    const int32_t place = rows.place[i];
    replace(moved.after, i, after_ + place * rank_);
    if (!moved.isMoved[i]) continue;
    std::copy_n(moved.delta.begin() + static_cast<int64_t>(i) * width_, width_, deltaFor(place));
  }
}

int64_t RowLearner::stepElsewhere(const SlotExamples& slots, Floats& markov) {
  Gathered before(draft_.size() + 1), rows(draft_.size());
  const RowSlots byRow = slotsByRow(slots, before, rows);
  MovedRows moved = gather(before, rows, markov);
  const int64_t skipped = steps_->step(byRow, moved, options_);
  scatter(moved, before, rows, markov);
  return skipped;
}

/// The row that is added to this output row, 0 if it is new.
float* RowLearner::deltaFor(int32_t place) {
  if (deltaAt_[place] < 0) {
    deltaAt_[place] = static_cast<int64_t>(delta_.size()) / width_;
    delta_.resize(delta_.size() + width_);
  }
  return deltaOf(place);
}

void RowLearner::moveMarkov(float* before, float* after, float scale) {
  const formula::Momentum step{.rate = options_.markov, .momentum = 0, .decay = 0};
  for (const Listed& each : listed_)
    ops_.kernels().sgd(step, scale * each.gradient, before, rank_, after + each.place * rank_, velocity_.data());
  ops_.kernels().sgd(step, scale, gradient_.data(), rank_, before, velocity_.data());
}

void RowLearner::moveOutput(int32_t truth) {
  const float squares = ops_.kernels().dot(state_.data(), state_.data(), width_);
  if (!(squares > 0)) return;
  const formula::Momentum step{.rate = options_.output / squares, .momentum = 0, .decay = 0};
  for (const Listed& each : listed_) {
    const bool hasRoom = static_cast<int64_t>(delta_.size()) < kMostMoved * width_;
    if (!deltaOf(each.place) && !(hasRoom && formula::isWorthARow(each.gradient, each.place == truth))) continue;
    ops_.kernels().sgd(step, each.gradient, state_.data(), width_, deltaFor(each.place), velocity_.data());
  }
}

void RowLearner::count(std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) ++used_[token];
  uint64_t all = 0;
  for (const uint32_t each : used_) all += each;
  if (all < kMemory) return;
  for (uint32_t& each : used_) each /= 2;
}

bool RowLearner::renew(Floats& markov) {
  const auto none = static_cast<int32_t>(draft_.size());
  std::vector<int32_t> wanted, free;
  for (int32_t token = 0; token < static_cast<int32_t>(used_.size()); ++token)
    if (place_[token] == none && used_[token] >= options_.often) wanted.push_back(token);
  std::stable_sort(wanted.begin(), wanted.end(), [&](int32_t a, int32_t b) { return used_[a] > used_[b]; });
  wanted.resize(std::min(wanted.size(), kMostRenewed));
  // Tokens of high numbers are the rarest anywhere.
  for (int32_t token = static_cast<int32_t>(used_.size()) - 1; token >= 0 && free.size() < wanted.size(); --token)
    if (place_[token] != none && used_[token] == 0) free.push_back(place_[token]);
  for (size_t i = 0; i < free.size(); ++i) {
    const int32_t place = free[i];
    place_[draft_[place]] = none;
    place_[wanted[i]] = place;
    draft_[place] = wanted[i];
    if (float* const delta = deltaOf(place)) std::fill_n(delta, width_, 0.0f);
    std::copy_n(markov.begin() + none * rank_, rank_, markov.begin() + place * rank_);
    std::fill_n(markov.begin() + after_ + place * rank_, rank_, 0.0f);
  }
  return !free.empty();
}

train::OutputDelta RowLearner::delta() const {
  train::OutputDelta out;
  for (int32_t place = 0; place < static_cast<int32_t>(draft_.size()); ++place) {
    if (deltaAt_[place] < 0) continue;
    const auto row = delta_.begin() + deltaAt_[place] * width_;
    out.place.push_back(place);
    out.row.insert(out.row.end(), row, row + width_);
  }
  return out;
}

}  // namespace foretoken::learn
