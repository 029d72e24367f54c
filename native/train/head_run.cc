#include "train/head_run.h"

#include "common/error.h"
#include "cpu/topology.h"
#include "train/head_fit.h"

namespace foretoken::train {

HeadRun::HeadRun(HeadRunOptions options)
    : target_(options.model, options.weights, options.cacheFolder, options.cpu),
      binding_{target_.model().sourceHash(), options.tokenizer, defaultFusedLayers(target_.config())},
      threads_(options.cpu.threads > 0 ? options.cpu.threads : defaultThreads()),
      ops_(threads_, selectIsa(options.cpu.isa)) {
  const auto count = static_cast<int64_t>(options.texts.size());
  if (options.heldBack < 0 || options.heldBack >= count)
    throw Error("NOTHING_TO_LEARN", std::to_string(count) + " texts, " + std::to_string(options.heldBack) +
                                        " of them held back, leave none to train on");
  const auto split = options.texts.end() - options.heldBack;
  texts_ = std::make_unique<TargetText>(target_, std::vector(options.texts.begin(), split), binding_.fusedLayers);
  heldBack_ = std::make_unique<TargetText>(target_, std::vector(split, options.texts.end()), binding_.fusedLayers);
  Floats weights = start(options);
  trainer_ = std::make_unique<Trainer>(ops_, *head_, tables_, *texts_, options.train, std::move(weights));
}

/// Makes the head, and returns the weights that it begins with.
Floats HeadRun::start(HeadRunOptions& options) {
  if (!options.from.empty()) {
    LoadedHead loaded = loadHead(options.from, binding_);
    requireFit(loaded.shape, binding_.fusedLayers, loaded.draft, target_.config());
    if (!loaded.delta.place.empty())
      throw Error("HEAD_LEARNED", options.from +
                                      " has learned while serving, and corrects output rows of its target, " +
                                      "which training would not go on with: go on from the head that it began with");
    tables_ = target_.tables(std::move(loaded.draft));
    head_ = std::make_unique<BlockHead>(loaded.shape);
    return std::move(loaded.weights);
  }
  tables_ = target_.tables(std::move(options.draft));
  const auto fused = static_cast<int64_t>(binding_.fusedLayers.size());
  const auto vocabulary = static_cast<int64_t>(tables_.draft.size());
  head_ = std::make_unique<BlockHead>(headShapeFor(target_.config(), fused, vocabulary, options.rank, options.slots));
  return head_->initial(options.train.seed, target_.outputScale(options.texts.front().token));
}

TrainReport HeadRun::train() {
  const std::lock_guard lock(mutex_);
  return trainer_->train();
}

HeldBack HeadRun::evaluate() {
  const std::lock_guard lock(mutex_);
  return trainer_->evaluate(*heldBack_);
}

void HeadRun::saveCheckpoint(const std::string& path) {
  const std::lock_guard lock(mutex_);
  trainer_->saveCheckpoint(path, binding_);
}

int64_t HeadRun::loadCheckpoint(const std::string& path) {
  const std::lock_guard lock(mutex_);
  trainer_->loadCheckpoint(path, binding_);
  return trainer_->step();
}

void HeadRun::saveHead(const std::string& path) {
  const std::lock_guard lock(mutex_);
  train::saveHead(path, *head_, {trainer_->weights(), tables_.draft, {}}, binding_, FileType::e4m3);
}

}  // namespace foretoken::train
