// Which drafted nodes go into the next pass: the policy table applied to the fresh confidences of one round.
//
// Every node has a survival, the product of calibrated acceptance probabilities from the root down: the probability
// that the target says the whole path. To verify it takes a row, and saves the round that the token after it would need
// if the text comes that far. But that token is not dear there: a draft that has just been right goes on, and the next
// round can verify all of it that this one leaves out. So a node is worth, where the text has come to it, what the
// token after it would cost: the seconds of the best round from there on, less what the nodes that it verifies are
// worth,
//
//     worth(node) = min over sets below it of [seconds(1 + size) - sum over the set of survival / survival(node) *
//     worth]
//
// which begins with a plain round at the leaves. The same expression at the root, over all drafted nodes, is what the
// sequence's next token costs, and the set that makes it least is the plan; of two drafts the better one makes it less.
// As the tokens of a text are the same however rounds divide it, this is to look for the fewest seconds until the text
// leaves the draft. (The most expected tokens per second of the round at hand would verify more, and too much: it
// counts what it leaves out as lost.)
//
// Nodes are admitted in the order of survival (a child never survives better than its parent, so parents come first),
// and all cuts up to the budget are looked at, so a step in the price of a pass cannot hide a better cut behind it; the
// cut at zero is plain decoding. What survives best is not always worth most: a node that a sure one follows saves
// little, and a row of a long text costs more. So the best cut is then bettered, as long as one node more, a branch
// less or one node for another lowers the price. Where sequences share a pass, a round costs each of them its share of
// one in which all verify as much.
//
// The idea of admitting draft tokens of a whole batch by survival under a priced budget is that of TETRIS (ACL 2025)
// and DSpark's scheduler (arXiv 2607.05147).
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "speculate/drafter.h"
#include "speculate/text_trust.h"

namespace foretoken {

constexpr int kPolicyDepths = 8;
constexpr int kPolicyKnots = 16;
constexpr int kPromiseBuckets = 16;
/// Nodes of one draft at most, so that the ones below another are a word.
constexpr int kPlannedNodes = 64;

/// Where a confidence stands among the knots of the table, which are evenly spaced in log odds: that 99 % come and not
/// 97 % matters as much as 3 % and not 1 %. Below the first and beyond the last one it is theirs.
float knotPlace(float confidence);

/// Tokens that a draft promises, as an index: a quarter of a token each, all beyond in the last one.
constexpr int promiseBucket(double tokens) {
  return tokens < kPromiseBuckets / 4 ? static_cast<int>(tokens * 4) : kPromiseBuckets - 1;
}

/// What rounds cost.
struct Prices {
  int rowBudget = 16;              ///< rows of all sequences in one pass
  std::vector<float> passSeconds;  ///< [rows - 1]; beyond its end prices grow by the slope of its last two entries
  float secondsPerContextToken = 0;
  float overheadSeconds = 0;
  float plainSeconds = 1;  ///< of a plain round at a middling context: what asking the head costs is told in these
  std::array<float, kDrafterCount> draftSeconds{};

  /// Seconds of a pass of `rows` rows, without context; rows >= 1.
  double pass(int rows) const;
};

/// What drafts are worth where one tenant's text is decoded, and who may make them; by default nobody.
struct Beliefs {
  /// Chances of drafted tokens by drafter and depth at knots of confidence, and on straight lines between them.
  std::array<std::array<std::array<float, kPolicyKnots>, kPolicyDepths>, kDrafterCount> acceptance{};
  /// Accepted tokens that `acceptance` counts for against what a text itself shows of a drafter; 0 = it is final.
  float tableWeight = 0;
  std::array<bool, kDrafterCount> allowed{};
  /// The head, which takes a noticeable time, is asked at every so many drafts of the other drafters that promise so
  /// much; 0 = never.
  std::array<int32_t, kPromiseBuckets> askEvery{};

  /// Probability that a node is accepted given that its parent was.
  float acceptanceOf(DrafterId drafter, int depth, float confidence) const;
};

/// The policy table as lib/native.ts describes it.
struct Policy : Prices, Beliefs {};

/// One sequence of the round and what was drafted for it (`nodes` may be empty).
struct PlanEntry {
  const Beliefs* beliefs;
  std::span<const DraftNode> nodes;
  DrafterId drafter = DrafterId::none;
  int contextTokens = 0;
  bool forced = false;          ///< take every node whatever it is worth
  uint8_t* selected = nullptr;  ///< [nodes] out: 1 = in the pass
  float* survival = nullptr;    ///< [nodes] out
  float trust = 1;              ///< in what the beliefs say of this drafter, in this text

  /// Probability that a node is accepted given that its parent was, as it is planned with.
  float chance(const DraftNode& node) const {
    return forced ? node.confidence : trusted(beliefs->acceptanceOf(drafter, node.depth, node.confidence), trust);
  }
};

class Planner {
 public:
  /// Workspace for rounds of at most `maxNodes` drafted nodes together, kPlannedNodes of each; plan() allocates
  /// nothing.
  explicit Planner(int maxNodes);

  /// Fills `selected` and `survival` of every entry; returns the number of nodes taken, at most `maxDrafted`.
  int plan(const Prices& prices, std::span<const PlanEntry> entries, int maxDrafted);
  /// What the best cut of one entry on its own promises: chooses between drafters of one sequence.
  struct Promise {
    double tokens = 0;   ///< expected, that of plain decoding included
    double seconds = 0;  ///< for all of them
    double price = 0;    ///< seconds that the next token costs: less what the others save later
  };
  Promise promise(const Prices& prices, const PlanEntry& entry, int maxDrafted);
  /// Whose draft of one sequence may go into the pass: an index into `offers`, -1 where all are empty; and what it, or
  /// plain decoding then, promises. The sequence is that of the first of at least one offer. A blend stands for those
  /// it is made of: where their word differs from its own, the one that promises more has mostly promised too much.
  int choose(const Prices& prices, std::span<const PlanEntry> offers, int maxDrafted, Promise& promise);

 private:
  struct Candidate {
    float survival;
    int32_t entry, node;
    int32_t first;   ///< of its entry's candidates
    double saves;    ///< survival x worth
    uint64_t below;  ///< nodes
    /// Best first; a parent before its child where both survive alike.
    bool operator<(const Candidate& other) const {
      if (survival != other.survival) return survival > other.survival;
      return entry != other.entry ? entry < other.entry : node < other.node;
    }
  };
  double seconds(const Prices& prices, double draftSeconds, int rows, double contextRows) const;
  void survive(const PlanEntry& entry) const;
  void addCandidates(const PlanEntry& entry, int32_t index);
  void shareRounds(const Prices& prices, const PlanEntry& entry, int sequences, int maxDrafted);
  double roundBelow(std::span<const Candidate> ranked, uint64_t below, double survival) const;
  /// What is in the pass: `nodes` of the candidates among its rows.
  struct Cut {
    int rows, nodes;
    double tokens, saved, contextRows;
    void change(const Candidate& node, int by, int contextTokens);
  };
  /// Of what is in the pass, a node and all below it.
  struct Branch {
    double gain = 0;
    int rows = 0;
    void add(const Branch& other) { gain += other.gain, rows += other.rows; }
  };
  bool isTaken(const Candidate& node) const { return taken_[node.entry] >> node.node & 1; }
  /// Whether a node is another one, or below it.
  static bool isWithin(const Candidate& node, const Candidate& top) {
    return node.entry == top.entry && ((top.below | uint64_t{1} << top.node) >> node.node & 1);
  }
  void better(const Prices& prices, std::span<const PlanEntry> entries, int most, Cut& cut);
  int takeForced(const PlanEntry& entry, int room) const;
  int bestCut(const Prices& prices, std::span<const PlanEntry> entries, int maxDrafted, Promise& best);

  std::vector<Candidate> candidates_;
  /// Of the entry that is looked at: its share of a round in which it verifies so many nodes, as many as it may.
  std::vector<double> shares_;
  std::vector<uint64_t> taken_;   ///< nodes of each entry
  std::vector<Branch> branches_;  ///< of each node, an entry's nodes side by side
};

}  // namespace foretoken
