// Drafted tokens that no pass has verified, kept until the text says what would have become of them.
//
// A round emits one token more than it accepts, and that decides only part of what was drafted; but the text goes on,
// and what the target says at the places of the other drafted tokens comes free. Labels must not depend on what was
// chosen. Those that a round itself decides do: of another drafter's draft it sees as much as the chosen one had
// accepted, so that deep labels would come from text that is easy to guess, and a chain that is always cut at the same
// depth would never be heard of beyond. So of every round all drafted tokens are kept, none by chance and none for
// being open still: a token gets its label as soon as the text has said all of its prefix and reaches its own place, or
// never, if the text goes another way before. Which tokens get one, and which, is decided by draft and text alone, to
// the text's end.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "speculate/drafter.h"

namespace foretoken {

class OpenDrafts {
 public:
  /// Room for rounds that all look `depth` tokens ahead with at most `nodes` drafted tokens each: made when the first
  /// token is kept, all at once.
  OpenDrafts(int depth, int nodes);

  /// What became, or would have become, of a drafted token after a prefix that came true.
  struct Label {
    DrafterId drafter;
    int32_t start;  ///< length of the text when it was drafted
    int32_t depth;
    float confidence;
    bool right;
  };

  /// Keeps a token that was drafted when the text had `start` tokens. `parent`: what add() gave for the token before
  /// it; -1 = it follows what the text is known to say. Returns its number, good until the next settle().
  int32_t add(DrafterId drafter, const DraftNode& node, int32_t start, int32_t parent);

  /// Calls report(Label) for every token that `text`, grown since the last call, decides, and lets go of those.
  template <typename Report>
  void settle(std::span<const int32_t> text, Report report) {
    int32_t kept = 0;
    fates_.resize(nodes_.size());
    for (size_t n = 0; n < nodes_.size(); ++n) {
      Node node = nodes_[n];
      const int32_t above = node.parent < 0 ? kCameTrue : fates_[node.parent];
      const size_t place = static_cast<size_t>(node.start) + node.depth - 1;
      if (above == kCameTrue && place < text.size()) {
        const bool right = text[place] == node.token;
        report(Label{static_cast<DrafterId>(node.drafter), node.start, node.depth, node.confidence, right});
        fates_[n] = right ? kCameTrue : kNeverSaid;
      } else if (above == kNeverSaid) {
        fates_[n] = kNeverSaid;
      } else {
        fates_[n] = static_cast<int16_t>(kept);
        node.parent = static_cast<int16_t>(above);
        nodes_[kept++] = node;
      }
    }
    nodes_.resize(kept);
  }

  int32_t size() const { return static_cast<int32_t>(nodes_.size()); }

 private:
  /// What stands in place of a kept token's number.
  static constexpr int16_t kCameTrue = -1, kNeverSaid = -2;
  struct Node {
    int32_t token, start;
    float confidence;
    int16_t parent;  ///< always before it; -1 = the text says all above
    uint8_t depth, drafter;
  };
  const size_t most_;
  std::vector<Node> nodes_;
  std::vector<int16_t> fates_;  ///< of each node while settling: its new number, or what became of it
};

}  // namespace foretoken
