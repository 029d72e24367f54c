#include "train/head_run.h"

#include "common/error.h"
#include "cpu/topology.h"

namespace foretoken::train {

HeadRun::HeadRun(HeadRunOptions options)
    : target_(options.model, options.weights, options.cacheFolder, options.cpu),
      tables_(target_.tables(std::move(options.draft))),
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
  head_ = std::make_unique<BlockHead>(headShapeFor(target_.config(), static_cast<int64_t>(binding_.fusedLayers.size()),
                                                   static_cast<int64_t>(tables_.draft.size()), options.rank,
                                                   options.slots));
  const float scale = target_.outputScale(options.texts.front().token);
  trainer_ = std::make_unique<Trainer>(ops_, *head_, tables_, *texts_, options.train,
                                       head_->initial(options.train.seed, scale));
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
  train::saveHead(path, *head_, trainer_->weights().data(), tables_.draft, binding_, FileType::bf16);
}

}  // namespace foretoken::train
