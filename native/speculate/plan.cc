#include "speculate/plan.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace foretoken {
namespace {
/// Log odds from one knot to the next: the last of them is at 0.996.
constexpr float kKnotStep = 0.75f;
}  // namespace

float knotPlace(float confidence) {
  if (!(confidence > 0)) return 0;
  if (confidence >= 1) return kPolicyKnots - 1;
  const float odds = std::log(confidence / (1 - confidence));
  return std::clamp(odds / kKnotStep + (kPolicyKnots - 1) / 2.0f, 0.0f, kPolicyKnots - 1.0f);
}

double Prices::pass(int rows) const {
  const int known = static_cast<int>(passSeconds.size());
  if (known == 0) return rows;
  if (rows <= known) return passSeconds[rows - 1];
  const double last = passSeconds[known - 1];
  const double slope = known > 1 ? std::max(0.0, last - passSeconds[known - 2]) : last;
  return last + slope * (rows - known);
}

float Beliefs::acceptanceOf(DrafterId drafter, int depth, float confidence) const {
  const auto& chances = acceptance[static_cast<int>(drafter)][std::clamp(depth, 1, kPolicyDepths) - 1];
  const float place = knotPlace(confidence);
  const int below = std::min(static_cast<int>(place), kPolicyKnots - 2);
  const float beyond = place - static_cast<float>(below);
  return std::clamp(chances[below] + beyond * (chances[below + 1] - chances[below]), 0.0f, 1.0f);
}

Planner::Planner(int maxNodes) {
  candidates_.reserve(maxNodes);
  shares_.reserve(kPlannedNodes + 1);
  taken_.reserve(maxNodes);
  branches_.reserve(maxNodes);
}

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
  for (size_t i = 0; i < offers.size(); ++i) {
    const bool inBlend = offers[i].drafter == DrafterId::suffix || offers[i].drafter == DrafterId::recall;
    if (offers[i].nodes.empty() || (inBlend && blended)) continue;
    const Promise offered = promise(prices, offers[i], maxDrafted);
    if (chosen >= 0 && offered.price >= best.price) continue;
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

void Planner::survive(const PlanEntry& entry) const {
  for (size_t n = 0; n < entry.nodes.size(); ++n) {
    const DraftNode& node = entry.nodes[n];
    const float above = node.parent < 0 ? 1.0f : entry.survival[node.parent];
    entry.survival[n] = above * entry.chance(node);
  }
}

/// Rounds of one of so many sequences that all verify as much.
void Planner::shareRounds(const Prices& prices, const PlanEntry& entry, int sequences, int maxDrafted) {
  const int room = std::min(maxDrafted, prices.rowBudget - sequences) / sequences;
  const int most = std::clamp(room, 0, static_cast<int>(entry.nodes.size()));
  const double draftSeconds = prices.draftSeconds[static_cast<int>(entry.drafter)];
  shares_.clear();
  for (int rows = 1; rows <= 1 + most; ++rows) {
    const double whole = prices.overheadSeconds + prices.pass(rows * sequences);
    shares_.push_back(whole / sequences + draftSeconds + prices.secondsPerContextToken * rows * entry.contextTokens);
  }
}

/// What the next token costs where the text has come to a node, of which `below` are the ones below and `ranked` all of
/// them, perhaps among others.
double Planner::roundBelow(std::span<const Candidate> ranked, uint64_t below, double survival) const {
  const double given = 1 / survival;
  double saved = 0, best = shares_[0];
  size_t drafted = 0;
  for (auto next = ranked.begin(); below != 0; ++next) {
    const uint64_t node = uint64_t{1} << next->node;
    if ((below & node) == 0) continue;
    below ^= node;
    if (++drafted == shares_.size()) break;
    saved += given * next->saves;
    best = std::min(best, shares_[drafted] - saved);
  }
  return std::max(0.0, best);
}

/// Makes an entry's nodes candidates: children come behind their parents, so that from the last one up all below a node
/// are known before it is.
void Planner::addCandidates(const PlanEntry& entry, int32_t index) {
  const auto from = static_cast<int32_t>(candidates_.size());
  std::array<uint64_t, kPlannedNodes> below{};
  for (auto n = static_cast<int32_t>(entry.nodes.size()) - 1; n >= 0; --n) {
    const float survival = entry.survival[n];
    const std::span<const Candidate> ranked = std::span(candidates_).subspan(from);
    const double worth = survival > 0 ? roundBelow(ranked, below[n], survival) : 0;
    const Candidate candidate{survival, index, n, from, survival * worth, below[n]};
    candidates_.insert(std::lower_bound(candidates_.begin() + from, candidates_.end(), candidate), candidate);
    if (const int32_t parent = entry.nodes[n].parent; parent >= 0) below[parent] |= below[n] | uint64_t{1} << n;
  }
}

int Planner::bestCut(const Prices& prices, std::span<const PlanEntry> entries, int maxDrafted, Promise& best) {
  candidates_.clear();
  const auto sequences = static_cast<int>(entries.size());
  int rows = sequences, forced = 0;
  double tokens = rows, draftSeconds = 0, contextRows = 0;
  for (size_t e = 0; e < entries.size(); ++e) {
    const PlanEntry& entry = entries[e];
    contextRows += entry.contextTokens;
    if (entry.nodes.empty()) continue;
    draftSeconds += prices.draftSeconds[static_cast<int>(entry.drafter)];
    std::fill_n(entry.selected, entry.nodes.size(), uint8_t{0});
    survive(entry);
    if (!entry.forced) {
      shareRounds(prices, entry, sequences, maxDrafted);
      addCandidates(entry, static_cast<int32_t>(e));
      continue;
    }
    const int taken = takeForced(entry, maxDrafted - forced);
    for (int n = 0; n < taken; ++n) tokens += entry.survival[n];
    forced += taken;
    contextRows += static_cast<double>(taken) * entry.contextTokens;
  }
  rows += forced;
  if (sequences > 1) std::sort(candidates_.begin(), candidates_.end());
  const int most = std::min({static_cast<int>(candidates_.size()), maxDrafted - forced, prices.rowBudget - rows});
  const double plain = seconds(prices, draftSeconds, rows, contextRows);
  Cut now{rows, 0, tokens, 0, contextRows}, cut = now;
  double least = plain;
  for (int k = 0; k < most; ++k) {
    now.change(candidates_[k], 1, entries[candidates_[k].entry].contextTokens);
    const double price = seconds(prices, draftSeconds, now.rows, now.contextRows) - now.saved;
    if (price < least) least = price, cut = now;
  }
  taken_.assign(entries.size(), 0);
  for (int k = 0; k < cut.nodes; ++k) taken_[candidates_[k].entry] |= uint64_t{1} << candidates_[k].node;
  better(prices, entries, most, cut);
  for (const Candidate& node : candidates_)
    if (isTaken(node)) entries[node.entry].selected[node.node] = 1;
  const double taken = seconds(prices, draftSeconds, cut.rows, cut.contextRows);
  best = {cut.tokens, taken, taken - cut.saved};
  return forced + cut.nodes;
}

void Planner::Cut::change(const Candidate& node, int by, int contextTokens) {
  rows += by, nodes += by;
  tokens += by * node.survival;
  saved += by * node.saves;
  contextRows += static_cast<double>(by) * contextTokens;
}

/// One node more, a branch less, or one node for another, whichever lowers the price most, until none does.
void Planner::better(const Prices& prices, std::span<const PlanEntry> entries, int most, Cut& cut) {
  const auto contextOf = [&](const Candidate& node) { return entries[node.entry].contextTokens; };
  const auto gain = [&](const Candidate& node) { return node.saves - prices.secondsPerContextToken * contextOf(node); };
  const auto move = [&](const Candidate& node, int by) {
    cut.change(node, by, contextOf(node));
    taken_[node.entry] ^= uint64_t{1} << node.node;
  };
  for (size_t step = 0; step < candidates_.size(); ++step) {
    const double now = prices.pass(cut.rows);
    const Candidate *in = nullptr, *leaf = nullptr, *branch = nullptr;
    double less = 0;
    branches_.assign(candidates_.size(), {});
    for (auto next = candidates_.rbegin(); next != candidates_.rend(); ++next) {
      const Candidate& node = *next;
      const int32_t parent = entries[node.entry].nodes[node.node].parent;
      if (!isTaken(node)) {
        const bool fits = parent < 0 || (taken_[node.entry] >> parent & 1);
        if (fits && (in == nullptr || gain(node) >= gain(*in))) in = &node;
        continue;
      }
      Branch& own = branches_[node.first + node.node];
      own.add({gain(node), 1});
      if (parent >= 0) branches_[node.first + parent].add(own);
      const double saved = now - prices.pass(cut.rows - own.rows) - own.gain;
      if (saved > less) less = saved, branch = &node;
      if (own.rows == 1 && (leaf == nullptr || gain(node) <= gain(*leaf))) leaf = &node;
    }
    const double more = in && cut.nodes < most ? gain(*in) - (prices.pass(cut.rows + 1) - now) : 0;
    const double other = in && leaf && !isWithin(*in, *leaf) ? gain(*in) - gain(*leaf) : 0;
    const double gained = std::max({more, less, other});
    if (gained <= 1e-9 * now) return;
    if (gained == more) {
      move(*in, 1);
    } else if (gained == other) {
      move(*leaf, -1), move(*in, 1);
    } else {
      for (const Candidate& each : candidates_)
        if (isTaken(each) && isWithin(each, *branch)) move(each, -1);
    }
  }
}

}  // namespace foretoken
