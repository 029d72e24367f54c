#include "speculate/plan.h"

#include <algorithm>

namespace foretoken {

double Prices::pass(int rows) const {
  const int known = static_cast<int>(passSeconds.size());
  if (known == 0) return rows;
  if (rows <= known) return passSeconds[rows - 1];
  const double last = passSeconds[known - 1];
  const double slope = known > 1 ? std::max(0.0, last - passSeconds[known - 2]) : last;
  return last + slope * (rows - known);
}

float Beliefs::acceptanceOf(DrafterId drafter, int depth, float confidence) const {
  const int bucket = std::clamp(static_cast<int>(confidence * kPolicyBuckets), 0, kPolicyBuckets - 1);
  const int row = std::clamp(depth, 1, kPolicyDepths) - 1;
  return std::clamp(acceptance[static_cast<int>(drafter)][row][bucket], 0.0f, 1.0f);
}

Planner::Planner(int maxNodes) { candidates_.reserve(maxNodes); }

int Planner::plan(const Prices& prices, std::span<const PlanEntry> entries, int maxDrafted) {
  Promise best;
  return bestCut(prices, entries, maxDrafted, best);
}

Planner::Promise Planner::promise(const Prices& prices, const PlanEntry& entry, int maxDrafted) {
  Promise best;
  bestCut(prices, {&entry, 1}, maxDrafted, best);
  return best;
}

int Planner::choose(const Prices& prices, std::span<const PlanEntry> offers, int maxDrafted, Promise& best) {
  const bool blended = std::any_of(offers.begin(), offers.end(), [](const PlanEntry& offer) {
    return offer.drafter == DrafterId::blend && !offer.nodes.empty();
  });
  int chosen = -1;
  double bestRate = -1;
  for (size_t i = 0; i < offers.size(); ++i) {
    const bool inBlend = offers[i].drafter == DrafterId::suffix || offers[i].drafter == DrafterId::recall;
    if (offers[i].nodes.empty() || (inBlend && blended)) continue;
    const Promise offered = promise(prices, offers[i], maxDrafted);
    if (offered.rate() <= bestRate) continue;
    bestRate = offered.rate();
    chosen = static_cast<int>(i);
    best = offered;
  }
  if (chosen < 0) best = promise(prices, offers.front(), maxDrafted);
  return chosen;
}

double Planner::seconds(const Prices& prices, double draftSeconds, int rows, double contextRows) const {
  return prices.overheadSeconds + draftSeconds + prices.pass(rows) + prices.secondsPerContextToken * contextRows;
}

/// Selects nodes in order until `room` is used up: parents come before children, so no child is taken without its
/// parent.
int Planner::takeForced(const PlanEntry& entry, int room) const {
  const int taken = std::min<int>(room, static_cast<int>(entry.nodes.size()));
  std::fill_n(entry.selected, taken, uint8_t{1});
  return taken;
}

/// Fills in the survival of an entry's nodes and makes those that are not forced candidates.
void Planner::rank(const PlanEntry& entry, int32_t index) {
  std::fill_n(entry.selected, entry.nodes.size(), uint8_t{0});
  for (size_t n = 0; n < entry.nodes.size(); ++n) {
    const DraftNode& node = entry.nodes[n];
    const float above = node.parent < 0 ? 1.0f : entry.survival[node.parent];
    entry.survival[n] = above * entry.chance(node);
    if (!entry.forced) candidates_.push_back({entry.survival[n], index, static_cast<int32_t>(n)});
  }
}

int Planner::bestCut(const Prices& prices, std::span<const PlanEntry> entries, int maxDrafted, Promise& best) {
  candidates_.clear();
  int rows = static_cast<int>(entries.size()), forced = 0;
  double tokens = rows, draftSeconds = 0, contextRows = 0;
  for (size_t e = 0; e < entries.size(); ++e) {
    const PlanEntry& entry = entries[e];
    contextRows += entry.contextTokens;
    if (entry.nodes.empty()) continue;
    draftSeconds += prices.draftSeconds[static_cast<int>(entry.drafter)];
    rank(entry, static_cast<int32_t>(e));
    if (!entry.forced) continue;
    const int taken = takeForced(entry, maxDrafted - forced);
    for (int n = 0; n < taken; ++n) tokens += entry.survival[n];
    forced += taken;
    contextRows += static_cast<double>(taken) * entry.contextTokens;
  }
  rows += forced;
  std::sort(candidates_.begin(), candidates_.end());
  const int most = std::min({static_cast<int>(candidates_.size()), maxDrafted - forced, prices.rowBudget - rows});
  int cut = 0;
  best = {tokens, seconds(prices, draftSeconds, rows, contextRows)};
  for (int k = 0; k < most; ++k) {
    tokens += candidates_[k].survival;
    contextRows += entries[candidates_[k].entry].contextTokens;
    const Promise more{tokens, seconds(prices, draftSeconds, rows + k + 1, contextRows)};
    if (more.rate() <= best.rate()) continue;
    best = more;
    cut = k + 1;
  }
  for (int k = 0; k < cut; ++k) entries[candidates_[k].entry].selected[candidates_[k].node] = 1;
  return forced + cut;
}

}  // namespace foretoken
