#include "engine/replay.h"

#include <algorithm>

#include "common/error.h"
#include "engine/options.h"

namespace foretoken {
namespace {
constexpr size_t kRoom = static_cast<size_t>(kDraftersAsked) * kMaxDraftNodes;

/// Texts come from outside: of each position, what is read there is checked first.
void requireDrafts(const ReplayText& text, int32_t position) {
  const auto require = [](bool condition) {
    if (!condition) throw Error("INVALID_ARGUMENT", "text does not hold the drafts that it lists");
  };
  const int32_t first = text.firstDraft[position], end = text.firstDraft[position + 1];
  require(first >= 0 && first <= end && static_cast<size_t>(end) < text.drafts.size() / 2);
  for (int32_t d = first; d < end; ++d) {
    const int32_t drafter = text.drafts[2 * d], from = text.drafts[2 * d + 1], to = text.drafts[2 * d + 3];
    require(drafter >= 0 && drafter < kDrafterCount && from >= 0 && from <= to);
    require(static_cast<size_t>(to) <= text.nodes.size());
    for (int32_t n = from; n < to; ++n) require((text.nodes[n] & 0x7f) <= n - from);
  }
}
}  // namespace

Replay::Replay() : planner_(kMaxDraftNodes), nodes_(kRoom), survival_(kRoom), selected_(kRoom), right_(kRoom) {}

/// The drafts at a position as the planner wants them, of those who may draft.
void Replay::load(const ReplayText& text, int32_t position, const Beliefs& beliefs) {
  requireDrafts(text, position);
  entries_.clear();
  int used = 0;
  for (int32_t d = text.firstDraft[position]; d < text.firstDraft[position + 1]; ++d) {
    const auto drafter = static_cast<DrafterId>(text.drafts[2 * d]);
    const int32_t first = text.drafts[2 * d + 1], count = text.drafts[2 * d + 3] - first;
    if (!beliefs.allowed[static_cast<int>(drafter)] || drafter == DrafterId::head) continue;
    if (entries_.size() == kDraftersAsked || count > kMaxDraftNodes) continue;
    for (int32_t n = 0; n < count; ++n) {
      const int32_t parent = (text.nodes[first + n] & 0x7f) - 1;
      const int32_t depth = parent < 0 ? 1 : nodes_[used + parent].depth + 1;
      nodes_[used + n] = {0, parent, depth, text.confidence[first + n]};
      right_[used + n] = text.nodes[first + n] >> 7;
      selected_[used + n] = 0;
    }
    entries_.push_back({&beliefs, std::span<const DraftNode>(nodes_).subspan(used, count), drafter,
                        text.promptTokens + position, /*forced=*/false, &selected_[used], &survival_[used]});
    used += count;
  }
}

int32_t Replay::run(const Policy& policy, const ReplayText& text, int32_t position, int32_t rounds, Outcomes& out) {
  for (; rounds > 0 && position < text.tokens(); --rounds) {
    load(text, position, policy);
    Planner::Promise promise;
    const PlanEntry nothing{&policy, {}, DrafterId::none, text.promptTokens + position};
    const int chosen = entries_.empty() ? -1 : planner_.choose(policy, entries_, kMaxDraftRows, promise);
    const PlanEntry& plan = chosen < 0 ? nothing : entries_[chosen];
    const int drafted = planner_.plan(policy, {&plan, 1}, kMaxDraftRows);
    const auto rows = static_cast<double>(1 + drafted);
    const int32_t draftOffset = static_cast<int32_t>(out.draftOutcome.size());
    const int32_t accepted = record(text, position, drafted, chosen, out);
    const int32_t emitted = std::min(accepted + 1, text.tokens() - position);
    out.steps.push_back({static_cast<int32_t>(out.rounds.size()), 1, 0, emitted, draftOffset,
                         static_cast<int32_t>(out.draftOutcome.size()) - draftOffset, accepted,
                         static_cast<int32_t>(drafted > 0 ? plan.drafter : DrafterId::none)});
    double context = rows * (text.promptTokens + position);
    for (size_t n = 0; n < plan.nodes.size(); ++n) context += plan.selected[n] ? plan.nodes[n].depth : 0;
    out.rounds.push_back({rows, 1, context, 0, 0, 0, 0, 0, 0, 0});
    position += emitted;
  }
  return position;
}

/// Lists verified and unverified nodes as the engine does; returns how many verified ones were right.
int32_t Replay::record(const ReplayText& text, int32_t position, int drafted, int chosen, Outcomes& out) {
  int32_t accepted = 0;
  for (size_t e = 0; e < entries_.size(); ++e) {
    const PlanEntry& entry = entries_[e];
    const uint8_t* right = right_.data() + (entry.nodes.data() - nodes_.data());
    for (size_t n = 0; n < entry.nodes.size(); ++n) {
      const DraftNode& node = entry.nodes[n];
      const bool verified = drafted > 0 && static_cast<int>(e) == chosen && entry.selected[n];
      const bool reached = (node.parent < 0 || right[node.parent]) && position + node.depth <= text.tokens();
      if (!verified && !reached) continue;
      const NodeOutcome outcome = !reached   ? NodeOutcome::unreached
                                  : right[n] ? NodeOutcome::accepted
                                             : NodeOutcome::rejected;
      out.draftConfidence.push_back(node.confidence);
      out.draftOutcome.push_back(verified ? packNode(node.depth, outcome, entry.drafter)
                                          : packShadow(node.depth, outcome, entry.drafter, 0));
      accepted += verified && outcome == NodeOutcome::accepted;
    }
  }
  return accepted;
}

}  // namespace foretoken
