#include "engine/replay.h"

#include <algorithm>
#include <array>

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

/// What stands for tokens, which a recording does not hold: the text says the one, wrong drafts the other.
constexpr int32_t kRight = 0, kWrong = 1;

}  // namespace

Replay::Replay(const ReplayText& text)
    : text_(text),
      said_(text.firstDraft.size(), kRight),
      position_(std::min(1, text.tokens())),
      planner_(kMaxDraftNodes),
      open_(kMaxDraftNodes, kDraftersAsked * kMaxDraftNodes),
      nodes_(kRoom),
      survival_(kRoom),
      selected_(kRoom) {}

/// The drafts at the present position as the planner wants them, of those who may draft.
void Replay::load(const Beliefs& beliefs) {
  requireDrafts(text_, position_);
  entries_.clear();
  int used = 0;
  for (int32_t d = text_.firstDraft[position_]; d < text_.firstDraft[position_ + 1]; ++d) {
    const auto drafter = static_cast<DrafterId>(text_.drafts[2 * d]);
    const int32_t first = text_.drafts[2 * d + 1], count = text_.drafts[2 * d + 3] - first;
    if (!beliefs.allowed[static_cast<int>(drafter)] || drafter == DrafterId::head) continue;
    if (entries_.size() == kDraftersAsked || count > kMaxDraftNodes) continue;
    for (int32_t n = 0; n < count; ++n) {
      const uint8_t node = text_.nodes[first + n];
      const int32_t parent = (node & 0x7f) - 1;
      const int32_t depth = parent < 0 ? 1 : nodes_[used + parent].depth + 1;
      nodes_[used + n] = {node >> 7 ? kRight : kWrong, parent, depth, text_.confidence[first + n]};
      selected_[used + n] = 0;
    }
    entries_.push_back({&beliefs, std::span<const DraftNode>(nodes_).subspan(used, count), drafter,
                        text_.promptTokens + position_, /*forced=*/false, &selected_[used], &survival_[used],
                        trust_.of(drafter, beliefs.tableWeight)});
    used += count;
  }
}

void Replay::run(const Policy& policy, int32_t rounds, Outcomes& out) {
  for (; rounds > 0 && position_ < text_.tokens(); --rounds) {
    trust_.fade();
    load(policy);
    Planner::Promise promise;
    const PlanEntry nothing{&policy, {}, DrafterId::none, text_.promptTokens + position_};
    const int chosen = entries_.empty() ? -1 : planner_.choose(policy, entries_, kMaxDraftRows, promise);
    const PlanEntry& plan = chosen < 0 ? nothing : entries_[chosen];
    const auto rows = static_cast<double>(1 + planner_.plan(policy, {&plan, 1}, kMaxDraftRows));
    double context = rows * (text_.promptTokens + position_);
    for (size_t n = 0; n < plan.nodes.size(); ++n) context += plan.selected[n] ? plan.nodes[n].depth : 0;
    const auto draftOffset = static_cast<int32_t>(out.draftOutcome.size());
    const int32_t start = position_;
    const Verified verified = record(policy, chosen, out);
    out.steps.push_back({static_cast<int32_t>(out.rounds.size()), 1, 0, position_ - start, draftOffset,
                         static_cast<int32_t>(out.draftOutcome.size()) - draftOffset, verified.accepted,
                         static_cast<int32_t>(verified.nodes > 0 ? plan.drafter : DrafterId::none), /*asked=*/0,
                         verified.expectedMillionths()});
    out.rounds.push_back({rows, 1, context, 0, 0, 0, 0, 0, 0, 0});
  }
}

/// Goes on behind the verified nodes that are right and the token after them, and tells what became of all drafts.
Verified Replay::record(const Beliefs& beliefs, int chosen, Outcomes& out) {
  int32_t right = 0;
  std::array<int32_t, kMaxDraftNodes> row;
  if (chosen >= 0) {
    const PlanEntry& plan = entries_[chosen];
    for (size_t n = 0; n < plan.nodes.size(); ++n) {
      row[n] = plan.selected[n] ? static_cast<int32_t>(n) : -1;
      right += plan.selected[n] && plan.nodes[n].token == kRight;
    }
  }
  const int32_t start = position_;
  position_ = std::min(position_ + right + 1, text_.tokens());
  const Emitted emitted{std::span(said_).first(position_), start, beliefs, open_, trust_};
  Verified verified;
  for (size_t e = 0; e < entries_.size(); ++e) {
    const bool isChosen = static_cast<int>(e) == chosen;
    const Verified ofDraft = recordDraft(emitted, entries_[e], isChosen ? row.data() : nullptr, out);
    if (isChosen) verified = ofDraft;
  }
  recordUnverified(emitted, out);
  return verified;
}

}  // namespace foretoken
