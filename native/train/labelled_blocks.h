// Blocks at anchors in texts, with what the target expected at each slot: what a head learns from and is measured on.
#pragma once
#include <functional>
#include <span>
#include <vector>

#include "train/block_head.h"

namespace foretoken::train {

/// A text and what the target made of it. Everything is by position.
struct TrainSequence {
  std::vector<int32_t> token;
  int32_t first = 0;             ///< position of its first token
  int64_t answer = 0;            ///< where the text begins that the head shall learn to draft
  std::vector<Floats> features;  ///< of each fused layer [tokens, width]
  Floats state;                  ///< what the target's output layer sees [tokens, width]
};

/// Blocks, and what comes at each slot.
struct LabelledBlocks {
  BlockBatch blocks;
  Floats state, weight;        ///< of each slot; weights sum to 1
  std::vector<int32_t> truth;  ///< the token that came, -1 beyond the sequence's end
};

/// Whether a block begins at position i of sequence n; asked only where one could: where the next token is the answer's
/// and has one after it.
using IsAnchor = std::function<bool(size_t n, int32_t i)>;

/// slotDecay: weight of a slot relative to the one before.
LabelledBlocks labelledBlocks(const BlockHeadShape&, std::span<const TrainSequence>, const IsAnchor&, float slotDecay);

/// One seed out of two numbers.
uint64_t mixedSeed(uint64_t seed, uint64_t number);

}  // namespace foretoken::train
