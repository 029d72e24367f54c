// A head that learns, what it takes of its target, and a text to learn from: what the numbers are does not matter.
#pragma once
#include <numeric>
#include <vector>

#include "learn/answer_blocks.h"
#include "learn/layer_steps.h"

namespace foretoken::bench {

/// Numbers of no pattern around 0.
inline train::Floats numbers(int64_t count, float spread) {
  train::Floats out(static_cast<size_t>(count));
  uint32_t state = 1;
  for (float& x : out) x = (static_cast<float>((state = state * 1664525u + 1013904223u) >> 8) * 0x1p-23f - 1) * spread;
  return out;
}

class HeadCase {
 public:
  HeadCase(const train::BlockHeadShape& shape, const learn::LayerOptions& options)
      : options_(options), head_(shape), embedding_(static_cast<size_t>(kDifferent * shape.width), 0x3c00) {
    tables_.embedding = embedding_.data();
    tables_.draft.resize(static_cast<size_t>(shape.vocabulary));
    std::iota(tables_.draft.begin(), tables_.draft.end(), 0);
    tables_.place = tables_.draft;
    tables_.output = numbers(shape.vocabulary * shape.width, 0.02f);
    live_ = learn::inParts({numbers(head_.parameters().size(), 0.03f), tables_.draft, {}}, head_.before());
  }

  const learn::LearnedHead& live() const { return live_; }
  /// What steps begin with; it refers to this.
  learn::LayerStart start() { return {head_, tables_, options_, live_}; }
  /// Blocks in the answer at the end of a text.
  train::LabelledBlocks blocks(int64_t tokens, int64_t answer) const {
    const train::BlockHeadShape& shape = head_.shape();
    train::TrainSequence text;
    text.answer = tokens - answer;
    for (int32_t i = 0; i < tokens; ++i) text.token.push_back(i % static_cast<int32_t>(kDifferent));
    for (int64_t l = 0; l < shape.fused; ++l) text.features.push_back(numbers(tokens * shape.width, 1));
    text.state = numbers(tokens * shape.width, 1);
    return learn::blocksInAnswer(shape, text, options_.anchors, 0.5);
  }

 private:
  static constexpr int64_t kDifferent = 64;  ///< tokens; a head has at least as many draft tokens

  const learn::LayerOptions options_;
  train::BlockHead head_;
  const std::vector<uint16_t> embedding_;
  train::TargetTables tables_;
  learn::LearnedHead live_;
};

}  // namespace foretoken::bench
