// The `recall` drafter: where did the text go on, the last times the target was in this state of mind?
//
// Every verified position i of stored text has a key: the target's hidden state there (a late layer, projected to
// kKeyWidth int8 numbers, see KeyProjection). When token t has just been drawn from the hidden state of position i, the
// places where t was said before are looked through, the nearest keys before them are taken, and the text behind those
// places votes; where it ends, matches of letters go on. What passes have answered behind rejected drafts votes as well
// (echoes.h). No forward pass and no gradient: it learns a position the moment it is verified, and generalises over
// wording because the key is meaning, not letters.
//
// Relatives: kNN-LM (arXiv 1911.00172), REST (arXiv 2311.08252), NEST (arXiv 2405.19325).
#pragma once
#include <array>
#include <cstdint>
#include <span>

#include "speculate/drafter.h"
#include "speculate/echoes.h"
#include "speculate/segment.h"
#include "speculate/suffix.h"
#include "speculate/votes.h"

namespace foretoken {

/// Places with the token in question that are compared for one draft, latest first, of the sequence's own text, its
/// session's and its tenant's together, in this order. Bounds the time of a lookup.
constexpr int kRecallScan = 1024;
/// The same of the static memory, where they lie side by side.
constexpr int kFrozenScan = 8192;
/// Nearest places that vote.
constexpr int kRecallVoters = 32;
/// Echoes that are compared, latest first.
constexpr int kEchoScan = 64;
/// A text goes on as it did before more often than as others did: places of other texts must be so much more alike to
/// count as much.
constexpr float kElsewhere = 0.1f;
/// What the target has said itself, a moment ago, counts as if it were so much more alike; …
constexpr float kEcho = 0.15f;
/// … and what it would have said behind another token than the last one as if it were so much alike.
constexpr float kInstead = 0.65f;

/// A place in stored text that is like the present one, or an echo.
struct Neighbour {
  const TextSegment* segment;  ///< null: an echo
  int32_t place;               ///< where the token in question was said; the echo's number
  float likeness;              ///< cosine of the keys, and a little more for every token before that is the same
  float score;                 ///< that, less what its text is held back by
};

/// The best places of several texts, best first; of equals the one found first.
class Neighbours {
 public:
  void clear() { count_ = 0; }
  /// Looks through the latest places of the last token of `context` in a segment, at most `scan` of them, and holds
  /// them back by `handicap`; returns how many it looked at.
  int search(const TextSegment& segment, std::span<const int32_t> context, const int8_t* query, int scan,
             float handicap = 0);
  /// The same with what the target said behind this token where it was wrong, and behind the one in whose place it is.
  void search(const Echoes& echoes, int32_t token, const int8_t* query);
  std::span<const Neighbour> best() const { return {best_.data(), static_cast<size_t>(count_)}; }

 private:
  int searchFrozen(const TextSegment& segment, std::span<const int32_t> context, const int8_t* query, int scan,
                   float handicap);
  /// Whether there is room for one with this score.
  bool admits(float score) const { return count_ < kRecallVoters || score > best_[count_ - 1].score; }
  void offer(const Neighbour& neighbour);
  bool isRepeated(const Neighbour& neighbour) const;

  std::array<Neighbour, kRecallVoters> best_;
  int count_ = 0;
};

/// Drafts for one sequence from all its sources. Segments without keys know nothing.
class RecallDrafter final : public Drafter {
 public:
  /// `own` grows with the sequence, and so do its echoes: their owner appends and sets keys. Null = no echoes.
  explicit RecallDrafter(const TextSegment* own, const Echoes* echoes = nullptr);
  /// Lets it also draft from what the session and the tenant remember and from the static memory; null = nothing.
  void share(const TextSource* session, const TextSource* tenant, const TextSource* common = nullptr) {
    sources_.shared = {session, tenant, common};
  }
  DrafterId id() const override { return DrafterId::recall; }
  int draft(const DraftInput& input, std::span<DraftNode> out) override;

 private:
  void praise(std::span<const int32_t> tokens);
  void search(std::span<const int32_t> context, const int8_t* query);
  Voter voterOf(const Neighbour& neighbour, std::span<const int32_t> context) const;
  VoteTree::Range ask(std::span<const int32_t> context, std::span<const DraftNode> nodes);

  TextSources sources_;
  const Echoes* const echoes_;
  Neighbours neighbours_;
  size_t asked_ = 0;                    ///< tokens when neighbours_ were found; 0 = none were
  std::array<uint64_t, 2> versions_{};  ///< of the shared sources then
  VoteTree tree_;
};

}  // namespace foretoken
