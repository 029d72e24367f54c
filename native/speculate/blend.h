// Two drafts of the same place as one tree: a token that both propose behind the same words is likelier than either
// alone would have it, and one that the other, with proposals of its own, leaves out is less likely.
//
// Recall and suffix look at the same text, the one for meaning and the other for letters, so what they say does not
// add up: confidence is the mean of both, that of recall, which sees more, counting more. What such a mean is worth is
// learned like any drafter's word.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "speculate/drafter.h"

namespace foretoken {

/// Remembers nothing from one draft to the next: one serves all who blend one after the other.
class Blender {
 public:
  /// Room for two drafts of at most `mostNodes` nodes each; blend() allocates nothing.
  explicit Blender(int mostNodes);
  /// Writes the likeliest nodes of both drafts, at most out.size(), parents before children; returns how many. None
  /// where one of the drafts is empty: the other is as good alone.
  int blend(std::span<const DraftNode> recall, std::span<const DraftNode> suffix, std::span<DraftNode> out);

 private:
  enum Voice { kRecall, kSuffix, kVoices };
  /// A token that one or both propose.
  struct Node {
    int32_t token, parent, depth;
    std::array<float, kVoices> said;   ///< 0 = not proposed
    std::array<bool, kVoices> goesOn;  ///< proposes something behind it
    float confidence, survival;
  };
  int32_t find(int32_t parent, int32_t token) const;
  void add(std::span<const DraftNode> draft, Voice voice);
  void weigh();
  int write(std::span<DraftNode> out);

  std::vector<Node> nodes_;
  std::vector<int32_t> place_;  ///< of each node of a draft among nodes_; then of each of nodes_ in the result
  std::vector<int32_t> order_;  ///< nodes_, likeliest first
};

}  // namespace foretoken
