// The `suffix` drafter: where did the text go on, the last times it looked like this?
//
// A SuffixSegment is an append-only, bounded text with hash chains over its n-grams of a few lengths (as in LZ77
// compressors: head[hash] = latest position, link[position] = the one before with the same hash). Lookups go from the
// longest n-gram to the shortest, compare the stored tokens (a hash collision finds nothing), extend each match
// backwards, and let the most recent matches vote. Oldest text is forgotten by the segment (see library.h).
//
// Relatives: prompt lookup decoding; SuffixDecoding (arXiv 2411.04975), whose suffix tree this replaces by hash chains
// because they are bounded, cheap to fill and cheap to throw away.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "speculate/drafter.h"

namespace foretoken {

/// Lengths of the n-grams that are indexed.
constexpr std::array<int, 5> kSuffixOrders = {1, 2, 3, 5, 8};
/// Matches are compared backwards up to this many tokens.
constexpr int kSuffixMaxMatch = 32;

/// One earlier place that ended like the context does.
struct SuffixVoter {
  const int32_t* next;  ///< the token it saw next
  const int32_t* end;   ///< end of the text known there
  int32_t length;       ///< tokens that matched, 1..kSuffixMaxMatch
};

/// Voters are collected here, over several segments; nothing is added beyond the span.
struct SuffixVoters {
  std::span<SuffixVoter> room;
  int count = 0;
  bool full() const { return count == static_cast<int>(room.size()); }
};

class SuffixSegment {
 public:
  explicit SuffixSegment(int32_t capacity);
  static size_t bytesFor(int32_t capacity);

  /// Appends a token. Beyond the capacity nothing is stored.
  void append(int32_t token);
  /// Marks a border that no match crosses: the end of a document.
  void endDocument();
  int32_t room() const { return capacity_ - size_; }
  int32_t size() const { return size_; }
  /// The stored text; voters point into it.
  const int32_t* data() const { return tokens_.data(); }
  size_t bytes() const { return bytesFor(capacity_); }

  /// Adds voters whose longest match with the end of `context` is at least kSuffixOrders[order] long and shorter than
  /// the next higher order, most recent first, at most `limit` of them.
  void lookup(std::span<const int32_t> context, int order, int limit, SuffixVoters& out) const;

 private:
  int32_t capacity_;
  uint32_t mask_;
  int32_t size_ = 0;
  int32_t documentLength_ = 0;  ///< tokens since the last border
  std::vector<int32_t> tokens_;
  std::array<std::vector<int32_t>, kSuffixOrders.size()> heads_;  ///< position + 1, 0 = none
  std::array<std::vector<int32_t>, kSuffixOrders.size()> links_;  ///< position + 1 of the previous one in the bucket
};

/// The texts a sequence may draft from, dearest first. Spans stay valid during one draft call.
class SuffixSource {
 public:
  virtual ~SuffixSource() = default;
  /// Segments, most recent first.
  virtual std::span<const SuffixSegment* const> segments() const = 0;
};

/// Drafts for one sequence: from its own prompt and output, then its session's and its tenant's text.
class SuffixDrafter final : public Drafter {
 public:
  /// `own` grows with the sequence: its owner appends.
  explicit SuffixDrafter(const SuffixSegment* own) : own_(own) {}
  /// Lets it also draft from what the session and the tenant remember; null = nothing.
  void share(const SuffixSource* session, const SuffixSource* tenant) { shared_ = {session, tenant}; }
  DrafterId id() const override { return DrafterId::suffix; }
  int draft(const DraftInput& input, std::span<DraftNode> out) override;

 private:
  /// A node that may be drafted, and those who voted for it: pool_[begin, end), already advanced beyond it.
  struct Candidate {
    DraftNode node;
    float survival;  ///< product of confidences down to here
    int32_t begin, end;
  };
  int gather(std::span<const int32_t> context, int most);
  void branch(int32_t parent, int32_t depth, float survival, int32_t begin, int32_t end);
  bool restart(std::span<const int32_t> context, std::span<const DraftNode> nodes, const Candidate& from);
  Candidate popBest();

  const SuffixSegment* own_;
  std::array<const SuffixSource*, 2> shared_{};
  std::array<SuffixVoter, 160> pool_;
  int poolSize_ = 0;
  std::array<Candidate, 96> candidates_;
  int candidateCount_ = 0;
};

}  // namespace foretoken
