// Earlier places in stored text vote on how the text goes on: the tree of a draft grows by their votes, best node
// first. Only those who agreed with a path so far vote on what follows it.
#pragma once
#include <array>
#include <cstdint>
#include <span>

#include "speculate/drafter.h"

namespace foretoken {

constexpr int32_t kBorder = -1;  ///< ends a document; never a token

/// Whose text a place is in: the sequence's own prompt or answer, or elsewhere; an echo is what the target said behind
/// another token (echoes.h).
enum class Origin : uint8_t { elsewhere, prompt, answer, echo };

/// One earlier place that was like the present one.
struct Voter {
  const int32_t* next;  ///< the token it saw next
  const int32_t* end;   ///< end of the text known there
  float weight;
  Origin origin = Origin::elsewhere;
  int match = 0;  ///< tokens up to there that are those of the present one, as far as they were compared
};

/// Voters are collected here, over several texts; nothing is added beyond the span.
struct Voters {
  std::span<Voter> room;
  int count = 0;
  bool full() const { return count == static_cast<int>(room.size()); }
};

/// Weights of voters, together and by whose text they are in.
struct VoteWeights {
  float all = 0;
  std::array<float, 4> of{};  ///< by Origin
  void add(const Voter& voter) {
    all += voter.weight;
    of[static_cast<size_t>(voter.origin)] += voter.weight;
  }
  /// Of all, those of an origin.
  float share(Origin origin) const { return of[static_cast<size_t>(origin)] / all; }
};

/// Who voted for a token, and who voted at all.
struct Vote {
  VoteWeights weights;  ///< of its voters
  VoteWeights total;    ///< of everybody's, "something else" included
  int voters;
  float loudest;  ///< the heaviest of its voters
  int match;      ///< the longest of its voters'
  int32_t depth;  ///< 1 = a first token
};

/// How often a token that was voted for is right, as log-odds: a linear function of the logarithms of what is known of
/// the vote. A share of the votes alone does not say it: half of them weigh more where there are many, or where the
/// loudest is very loud.
struct VoteFit {
  float constant;
  float share;                                  ///< log-odds of the token's share of the weights
  float total, voters, loudest;                 ///< all weights; those who vote for it; the heaviest of them
  float shareTotal, shareVoters, shareLoudest;  ///< products of two of these
  float single, singleTotal;                    ///< where a single one votes for it; that by all weights
  float depth;                                  ///< tokens above, no logarithm
  float echo = 0, echoShare = 0;                ///< where an echo votes for it; that by their share of its weight
  float prompt = 0, answer = 0;                 ///< by the share of its weight that the sequence's own text gives …
  float allPrompt = 0, allAnswer = 0;           ///< … and by the share of all weights
  float copied = 0;                             ///< by the logarithm of the longest match over nine tokens, none below
  float chance(const Vote& vote) const;
};

/// How votes are counted.
struct VoteRules {
  float prior;          ///< weight of "something else"
  float growth;         ///< what a voter's weight gains by every token it got right, …
  float most;           ///< … up to here
  bool fitted = false;  ///< confidence is what the fits say; otherwise a token's share of the weights, as on CUDA
  VoteFit first{};      ///< of first tokens
  VoteFit deeper{};     ///< of tokens behind drafted ones
};

class VoteTree {
 public:
  explicit VoteTree(const VoteRules& rules) : rules_(rules) {}

  void clear() { poolSize_ = candidateCount_ = 0; }
  /// Room for at most `most` voters more; `commit` says how many came.
  Voters room(int most);
  struct Range {
    int32_t begin, end;
  };
  Range commit(const Voters& voters);
  /// Counts the votes of a range and makes the best tokens candidates below `parent`, whose survival is given.
  void branch(int32_t parent, int32_t depth, float survival, Range voters);

  /// Takes the best candidates one after the other into `out` until nothing or no room is left; returns how many.
  /// Where the voters for a likely node know no further, `ask(nodes)`, with the nodes so far, that one the last, gives
  /// new ones.
  template <typename Ask>
  int grow(int maxDepth, std::span<DraftNode> out, Ask ask) {
    int count = 0, asked = 0;
    while (candidateCount_ > 0 && count < static_cast<int>(out.size())) {
      const Candidate best = popBest();
      out[count++] = best.node;
      if (best.node.depth == maxDepth) continue;
      const int before = candidateCount_;
      branch(count - 1, best.node.depth + 1, best.survival, {best.begin, best.end});
      if (candidateCount_ > before || best.survival <= kLikely || asked == kMostAsked) continue;
      const Range voters = ask(std::span<const DraftNode>(out.first(count)));
      branch(count - 1, best.node.depth + 1, best.survival, voters);
      asked += voters.end > voters.begin;
    }
    return count;
  }

 private:
  static constexpr float kLikely = 0.05f;
  static constexpr int kMostAsked = 16;  ///< times that new voters came
  /// A node that may be drafted, and those who voted for it: a range of the pool, already advanced beyond it.
  struct Candidate {
    DraftNode node;
    float survival;  ///< product of confidences down to here
    int32_t begin, end;
  };
  struct Group {
    int32_t begin, end;
    VoteWeights weights;
    float heaviest;
    int match;
  };
  int32_t dropExhausted(Range voters);
  int group(Range voters);
  Candidate popBest();

  const VoteRules rules_;
  std::array<Voter, 160> pool_;
  int poolSize_ = 0;
  std::array<Candidate, 96> candidates_;
  int candidateCount_ = 0;
  std::array<Group, 64> groups_;
};

}  // namespace foretoken
