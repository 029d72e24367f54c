#include "learn/answer_blocks.h"

#include <algorithm>

namespace foretoken::learn {
namespace {

/// Weight of a slot relative to the one before, as in training.
constexpr float kSlotDecay = 0.8f;

}  // namespace

train::LabelledBlocks blocksInAnswer(const train::BlockHeadShape& shape, const train::TrainSequence& text,
                                     int64_t count, double noise) {
  const int64_t room = std::max<int64_t>(static_cast<int64_t>(text.token.size()) - text.answer - count, 0);
  const int64_t begin = std::max<int64_t>(text.answer - 1, 0) + static_cast<int64_t>(noise * static_cast<double>(room));
  const auto isAnchor = [&](size_t, int32_t i) { return i >= begin && i < begin + count; };
  return train::labelledBlocks(shape, {&text, 1}, isAnchor, kSlotDecay);
}

}  // namespace foretoken::learn
