// Everything that training a head for a target takes, from its file to the head's: what the addon hands to JavaScript.
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "train/target_text.h"

namespace foretoken::train {

struct HeadRunOptions {
  std::string model;  ///< path of the target
  std::string weights = "auto", cacheFolder;
  std::string tokenizer;  ///< hash that the head is bound to
  CpuOptions cpu;
  std::vector<TextToLearn> texts;
  int64_t heldBack = 0;        ///< so many of the last texts are for evaluation alone
  std::vector<int32_t> draft;  ///< draft vocabulary, ascending; a multiple of 16
  int64_t rank = 32, slots = 4;
  std::string from;  ///< path of a head to go on from, whose vocabulary and shape count then; empty = a new one.
                     ///< Throws HEAD_LEARNED where it corrects output rows, as those do that learn while serving
  TrainOptions train;
};

/// Calls wait for one another; a path names a file.
class HeadRun {
 public:
  explicit HeadRun(HeadRunOptions options);

  int64_t steps() const { return trainer_->steps(); }
  int64_t parameters() const { return head_->parameters().size(); }
  std::string sourceHash() const { return binding_.model; }

  TrainReport train();
  HeldBack evaluate();
  void saveCheckpoint(const std::string& path);
  /// Returns the steps that the checkpoint had taken.
  int64_t loadCheckpoint(const std::string& path);
  /// The head as it is now, in fp8.
  void saveHead(const std::string& path);

 private:
  Floats start(HeadRunOptions&);

  std::mutex mutex_;
  TrainTarget target_;
  TargetTables tables_;
  HeadBinding binding_;
  std::unique_ptr<TargetText> texts_, heldBack_;
  std::unique_ptr<BlockHead> head_;
  ThreadPool threads_;
  Ops ops_;
  std::unique_ptr<Trainer> trainer_;
};

}  // namespace foretoken::train
