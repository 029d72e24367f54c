#include "speculate/suffix.h"

#include <algorithm>

namespace foretoken {
namespace {

constexpr int kVoters = 32;       ///< asked at the start of a draft
constexpr int kVotersAgain = 8;   ///< asked where a draft ran out of voters
constexpr int kVotersOfOne = 12;  ///< of them with a match of a single token, per segment
constexpr int kEnough = 6;        ///< with so many voters shorter matches are not asked

/// Longer matches speak louder, in proportion: of the powers tried on greedy answers of a small model, the first was
/// best. Chances are fits through 68,000 nodes drafted along the same answers as recall's; log loss 0.338 and 0.329,
/// where asked again 0.090 and 0.057; by votes alone 0.378 and 0.358, 0.089 and 0.070.
constexpr VoteRules kRules = {.prior = 1.5f,
                              .growth = 1,
                              .most = kSuffixMaxMatch,
                              .fitted = true,
                              .first = {-0.0935f, 0.284f, -1.14f, 1.08f, 1.59f, -0.0324f, 0.0698f, 0.151f, -1.19f,
                                        0.379f, 0, 0, 0, 3.0f, 4.24f, -2.93f, -4.79f, 0.819f},
                              .deeper = {-0.453f, 0.659f, -1.11f, 1.2f, 1.39f, -0.154f, 0.0909f, 0.207f, -0.602f,
                                         0.207f, -0.0708f, 0, 0, 2.79f, 3.96f, -2.23f, -3.54f, 1.63f}};

}  // namespace

void TextSources::lookup(std::span<const int32_t> context, int most, Voters& out) const {
  for (int order = static_cast<int>(kSuffixOrders.size()); order-- > 0 && out.count < std::min(kEnough, most);) {
    const int limit = order == 0 ? kVotersOfOne : most;
    const int before = out.count;
    own->lookup(context, order, limit, out);
    for (Voter& voter : out.room.subspan(before, out.count - before))
      voter.origin = originOf(static_cast<int32_t>(voter.next - own->data()));
    for (const TextSource* source : shared) {
      if (source == nullptr) continue;
      for (const TextSegment* segment : source->segments()) segment->lookup(context, order, limit, out);
    }
  }
}

void TextSources::lookupBehind(std::span<const int32_t> context, std::span<const DraftNode> nodes, int most,
                               Voters& out) const {
  std::array<int32_t, 2 * kSuffixMaxMatch> tail;
  int begin = static_cast<int>(tail.size());
  for (auto i = static_cast<int32_t>(nodes.size()) - 1; i >= 0 && begin > 0; i = nodes[i].parent)
    tail[--begin] = nodes[i].token;
  for (size_t i = context.size(); i-- > 0 && begin > 0;) tail[--begin] = context[i];
  lookup(std::span<const int32_t>(tail).subspan(begin), most, out);
}

SuffixDrafter::SuffixDrafter(const TextSegment* own) : sources_{own}, tree_(kRules) {}

int SuffixDrafter::draft(const DraftInput& input, std::span<DraftNode> out) {
  tree_.clear();
  sources_.promptLength = input.promptLength;
  Voters voters = tree_.room(kVoters);
  sources_.lookup(input.tokens, kVoters, voters);
  tree_.branch(-1, 1, 1, tree_.commit(voters));
  return tree_.grow(input.maxDepth, out, [&](std::span<const DraftNode> nodes) {
    Voters more = tree_.room(kVotersAgain);
    sources_.lookupBehind(input.tokens, nodes, kVotersAgain, more);
    return tree_.commit(more);
  });
}

}  // namespace foretoken
