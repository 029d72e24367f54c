// The `suffix` drafter: where did the text go on, the last times it looked like this?
//
// It asks from the longest n-gram to the shortest and lets the most recent matches vote, longer ones louder.
//
// Relatives: prompt lookup decoding; SuffixDecoding (arXiv 2411.04975), whose suffix tree this replaces by hash chains
// because they are bounded, cheap to fill and cheap to throw away.
#pragma once
#include <array>
#include <cstdint>
#include <span>

#include "speculate/drafter.h"
#include "speculate/segment.h"
#include "speculate/votes.h"

namespace foretoken {

/// Where a sequence's drafters look: its own text, then what its session and its tenant remember, then the static
/// memory.
struct TextSources {
  const TextSegment* own;  ///< grows with the sequence: its owner appends
  std::array<const TextSource*, 3> shared{};
  int32_t promptLength = 0;  ///< tokens of `own` that are the request's prompt

  /// Whose text a place of `own` is in.
  Origin originOf(int32_t place) const { return place < promptLength ? Origin::prompt : Origin::answer; }
  /// Adds voters that go on where `context` ends, longest matches first, weighed by the length of their match.
  void lookup(std::span<const int32_t> context, int most, Voters& out) const;
  /// The same with the context as it would be if the path to the last of `nodes` came true.
  void lookupBehind(std::span<const int32_t> context, std::span<const DraftNode> nodes, int most, Voters& out) const;
};

/// Drafts for one sequence from all its sources.
class SuffixDrafter final : public Drafter {
 public:
  explicit SuffixDrafter(const TextSegment* own);
  /// Lets it also draft from what the session and the tenant remember and from the static memory; null = nothing.
  void share(const TextSource* session, const TextSource* tenant, const TextSource* common = nullptr) {
    sources_.shared = {session, tenant, common};
  }
  DrafterId id() const override { return DrafterId::suffix; }
  int draft(const DraftInput& input, std::span<DraftNode> out) override;

 private:
  TextSources sources_;
  VoteTree tree_;
};

}  // namespace foretoken
