#include "speculate/open_drafts.h"

namespace foretoken {

/// A token drafted at the start of one of the last `depth` rounds can be open, for each of them emits one at least.
OpenDrafts::OpenDrafts(int depth, int nodes) : most_(static_cast<size_t>(depth) * nodes) {}

int32_t OpenDrafts::add(DrafterId drafter, const DraftNode& node, int32_t start, int32_t parent) {
  if (nodes_.capacity() == 0) nodes_.reserve(most_), fates_.reserve(most_);
  nodes_.push_back({node.token, start, node.confidence, static_cast<int16_t>(parent), static_cast<uint8_t>(node.depth),
                    static_cast<uint8_t>(drafter)});
  return size() - 1;
}

}  // namespace foretoken
