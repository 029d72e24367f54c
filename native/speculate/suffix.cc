#include "speculate/suffix.h"

#include <algorithm>

namespace foretoken {
namespace {

constexpr int kVoters = 32;       ///< asked at the start of a draft
constexpr int kVotersAgain = 8;   ///< asked where a draft ran out of voters
constexpr int kVotersOfOne = 12;  ///< of them with a match of a single token, per segment
constexpr int kEnough = 6;        ///< with so many voters shorter matches are not asked
constexpr int kRestarts = 16;
constexpr float kRestartFrom = 0.05f;

/// Longer matches speak louder, in proportion: of the powers tried on greedy answers of a small model, the first was
/// best.
constexpr VoteRules kRules = {.prior = 1.5f, .growth = 1, .most = kSuffixMaxMatch};

}  // namespace

SuffixDrafter::SuffixDrafter(const TextSegment* own) : own_(own), tree_(kRules) {}

int SuffixDrafter::draft(const DraftInput& input, std::span<DraftNode> out) {
  tree_.clear();
  tree_.branch(-1, 1, 1, gather(input.tokens, kVoters));
  int restarts = 0;
  return tree_.grow(input.maxDepth, out, [&](std::span<const DraftNode> nodes, const VoteTree::Candidate& from) {
    if (from.survival > kRestartFrom && restarts < kRestarts) restarts += restart(input.tokens, nodes, from);
  });
}

/// Asks all sources, longest matches first.
VoteTree::Range SuffixDrafter::gather(std::span<const int32_t> context, int most) {
  Voters voters = tree_.room(most);
  for (int order = static_cast<int>(kSuffixOrders.size()); order-- > 0 && voters.count < std::min(kEnough, most);) {
    const int limit = order == 0 ? kVotersOfOne : most;
    own_->lookup(context, order, limit, voters);
    for (const TextSource* source : shared_) {
      if (source == nullptr) continue;
      for (const TextSegment* segment : source->segments()) segment->lookup(context, order, limit, voters);
    }
  }
  return tree_.commit(voters);
}

/// The voters of `from` know no further: asks again for the text as it would be with the drafted path. False: nobody
/// knows.
bool SuffixDrafter::restart(std::span<const int32_t> context, std::span<const DraftNode> nodes,
                            const VoteTree::Candidate& from) {
  std::array<int32_t, 2 * kSuffixMaxMatch> tail;
  int begin = static_cast<int>(tail.size());
  for (auto i = static_cast<int32_t>(nodes.size()) - 1; i >= 0 && begin > 0; i = nodes[i].parent)
    tail[--begin] = nodes[i].token;
  for (size_t i = context.size(); i-- > 0 && begin > 0;) tail[--begin] = context[i];
  const VoteTree::Range voters = gather(std::span<const int32_t>(tail).subspan(begin), kVotersAgain);
  tree_.branch(static_cast<int32_t>(nodes.size()) - 1, from.node.depth + 1, from.survival, voters);
  return voters.end > voters.begin;
}

}  // namespace foretoken
