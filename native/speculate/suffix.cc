#include "speculate/suffix.h"

#include <algorithm>
#include <bit>

namespace foretoken {
namespace {

constexpr int32_t kBorder = -1;   ///< never a token
constexpr int kVoters = 32;       ///< asked at the start of a draft
constexpr int kVotersAgain = 8;   ///< asked where a draft ran out of voters
constexpr int kVotersOfOne = 12;  ///< of them with a match of a single token, per segment
constexpr int kEnough = 6;        ///< with so many voters shorter matches are not asked
constexpr int kWalk = 24;         ///< links followed per n-gram length and segment
constexpr int kBranches = 3;      ///< most children of a node
constexpr float kPrior = 1.5f;    ///< weight of "something else"
constexpr float kHopeless = 0.01f;
constexpr float kRestartFrom = 0.05f;

uint32_t mix(uint32_t hash, int32_t token) {
  hash = (hash ^ static_cast<uint32_t>(token)) * 0x9e3779b1u;
  return hash ^ (hash >> 15);
}

/// Longer matches speak louder, in proportion: of the powers tried on greedy answers of a small model, the first was
/// best.
float weightOf(int length) { return static_cast<float>(length); }

}  // namespace

SuffixSegment::SuffixSegment(int32_t capacity)
    : capacity_(capacity), mask_(std::bit_ceil(static_cast<uint32_t>(std::max(capacity, 16))) - 1), tokens_(capacity) {
  for (auto& heads : heads_) heads.resize(mask_ + 1);
  for (auto& links : links_) links.resize(capacity);
}

size_t SuffixSegment::bytesFor(int32_t capacity) {
  const size_t heads = std::bit_ceil(static_cast<uint32_t>(std::max(capacity, 16)));
  return sizeof(int32_t) * (capacity + kSuffixOrders.size() * (capacity + heads));
}

void SuffixSegment::append(int32_t token) {
  if (size_ == capacity_) return;
  tokens_[size_] = token;
  ++documentLength_;
  uint32_t hash = 0;
  int length = 0;
  for (size_t order = 0; order < kSuffixOrders.size() && kSuffixOrders[order] <= documentLength_; ++order) {
    for (; length < kSuffixOrders[order]; ++length) hash = mix(hash, tokens_[size_ - length]);
    int32_t& head = heads_[order][hash & mask_];
    links_[order][size_] = head;
    head = size_ + 1;
  }
  ++size_;
}

void SuffixSegment::endDocument() {
  if (size_ == capacity_ || documentLength_ == 0) return;
  tokens_[size_++] = kBorder;
  documentLength_ = 0;
}

void SuffixSegment::lookup(std::span<const int32_t> context, int order, int limit, SuffixVoters& out) const {
  const int atLeast = kSuffixOrders[order];
  if (static_cast<int>(context.size()) < atLeast || size_ == 0) return;
  const int below = order + 1 < static_cast<int>(kSuffixOrders.size()) ? kSuffixOrders[order + 1] : kSuffixMaxMatch + 1;
  const int32_t* tail = context.data() + context.size() - 1;
  const int longest = std::min<int>(kSuffixMaxMatch, static_cast<int>(context.size()));
  uint32_t hash = 0;
  for (int i = 0; i < atLeast; ++i) hash = mix(hash, tail[-i]);
  int32_t at = heads_[order][hash & mask_];
  for (int step = 0; at > 0 && step < kWalk && limit > 0 && !out.full(); ++step, at = links_[order][at - 1]) {
    const int32_t last = at - 1;  // position where the match ends
    if (at >= size_ || tokens_[at] == kBorder) continue;
    const int reach = std::min<int>(longest, at);
    int length = 0;
    while (length < reach && tokens_[last - length] == tail[-length]) ++length;
    if (length < atLeast || length >= below) continue;
    out.room[out.count++] = {&tokens_[at], tokens_.data() + size_, length};
    --limit;
  }
}

int SuffixDrafter::draft(const DraftInput& input, std::span<DraftNode> out) {
  poolSize_ = candidateCount_ = 0;
  const int voters = gather(input.tokens, kVoters);
  branch(-1, 1, 1, 0, voters);
  int count = 0, restarts = 0;
  while (candidateCount_ > 0 && count < static_cast<int>(out.size())) {
    const Candidate best = popBest();
    out[count] = best.node;
    if (best.node.depth < input.maxDepth) {
      const int before = candidateCount_;
      branch(count, best.node.depth + 1, best.survival, best.begin, best.end);
      if (candidateCount_ == before && best.survival > kRestartFrom && restarts < 16 &&
          restart(input.tokens, out.first(count + 1), best)) {
        ++restarts;
      }
    }
    ++count;
  }
  return count;
}

/// Asks all sources, longest matches first, and appends the voters to the pool; returns how many.
int SuffixDrafter::gather(std::span<const int32_t> context, int most) {
  SuffixVoters voters{std::span(pool_).subspan(poolSize_, std::min<size_t>(most, pool_.size() - poolSize_))};
  for (int order = static_cast<int>(kSuffixOrders.size()); order-- > 0 && voters.count < std::min(kEnough, most);) {
    const int limit = order == 0 ? kVotersOfOne : most;
    own_->lookup(context, order, limit, voters);
    for (const SuffixSource* source : shared_) {
      if (source == nullptr) continue;
      for (const SuffixSegment* segment : source->segments()) segment->lookup(context, order, limit, voters);
    }
  }
  poolSize_ += voters.count;
  return voters.count;
}

/// Counts the votes of pool_[begin, end) and makes the best tokens candidates. Voters are grouped by token in place.
void SuffixDrafter::branch(int32_t parent, int32_t depth, float survival, int32_t begin, int32_t end) {
  float total = kPrior;
  int32_t alive = begin;
  for (int32_t i = begin; i < end; ++i) {
    if (pool_[i].next == pool_[i].end || *pool_[i].next == kBorder) continue;
    total += weightOf(pool_[i].length);
    std::swap(pool_[alive++], pool_[i]);
  }
  struct Group {
    int32_t begin, end;
    float weight;
  };
  std::array<Group, kVoters> groups;
  int groupCount = 0;
  for (int32_t first = begin; first < alive;) {
    const int32_t token = *pool_[first].next;
    int32_t last = first;
    float weight = 0;
    for (int32_t i = first; i < alive; ++i) {
      if (*pool_[i].next != token) continue;
      weight += weightOf(pool_[i].length);
      std::swap(pool_[last++], pool_[i]);
    }
    groups[groupCount++] = {first, last, weight};
    first = last;
  }
  const int branches = std::min(groupCount, kBranches);
  std::partial_sort(groups.begin(), groups.begin() + branches, groups.begin() + groupCount,
                    [](const Group& a, const Group& b) { return a.weight > b.weight; });
  for (int g = 0; g < branches && candidateCount_ < static_cast<int>(candidates_.size()); ++g) {
    const float confidence = groups[g].weight / total;
    if (survival * confidence < kHopeless) break;
    const int32_t token = *pool_[groups[g].begin].next;
    for (int32_t i = groups[g].begin; i < groups[g].end; ++i) {
      ++pool_[i].next;
      pool_[i].length = std::min(pool_[i].length + 1, kSuffixMaxMatch);
    }
    candidates_[candidateCount_++] = {
        {token, parent, depth, confidence}, survival * confidence, groups[g].begin, groups[g].end};
  }
}

/// The voters of `from` know no further: asks again for the text as it would be with the drafted path.
bool SuffixDrafter::restart(std::span<const int32_t> context, std::span<const DraftNode> nodes, const Candidate& from) {
  std::array<int32_t, 2 * kSuffixMaxMatch> tail;
  int begin = static_cast<int>(tail.size());
  for (auto i = static_cast<int32_t>(nodes.size()) - 1; i >= 0 && begin > 0; i = nodes[i].parent)
    tail[--begin] = nodes[i].token;
  for (size_t i = context.size(); i-- > 0 && begin > 0;) tail[--begin] = context[i];
  const int32_t first = poolSize_;
  const int voters = gather(std::span<const int32_t>(tail).subspan(begin), kVotersAgain);
  branch(static_cast<int32_t>(nodes.size()) - 1, from.node.depth + 1, from.survival, first, first + voters);
  return voters > 0;
}

SuffixDrafter::Candidate SuffixDrafter::popBest() {
  int best = 0;
  for (int i = 1; i < candidateCount_; ++i) {
    if (candidates_[i].survival > candidates_[best].survival) best = i;
  }
  const Candidate result = candidates_[best];
  candidates_[best] = candidates_[--candidateCount_];
  return result;
}

}  // namespace foretoken
