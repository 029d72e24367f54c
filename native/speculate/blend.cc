#include "speculate/blend.h"

#include <algorithm>

namespace foretoken {
namespace {
/// Of the shares tried on recorded answers of a small model, by the seconds that the planner makes of them.
constexpr std::array<float, 2> kShare = {0.8f, 0.2f};
}  // namespace

Blender::Blender(int mostNodes) {
  nodes_.reserve(2 * static_cast<size_t>(mostNodes));
  place_.reserve(nodes_.capacity());
  order_.reserve(nodes_.capacity());
}

int Blender::blend(std::span<const DraftNode> recall, std::span<const DraftNode> suffix, std::span<DraftNode> out) {
  nodes_.clear();
  if (recall.empty() || suffix.empty()) return 0;
  add(recall, kRecall);
  add(suffix, kSuffix);
  weigh();
  return write(out);
}

int32_t Blender::find(int32_t parent, int32_t token) const {
  for (auto n = static_cast<size_t>(parent + 1); n < nodes_.size(); ++n) {
    if (nodes_[n].token == token && nodes_[n].parent == parent) return static_cast<int32_t>(n);
  }
  return -1;
}

void Blender::add(std::span<const DraftNode> draft, Voice voice) {
  place_.clear();
  for (const DraftNode& node : draft) {
    const int32_t parent = node.parent < 0 ? -1 : place_[node.parent];
    if (parent >= 0) nodes_[parent].goesOn[voice] = true;
    int32_t at = voice == kRecall ? -1 : find(parent, node.token);
    if (at < 0) {
      at = static_cast<int32_t>(nodes_.size());
      nodes_.push_back({node.token, parent, node.depth, {}, {}, 0, 0});
    }
    nodes_[at].said[voice] = node.confidence;
    place_.push_back(at);
  }
}

/// The mean of those who go on behind the token before.
void Blender::weigh() {
  for (Node& node : nodes_) {
    float said = 0, shares = 0;
    for (const Voice voice : {kRecall, kSuffix}) {
      if (node.parent >= 0 && !nodes_[node.parent].goesOn[voice]) continue;
      said += kShare[voice] * node.said[voice];
      shares += kShare[voice];
    }
    node.confidence = said / shares;
    node.survival = node.confidence * (node.parent < 0 ? 1 : nodes_[node.parent].survival);
  }
}

/// A node survives no better than its parent and comes behind it, so the likeliest ones are a tree.
int Blender::write(std::span<DraftNode> out) {
  order_.resize(nodes_.size());
  for (size_t n = 0; n < order_.size(); ++n) order_[n] = static_cast<int32_t>(n);
  std::sort(order_.begin(), order_.end(), [&](int32_t a, int32_t b) {
    return nodes_[a].survival != nodes_[b].survival ? nodes_[a].survival > nodes_[b].survival : a < b;
  });
  place_.resize(nodes_.size());
  const size_t count = std::min(out.size(), nodes_.size());
  for (size_t i = 0; i < count; ++i) {
    const Node& node = nodes_[order_[i]];
    place_[order_[i]] = static_cast<int32_t>(i);
    out[i] = {node.token, node.parent < 0 ? -1 : place_[node.parent], node.depth, node.confidence};
  }
  return static_cast<int>(count);
}

}  // namespace foretoken
