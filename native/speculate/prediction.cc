#include "speculate/prediction.h"

#include <algorithm>

namespace foretoken {
namespace {
constexpr int kShortestAnchor = 2;  ///< tokens that must match to align again
constexpr int kLongestRun = 64;
}  // namespace

PredictionDrafter::PredictionDrafter(std::span<const int32_t> prediction)
    : prediction_(prediction.begin(), prediction.end()), index_(static_cast<int32_t>(prediction.size())), voters_(64) {
  for (const int32_t token : prediction) index_.append(token);
}

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
    } else {
      aligned_ = false;
    }
  }
}

/// Longest match wins; among equals the nearest ahead of the pointer.
bool PredictionDrafter::synchronise(std::span<const int32_t> output) {
  Voters voters{voters_};
  for (int order = static_cast<int>(kSuffixOrders.size()); order-- > 0 && voters.count == 0;) {
    if (kSuffixOrders[order] < kShortestAnchor) break;
    index_.lookup(output, order, static_cast<int>(voters_.size()), voters);
  }
  size_t best = 0;
  float length = 0;
  const auto distance = [&](size_t place) {
    return place >= pointer_ ? place - pointer_ : prediction_.size() + pointer_ - place;
  };
  for (int i = 0; i < voters.count; ++i) {
    const auto place = static_cast<size_t>(voters.room[i].next - index_.data());
    if (voters.room[i].weight < length) continue;
    if (voters.room[i].weight == length && distance(place) >= distance(best)) continue;
    best = place;
    length = voters.room[i].weight;
  }
  if (length == 0) return false;
  pointer_ = best;
  agreed_ = static_cast<int>(length);
  aligned_ = true;
  return true;
}

}  // namespace foretoken
