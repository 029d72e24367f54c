#include "speculate/open_asks.h"

#include <algorithm>

namespace foretoken {

/// Each round emits a token at least, so that one begun `depth` tokens ago is decided.
OpenAsks::OpenAsks(int depth, int nodes) : mostRounds_(static_cast<size_t>(depth) + 1), mostNodes_(nodes) {}

void OpenAsks::add(const Ask& ask, int32_t start, Plan with, Plan without) {
  if (rounds_.capacity() == 0) {
    rounds_.reserve(mostRounds_);
    nodes_.reserve(mostRounds_ * mostNodes_);
    place_.reserve(mostNodes_);
  }
  const uint32_t withNodes = keep(with);
  rounds_.push_back({ask, start, withNodes, keep(without)});
}

uint32_t OpenAsks::keep(Plan plan) {
  constexpr int16_t kNone = -1;
  int16_t count = 0;
  place_.clear();
  for (size_t n = 0; n < plan.nodes.size(); ++n) {
    const DraftNode& node = plan.nodes[n];
    place_.push_back(plan.selected[n] ? count++ : kNone);
    if (!plan.selected[n]) continue;
    const int16_t parent = node.parent < 0 ? kNone : place_[node.parent];
    nodes_.push_back({node.token, parent, static_cast<uint8_t>(node.depth), false});
  }
  return static_cast<uint32_t>(count);
}

OpenAsks::Walk OpenAsks::walk(std::span<Node> plan, std::span<const int32_t> text, bool ended, int32_t start) {
  Walk result{1, false};
  for (Node& node : plan) {
    const size_t place = static_cast<size_t>(start) + node.depth - 1;
    node.right = false;
    if (node.parent >= 0 && !plan[node.parent].right) continue;
    if (place >= text.size()) {
      result.open = true;
    } else if (text[place] == node.token) {
      node.right = true;
      result.tokens = std::max(result.tokens, node.depth + 1);
    }
  }
  if (ended) result.tokens = std::min(result.tokens, static_cast<int32_t>(text.size()) - start);
  return result;
}

}  // namespace foretoken
