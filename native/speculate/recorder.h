// All that drafters propose along one text, each draft whole, until the text says what of it was right: for whoever
// wants to know what another policy would have made of it. Of a sequence of which nothing is verified there is a draft
// at every position. It allocates as it goes: nobody records while serving.
#pragma once
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "speculate/drafter.h"

namespace foretoken {

class Recorder {
 public:
  struct Draft {
    DrafterId drafter;
    int32_t start;  ///< length of the text when it was drafted
    std::vector<DraftNode> nodes;
    std::vector<bool> right;  ///< it and all above it are what the text says
  };
  /// Drafts look at most `depth` tokens ahead.
  explicit Recorder(int32_t depth) : depth_(depth) {}

  void add(DrafterId drafter, int32_t start, std::span<const DraftNode> nodes) {
    if (!nodes.empty()) waiting_.push_back({drafter, start, {nodes.begin(), nodes.end()}, {}});
  }

  /// Calls report(Draft) for each draft of which `text` says all that there will be to say; `ended`: it grows no more.
  template <typename Report>
  void settle(std::span<const int32_t> text, bool ended, Report report) {
    while (!waiting_.empty() && (ended || waiting_.front().start + static_cast<size_t>(depth_) <= text.size())) {
      Draft& draft = waiting_.front();
      for (const DraftNode& node : draft.nodes) {
        const size_t place = static_cast<size_t>(draft.start) + node.depth - 1;
        const bool above = node.parent < 0 || draft.right[node.parent];
        draft.right.push_back(above && place < text.size() && text[place] == node.token);
      }
      report(draft);
      waiting_.pop_front();
    }
  }

 private:
  const int32_t depth_;
  std::deque<Draft> waiting_;
};

}  // namespace foretoken
