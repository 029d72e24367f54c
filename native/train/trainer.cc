#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "common/error.h"
#include "common/philox.h"
#include "format/safetensors.h"
#include "format/safetensors_writer.h"

namespace foretoken::train {
namespace {

/// Sequences evaluated at once, by their positions.
constexpr int64_t kHeldBackRows = 512;

/// Numbers below count in a random order.
std::vector<int64_t> shuffled(int64_t count, uint64_t seed) {
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = count - 1; i > 0; --i)
    std::swap(order[i], order[static_cast<int64_t>(positionNoise(seed, i) * static_cast<double>(i + 1))]);
  return order;
}

/// Sequences in the order given, as many at a time as have `rows` positions together, at least one.
std::vector<std::vector<int64_t>> grouped(const SequenceSource& source, std::span<const int64_t> order, int64_t rows) {
  std::vector<std::vector<int64_t>> groups;
  int64_t room = 0;
  for (const int64_t index : order) {
    if (groups.empty() || source.length(index) > room) groups.emplace_back(), room = rows;
    groups.back().push_back(index);
    room -= source.length(index);
  }
  return groups;
}

std::vector<std::vector<int64_t>> planOf(const SequenceSource& source, const TrainOptions& options) {
  std::vector<std::vector<int64_t>> plan;
  for (int64_t epoch = 0; epoch < options.epochs; ++epoch) {
    const auto order = shuffled(source.count(), mixedSeed(options.seed, epoch));
    for (auto& group : grouped(source, order, options.rowsPerStep)) plan.push_back(std::move(group));
  }
  if (plan.empty()) throw Error("NOTHING_TO_LEARN", "there are no sequences to train on");
  return plan;
}

uint64_t mixed(uint64_t hash, std::span<const int32_t> tokens) {
  for (const int32_t token : tokens) hash = mixedSeed(hash, static_cast<uint64_t>(token));
  return hash;
}

/// Of all texts.
uint64_t hashOf(const SequenceSource& source) {
  uint64_t hash = 0;
  for (int64_t i = 0; i < source.count(); ++i) {
    const TextToLearn& text = source.text(i);
    for (const int64_t size : {source.length(i), text.answer}) hash = mixedSeed(hash, static_cast<uint64_t>(size));
    hash = mixed(hash, text.token);
  }
  return hash;
}

}  // namespace

Trainer::Trainer(Ops& ops, BlockHead& head, const TargetTables& target, SequenceSource& source,
                 const TrainOptions& options, Floats weights)
    : ops_(ops),
      head_(head),
      target_(target),
      source_(source),
      options_(options),
      plan_(planOf(source, options)),
      schedule_{.peak = options.rate, .warmup = options.warmup, .total = static_cast<int64_t>(plan_.size())},
      weights_(std::move(weights)),
      gradient_(weights_.size()),
      optimiser_(ops, head.parameters(), head.rules(), options.optimiser) {}

/// Anchors are a random share of the positions where one could be.
LabelledBlocks Trainer::blocksOf(std::span<const int64_t> sequences, SequenceSource& source, double share,
                                 uint64_t seed) const {
  const auto isAnchor = [&](size_t n, int32_t i) { return positionNoise(mixedSeed(seed, n), i) < share; };
  return labelledBlocks(head_.shape(), source.read(sequences), isAnchor, options_.slotDecay);
}

TrainReport Trainer::train() {
  if (step_ >= steps()) throw Error("INTERNAL_ERROR", "the run is at its end");
  const LabelledBlocks batch = blocksOf(plan_[step_], source_, options_.anchorShare,
                                        mixedSeed(options_.seed, (uint64_t{1} << 63) + static_cast<uint64_t>(step_)));
  const Labels labels{.state = batch.state.data(), .output = target_.output.data(), .width = head_.shape().width};
  std::fill(gradient_.begin(), gradient_.end(), 0.0f);
  TrainReport report;
  report.step = step_ + 1;
  report.hits.resize(head_.shape().slots);
  std::vector<double> counted(head_.shape().slots);
  if (batch.blocks.anchors() > 0) {
    const LayerPass pass{ops_, weights_.data(), gradient_.data()};
    const auto loss = head_.train(pass, target_, batch.blocks, labels, options_.loss, batch.weight.data());
    for (size_t r = 0; r < loss.size(); ++r) {
      if (batch.weight[r] == 0) continue;
      ++report.tokens;
      report.kl += batch.weight[r] * loss[r].kl;
      report.acceptance += batch.weight[r] * loss[r].acceptance;
      if (batch.truth[r] < 0) continue;
      const size_t slot = r % report.hits.size();
      report.hits[slot] += target_.draft[loss[r].top] == batch.truth[r];
      ++counted[slot];
    }
  }
  for (size_t s = 0; s < counted.size(); ++s) report.hits[s] /= std::max(1.0, counted[s]);
  report.optimiser = optimiser_.step(schedule_.at(step_), gradient_.data(), weights_.data());
  ++step_;
  return report;
}

HeldBack Trainer::evaluate(SequenceSource& source) {
  const int64_t slots = head_.shape().slots;
  std::vector<int64_t> all(source.count());
  std::iota(all.begin(), all.end(), 0);
  double tokens = 0, rounds = 0;
  std::vector<double> reached(slots), right(slots);
  for (const auto& group : grouped(source, all, kHeldBackRows)) {
    const LabelledBlocks batch = blocksOf(group, source, 1, 0);
    if (batch.blocks.anchors() == 0) continue;
    const auto drafted = head_.draft({ops_, weights_.data(), nullptr}, target_, batch.blocks);
    std::vector<int64_t> run(batch.blocks.anchors());  // how many tokens of a block are right
    for (int64_t a = 0; a < batch.blocks.anchors(); ++a)
      for (int64_t s = 0; s < slots && batch.truth[a * slots + s] >= 0 && run[a] == s; ++s) {
        ++reached[s];
        if (drafted[a * slots + s] == batch.truth[a * slots + s]) ++right[s], ++run[a];
      }
    for (size_t n = 0; n < group.size(); ++n)
      for (int64_t a = batch.blocks.firstAnchor[n]; a < batch.blocks.firstAnchor[n + 1]; a += run[a] + 1)
        tokens += static_cast<double>(run[a] + 1), ++rounds;
  }
  HeldBack held{rounds > 0 ? tokens / rounds : 0, right};
  for (int64_t s = 0; s < slots; ++s) held.hits[s] /= std::max(1.0, reached[s]);
  return held;
}

/// What identifies a run: a checkpoint of another one would silently give something else.
std::map<std::string, std::string> Trainer::facts(const HeadBinding& binding) const {
  const TrainOptions& o = options_;
  return {{"format", "foretoken head checkpoint 1"},
          {"model", binding.model},
          {"tokenizer", binding.tokenizer},
          {"data", std::to_string(source_.count()) + " sequences, " + std::to_string(hashOf(source_)) + ", by " +
                       source_.origin()},
          {"draft", std::to_string(target_.draft.size()) + " tokens, " + std::to_string(mixed(0, target_.draft))},
          {"options", std::to_string(o.seed) + " " + std::to_string(o.epochs) + " " + std::to_string(o.rowsPerStep) +
                          " " + exactText(o.anchorShare) + " " + exactText(o.slotDecay) + " " + exactText(o.loss.kl) +
                          " " + exactText(o.loss.rejection) + " " + exactText(o.rate) + " " + std::to_string(o.warmup) +
                          " " + exactText(o.optimiser.beta1) + " " + exactText(o.optimiser.beta2) + " " +
                          exactText(o.optimiser.momentum) + " " + exactText(o.optimiser.decay) + " " +
                          exactText(o.optimiser.clip)}};
}

void Trainer::saveCheckpoint(const std::string& path, const HeadBinding& binding) const {
  requireFinite(head_.parameters(), weights_.data(), path);
  const auto size = static_cast<int64_t>(weights_.size());
  const std::span<const float> moments = optimiser_.moments();
  const TensorToWrite tensors[] = {{"weights", FileType::f32, {size}, weights_.data()},
                                   {"moments", FileType::f32, {2, size}, moments.data()}};
  auto metadata = facts(binding);
  metadata["step"] = std::to_string(step_);
  metadata["optimiser_steps"] = std::to_string(optimiser_.steps());
  writeSafetensors(path, tensors, metadata);
}

void Trainer::loadCheckpoint(const std::string& path, const HeadBinding& binding) {
  const auto file = SafetensorsFile::open(path);
  const auto value = [&](const std::string& key) {
    const auto found = file->metadata().find(key);
    return found == file->metadata().end() ? std::string() : found->second;
  };
  const auto refuse = [&](const std::string& what) {
    throw Error("CHECKPOINT_MISMATCH", path + " belongs to another run: its " + what +
                                           " differ; continue with the same or start in another folder");
  };
  for (const auto& [key, fact] : facts(binding))
    if (value(key) != fact) refuse(key);
  const TensorInfo* weights = file->find("weights");
  const TensorInfo* moments = file->find("moments");
  const auto into = optimiser_.moments();
  if (!weights || weights->bytes != weights_.size() * sizeof(float)) refuse("weights");
  if (!moments || moments->bytes != into.size() * sizeof(float)) refuse("moments");
  const auto countOf = [&](const std::string& key, int64_t most) {
    const auto count = wholeNumber(value(key), 0, most);
    if (!count) refuse("steps");
    return *count;
  };
  const int64_t step = countOf("step", steps()), optimiserSteps = countOf("optimiser_steps", step);
  std::memcpy(weights_.data(), weights->data, weights->bytes);
  std::memcpy(into.data(), moments->data, moments->bytes);
  step_ = step;
  optimiser_.setSteps(optimiserSteps);
}

}  // namespace foretoken::train
