#include "speculate/prediction.h"

#include <algorithm>

namespace foretoken {
namespace {
constexpr size_t kShortestMatch = 2;  ///< tokens that must match to align again
constexpr size_t kLongestMatch = 32;  ///< matches are compared up to here
constexpr int kProof = 2;             ///< tokens that an alignment must predict to move the anchor
constexpr int kLongestRun = 64;
}  // namespace

PredictionDrafter::PredictionDrafter(std::span<const int32_t> prediction)
    : prediction_(prediction.begin(), prediction.end()) {}

int PredictionDrafter::draft(const DraftInput& input, std::span<DraftNode> out) {
  const auto output = input.tokens.subspan(input.promptLength);
  follow(output);
  if (!aligned_ && !synchronise(output)) return 0;
  int count = 0;
  const int most = std::min<int>(input.maxDepth, static_cast<int>(out.size()));
  for (; count < most && pointer_ + count < prediction_.size(); ++count) {
    const float run = static_cast<float>(agreed_ + count);
    out[count] = {prediction_[pointer_ + count], count - 1, count + 1, run / (run + 1)};
  }
  return count;
}

/// Compares what came since the last call with what was predicted.
void PredictionDrafter::follow(std::span<const int32_t> output) {
  for (; seen_ < output.size(); ++seen_) {
    if (!aligned_) continue;
    if (pointer_ < prediction_.size() && prediction_[pointer_] == output[seen_]) {
      ++pointer_;
      agreed_ = std::min(agreed_ + 1, kLongestRun);
      right_ = std::min(right_ + 1, kProof);
      if (right_ == kProof) anchor_ = pointer_;
    } else {
      aligned_ = false;
    }
  }
}

/// Longest match wins; among equals the nearest ahead of the anchor, then the nearest behind it. Every place is looked
/// at: in a text of like lines the nearest may be any of them.
bool PredictionDrafter::synchronise(std::span<const int32_t> output) {
  const size_t longest = std::min(kLongestMatch, output.size());
  size_t best = 0, length = kShortestMatch - 1;
  const auto isSame = [&](size_t place, size_t back) {
    return prediction_[place - 1 - back] == output[output.size() - 1 - back];
  };
  const auto consider = [&](size_t place) {
    const size_t most = std::min(longest, place);
    if (most <= length || !isSame(place, length)) return;  // cannot be longer
    size_t match = 0;
    while (match < most && isSame(place, match)) ++match;
    if (match > length) best = place, length = match;
  };
  for (size_t place = anchor_; place < prediction_.size() && length < longest; ++place) consider(place);
  for (size_t place = anchor_; place-- > kShortestMatch && length < longest;) consider(place);
  if (length < kShortestMatch) return false;
  pointer_ = best;
  right_ = 0;
  agreed_ = static_cast<int>(length);
  aligned_ = true;
  return true;
}

}  // namespace foretoken
