// Rounds in which the head was asked, kept until the text says what the plan with its draft brought and what the plan
// without it would have brought.
//
// Of two promises the higher one is followed, and the higher one is mostly too high: how much the head's plan promised
// beyond the other says little about what asking it is worth. What both would have had accepted along the text that
// came says it without bias, and costs no pass. A plan that was not verified may need text of later rounds; what a
// round itself decides would favour the plan that the round followed.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "speculate/drafter.h"

namespace foretoken {

class OpenAsks {
 public:
  /// Room for rounds that all look `depth` tokens ahead with at most `nodes` selected ones in two plans together: made
  /// when the first round is kept, all at once.
  OpenAsks(int depth, int nodes);

  /// The selected nodes of a draft.
  struct Plan {
    std::span<const DraftNode> nodes;
    const uint8_t* selected;
  };
  /// What asking cost and promised: the plan with the head less the plan without it.
  struct Ask {
    int32_t bucket;   ///< promiseBucket of the plan without it
    double promised;  ///< tokens
    double passes;    ///< what the pass costs, in rounds of plain decoding; the head's own not counted
  };

  /// Keeps the plans of a round that began when the text had `start` tokens.
  void add(const Ask& ask, int32_t start, Plan with, Plan without);

  /// Calls report(Ask, tokens) for every round that `text` decides, or every one if it has `ended`: tokens that the
  /// plan with the head emits along the text beyond those of the plan without it.
  template <typename Report>
  void settle(std::span<const int32_t> text, bool ended, Report report) {
    size_t kept = 0, keptNodes = 0, from = 0;
    for (const Round& round : rounds_) {
      const std::span<Node> with = std::span(nodes_).subspan(from, round.with);
      const std::span<Node> without = std::span(nodes_).subspan(from + round.with, round.without);
      from += round.with + round.without;
      const Walk withHead = walk(with, text, ended, round.start), withoutHead = walk(without, text, ended, round.start);
      if (ended || !(withHead.open || withoutHead.open)) {
        report(round.ask, withHead.tokens - withoutHead.tokens);
        continue;
      }
      for (const auto& plan : {with, without})
        for (const Node& node : plan) nodes_[keptNodes++] = node;
      rounds_[kept++] = round;
    }
    rounds_.resize(kept);
    nodes_.resize(keptNodes);
  }

 private:
  struct Node {
    int32_t token;
    int16_t parent;  ///< in the same plan; -1 = none
    uint8_t depth;
    bool right;  ///< it and all above it are what the text says so far
  };
  struct Round {
    Ask ask;
    int32_t start;
    uint32_t with, without;  ///< nodes of the plans
  };
  struct Walk {
    int32_t tokens;
    bool open;  ///< the text may still say more of the plan
  };
  uint32_t keep(Plan plan);
  static Walk walk(std::span<Node> plan, std::span<const int32_t> text, bool ended, int32_t start);

  const size_t mostRounds_, mostNodes_;  ///< nodes of one round
  std::vector<Round> rounds_;
  std::vector<Node> nodes_;     ///< of all rounds in order, each one's plan with the head first
  std::vector<int16_t> place_;  ///< of each node of a draft that is added: its place in the plan, or -1
};

}  // namespace foretoken
