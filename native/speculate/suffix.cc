#include "speculate/suffix.h"

#include <algorithm>

namespace foretoken {
namespace {

constexpr int kVoters = 32;       ///< asked at the start of a draft
constexpr int kVotersAgain = 8;   ///< asked where a draft ran out of voters
constexpr int kVotersOfOne = 12;  ///< of them with a match of a single token, per segment
constexpr int kEnough = 6;        ///< with so many voters shorter matches are not asked

/// Longer matches speak louder, in proportion: of the powers tried on greedy answers of a small model, the first was
/// best. Chances are fits through nodes drafted along the same answers as recall's.
constexpr VoteRules kRules = {
    .prior = 1.5f,
    .growth = 1,
    .most = kSuffixMaxMatch,
    .fitted = true,
    .first = {-1.3f, -0.077f, -1.21f, 0.877f, 2.55f, 0.059f, 0.173f, 0.022f, -0.168f, 0.073f, 0},
    .deeper = {-1.7f, 0.272f, -1.26f, 1.24f, 2.35f, -0.22f, 0.224f, 0.386f, 0.271f, -0.077f, -0.076f}};

}  // namespace

void TextSources::lookup(std::span<const int32_t> context, int most, Voters& out) const {
  for (int order = static_cast<int>(kSuffixOrders.size()); order-- > 0 && out.count < std::min(kEnough, most);) {
    const int limit = order == 0 ? kVotersOfOne : most;
    own->lookup(context, order, limit, out);
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
