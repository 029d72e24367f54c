#include "speculate/recall.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace foretoken {
namespace {

constexpr float kSharpness = 30;  ///< a voter's weight is exp(kSharpness * (its cosine - the best one))
constexpr int kBatch = 64;        ///< keys that are fetched together
constexpr float kOne = 127.0f * 127.0f;

constexpr VoteRules kRules = {.prior = 0.05f, .growth = 0, .most = 1};

}  // namespace

int Neighbours::search(const TextSegment& segment, int32_t token, const int8_t* query, int scan) {
  static const DotKeys dotKeys = dotKeysPaths().front();
  std::array<int32_t, kBatch> places, dots;
  std::array<const int8_t*, kBatch> keys;
  const int32_t* text = segment.data();
  int looked = 0;
  for (int32_t place = segment.latest(token); place >= 0 && looked < scan;) {
    int batch = 0;
    for (; place >= 0 && batch < kBatch && looked < scan; place = segment.before(place), ++looked) {
      if (place == 0 || place + 1 >= segment.size() || text[place] != token) continue;
      keys[batch] = segment.key(place - 1);
      __builtin_prefetch(keys[batch]);
      places[batch++] = place;
    }
    dotKeys(query, keys.data(), batch, dots.data());
    for (int i = 0; i < batch; ++i) offer({&segment, places[i], dots[i]});
  }
  return looked;
}

void Neighbours::offer(const Neighbour& neighbour) {
  if (neighbour.dot <= 0) return;
  const bool full = count_ == kRecallVoters;
  if (full && neighbour.dot <= nearest_[count_ - 1].dot) return;
  if (isRepeated(neighbour)) return;
  int at = full ? count_ - 1 : count_++;
  for (; at > 0 && nearest_[at - 1].dot < neighbour.dot; --at) nearest_[at] = nearest_[at - 1];
  nearest_[at] = neighbour;
}

/// The same text is often known twice, to the session and to the tenant: it votes once.
bool Neighbours::isRepeated(const Neighbour& neighbour) const {
  const int8_t* key = neighbour.segment->key(neighbour.place - 1);
  const int32_t* next = neighbour.segment->data() + neighbour.place + 1;
  for (const Neighbour& other : nearest()) {
    if (other.dot != neighbour.dot) continue;
    if (other.segment->data()[other.place + 1] != *next) continue;
    if (std::memcmp(other.segment->key(other.place - 1), key, kKeyWidth) == 0) return true;
  }
  return false;
}

RecallDrafter::RecallDrafter(const TextSegment* own) : own_(own), tree_(kRules) {}

int RecallDrafter::draft(const DraftInput& input, std::span<DraftNode> out) {
  const auto last = static_cast<int32_t>(input.tokens.size()) - 1;
  if (last < 1 || !own_->hasKeys()) return 0;
  search(input.tokens[last], own_->key(last - 1));
  const auto nearest = neighbours_.nearest();
  if (nearest.empty()) return 0;
  tree_.clear();
  Voters voters = tree_.room(kRecallVoters);
  const float best = static_cast<float>(nearest[0].dot) / kOne;
  for (const Neighbour& n : nearest) {
    const int32_t* text = n.segment->data();
    const float cosine = static_cast<float>(n.dot) / kOne;
    voters.room[voters.count++] = {text + n.place + 1, text + n.segment->size(),
                                   std::exp(kSharpness * (cosine - best))};
  }
  tree_.branch(-1, 1, 1, tree_.commit(voters), std::min(best, 1.0f));
  return tree_.grow(input.maxDepth, out, [](auto&&, auto&&) {});
}

void RecallDrafter::search(int32_t token, const int8_t* query) {
  neighbours_.clear();
  int left = kRecallScan - neighbours_.search(*own_, token, query, kRecallScan);
  for (const TextSource* source : shared_) {
    if (source == nullptr) continue;
    for (const TextSegment* segment : source->segments()) {
      if (segment->hasKeys()) left -= neighbours_.search(*segment, token, query, left);
    }
  }
}

}  // namespace foretoken
