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

/// Drafts for one sequence: from its own prompt and output, then its session's and its tenant's text.
class SuffixDrafter final : public Drafter {
 public:
  /// `own` grows with the sequence: its owner appends.
  explicit SuffixDrafter(const TextSegment* own);
  /// Lets it also draft from what the session and the tenant remember; null = nothing.
  void share(const TextSource* session, const TextSource* tenant) { shared_ = {session, tenant}; }
  DrafterId id() const override { return DrafterId::suffix; }
  int draft(const DraftInput& input, std::span<DraftNode> out) override;

 private:
  VoteTree::Range gather(std::span<const int32_t> context, int most);
  bool restart(std::span<const int32_t> context, std::span<const DraftNode> nodes, const VoteTree::Candidate& from);

  const TextSegment* own_;
  std::array<const TextSource*, 2> shared_{};
  VoteTree tree_;
};

}  // namespace foretoken
