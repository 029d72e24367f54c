#include "engine/fates.h"

#include <array>

#include "engine/options.h"

namespace foretoken {

Verified recordDraft(const Emitted& emitted, const PlanEntry& draft, const int32_t* row, Outcomes& out) {
  constexpr int32_t kTrue = -1, kWrong = -2;  // or the number of an open one
  const auto came = emitted.text.subspan(emitted.start);
  std::array<int32_t, kMaxDraftNodes> fate;
  Verified verified;
  for (size_t n = 0; n < draft.nodes.size(); ++n) {
    const DraftNode& node = draft.nodes[n];
    const int32_t above = node.parent < 0 ? kTrue : fate[node.parent];
    if (row == nullptr || row[n] < 0) {
      fate[n] = above == kWrong ? kWrong : emitted.open.add(draft.drafter, node, emitted.start, above);
      continue;
    }
    const bool reached = above == kTrue && static_cast<size_t>(node.depth) <= came.size();
    const bool right = reached && came[node.depth - 1] == node.token;
    const NodeOutcome outcome = right     ? NodeOutcome::accepted
                                : reached ? NodeOutcome::rejected
                                          : NodeOutcome::unreached;
    out.draftConfidence.push_back(node.confidence);
    out.draftChance.push_back(draft.chance(node));
    out.draftOutcome.push_back(packNode(node.depth, outcome, draft.drafter));
    if (reached)
      emitted.trust.add(draft.drafter, emitted.beliefs.acceptanceOf(draft.drafter, node.depth, node.confidence), right);
    fate[n] = right ? kTrue : kWrong;
    ++verified.nodes;
    verified.accepted += right;
    verified.expected += draft.survival[n];
  }
  return verified;
}

void recordUnverified(const Emitted& emitted, Outcomes& out) {
  emitted.open.settle(emitted.text, [&](const OpenDrafts::Label& label) {
    const NodeOutcome outcome = label.right ? NodeOutcome::accepted : NodeOutcome::rejected;
    out.draftConfidence.push_back(label.confidence);
    out.draftChance.push_back(0);
    out.draftOutcome.push_back(packShadow(label.depth, outcome, label.drafter, emitted.start - label.start));
    emitted.trust.add(label.drafter, emitted.beliefs.acceptanceOf(label.drafter, label.depth, label.confidence),
                      label.right);
  });
}

}  // namespace foretoken
