// The planner against brute force, on thousands of random tables and trees.
#include "speculate/plan.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "check.h"

namespace foretoken {
namespace {

struct Random {
  uint64_t state;
  int below(int bound) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<int>((state >> 33) % static_cast<uint64_t>(bound));
  }
  float unit() { return static_cast<float>(below(10001)) / 10000.0f; }
};

Policy randomPolicy(Random& random) {
  Policy policy;
  policy.rowBudget = 1 + random.below(30);
  float seconds = 1;
  for (int rows = 1; rows <= 1 + random.below(24); ++rows) {
    policy.passSeconds.push_back(seconds);
    seconds += random.below(4) == 0 ? 0.5f * random.unit() : 0.02f * random.unit();  // knees
  }
  policy.overheadSeconds = 0.05f * random.unit();
  policy.secondsPerContextToken = random.below(2) == 0 ? 0 : 1e-5f * random.unit();
  policy.draftSeconds = {0, 0.01f, 0.02f, 0};
  for (auto& drafter : policy.acceptance) {
    for (auto& depth : drafter) {
      for (float& chance : depth) chance = random.unit();
    }
  }
  return policy;
}

struct Sequence {
  std::vector<DraftNode> nodes;
  std::vector<uint8_t> selected;
  std::vector<float> survival;
  bool forced = false;
  int context = 0;
  float trust = 1;
};

Sequence randomSequence(Random& random, int most, bool chain = false) {
  Sequence sequence;
  sequence.context = random.below(2000);
  sequence.trust = random.below(3) == 0 ? 1 : 0.5f + random.unit();
  const int count = random.below(most + 1);
  for (int n = 0; n < count; ++n) {
    const int parent = chain ? n - 1 : random.below(n + 1) - 1;
    const int depth = parent < 0 ? 1 : sequence.nodes[parent].depth + 1;
    sequence.nodes.push_back({n, parent, depth, random.unit()});
  }
  sequence.selected.assign(count, 9);
  sequence.survival.assign(count, -1);
  return sequence;
}

std::vector<PlanEntry> entriesOf(const Policy& policy, std::vector<Sequence>& sequences) {
  std::vector<PlanEntry> entries;
  for (Sequence& s : sequences) {
    entries.push_back({&policy, s.nodes, s.nodes.empty() ? DrafterId::none : DrafterId::suffix, s.context, s.forced,
                       s.selected.data(), s.survival.data(), s.trust});
  }
  return entries;
}

double roundSeconds(const Policy& policy, int rows, int context) {
  return policy.overheadSeconds + policy.draftSeconds[1] + policy.pass(rows) +
         policy.secondsPerContextToken * rows * context;
}

/// The least seconds that are to be expected until the text has left a draft, by where it stands in it: every round
/// may verify any set of nodes that is closed upwards, and the next one begins behind the token that came after them.
struct BruteForce {
  const Policy& policy;
  const Sequence& sequence;
  std::vector<double> least = std::vector<double>(sequence.nodes.size());  ///< by node
  double leastAtRoot = 0;

  BruteForce(const Policy& of, const Sequence& decoded) : policy(of), sequence(decoded) {
    for (int at = count() - 1; at >= 0; --at) least[at] = best(at);
    leastAtRoot = best(-1);
  }
  int count() const { return static_cast<int>(sequence.nodes.size()); }
  int parent(int node) const { return sequence.nodes[node].parent; }
  double survival(int node) const { return node < 0 ? 1 : sequence.survival[node]; }
  bool isBelow(int node, int at) const {
    while (node > at) node = parent(node);
    return node == at;
  }
  /// Of a round that verifies `set` where the text stands at `at`, and all after it.
  double seconds(int at, uint32_t set) const {
    double expected = roundSeconds(policy, 1 + std::popcount(set), sequence.context);
    for (int n = at + 1; n < count(); ++n) {
      const bool isNext = isBelow(n, at) && (set >> n & 1) == 0 && (parent(n) == at || (set >> parent(n) & 1) != 0);
      if (isNext && survival(at) > 0) expected += survival(n) / survival(at) * least[n];
    }
    return expected;
  }
  double best(int at) const {
    double fewest = 1e9;
    for (uint32_t set = 0; set < 1u << count(); ++set) {
      bool closed = true;
      for (int n = 0; n < count() && closed; ++n) {
        if (set >> n & 1) closed = n > at && isBelow(n, at) && (parent(n) == at || (set >> parent(n) & 1) != 0);
      }
      const int rows = 1 + std::popcount(set);
      if (closed && (rows == 1 || rows <= policy.rowBudget)) fewest = std::min(fewest, seconds(at, set));
    }
    return fewest;
  }
};

uint32_t setOf(const std::vector<uint8_t>& selected) {
  uint32_t set = 0;
  for (size_t n = 0; n < selected.size(); ++n) set |= uint32_t{selected[n]} << n;
  return set;
}

/// No way to verify a chain takes fewer seconds until the text leaves it.
void isOptimalForChains(Random& random) {
  Planner planner(64);
  for (int round = 0; round < 1500; ++round) {
    const Policy policy = randomPolicy(random);
    std::vector<Sequence> sequences = {randomSequence(random, 7, /*chain=*/true)};
    const auto entries = entriesOf(policy, sequences);
    planner.plan(policy, entries, 96);
    const auto promised = planner.promise(policy, entries[0], 96);
    if (sequences[0].nodes.empty()) continue;
    const BruteForce other(policy, sequences[0]);
    const double next = sequences[0].survival[0] * other.least[0];
    CHECK(std::abs(other.seconds(-1, setOf(sequences[0].selected)) - other.leastAtRoot) < 1e-6 * other.leastAtRoot);
    CHECK(std::abs(promised.price + next - other.leastAtRoot) < 1e-6 * other.leastAtRoot);
  }
}

/// Of trees not all sets are looked at, and hardly anything is lost by that.
void isNearlyOptimalForTrees(Random& random) {
  Planner planner(64);
  double taken = 0, least = 0;
  for (int round = 0; round < 400; ++round) {
    const Policy policy = randomPolicy(random);
    std::vector<Sequence> sequences = {randomSequence(random, 7)};
    planner.plan(policy, entriesOf(policy, sequences), 96);
    const BruteForce other(policy, sequences[0]);
    taken += other.seconds(-1, setOf(sequences[0].selected));
    least += other.leastAtRoot;
  }
  CHECK(taken < 1.002 * least);
}

/// Who shares a pass with three others like itself plans as if it had one alone that takes a quarter.
void plansAlikeInABatch(Random& random) {
  Planner planner(4 * 48);
  for (int round = 0; round < 500; ++round) {
    Policy alone = randomPolicy(random);
    alone.rowBudget = 48;
    for (auto& drafter : alone.acceptance)
      for (auto& depth : drafter)
        for (float& chance : depth) chance *= 0.99f;  // no two nodes survive alike
    Policy together = alone;
    together.rowBudget = 4 * 48;
    together.overheadSeconds *= 4;
    together.passSeconds.clear();
    for (int row = 0; row < 4 * 48; ++row)
      together.passSeconds.push_back(4 * static_cast<float>(alone.pass(1 + row / 4)));
    std::vector<Sequence> one = {randomSequence(random, 40, /*chain=*/true)};
    std::vector<Sequence> four(4, one[0]);
    const int own = planner.plan(alone, entriesOf(alone, one), 48);
    CHECK(planner.plan(together, entriesOf(together, four), 192) == 4 * own);
    for (const Sequence& each : four) CHECK(each.selected == one[0].selected);
  }
}

/// Tables that have it that a node is accepted as often as its confidence says, at the knots.
Policy believing(float perRow) {
  Policy policy;
  policy.rowBudget = 16;
  for (int row = 0; row < 16; ++row) policy.passSeconds.push_back(1 + perRow * static_cast<float>(row));
  for (auto& drafter : policy.acceptance)
    for (auto& depth : drafter)
      for (int knot = 0; knot < kPolicyKnots; ++knot)
        depth[knot] = 1 / (1 + std::exp(-0.75f * (static_cast<float>(knot) - (kPolicyKnots - 1) / 2.0f)));
  return policy;
}

Sequence sequenceOf(std::vector<DraftNode> nodes, int context = 0) {
  Sequence sequence;
  sequence.nodes = std::move(nodes);
  sequence.selected.assign(sequence.nodes.size(), 9);
  sequence.survival.assign(sequence.nodes.size(), -1);
  sequence.context = context;
  return sequence;
}

/// A node that a sure one follows is worth little: one that survives less, with nothing to follow, goes before it.
void goesByWorth() {
  const Policy policy = believing(0.1f);
  std::vector<Sequence> sequences = {
      sequenceOf({{1, -1, 1, 0.15f}, {2, -1, 1, 0.75f}, {3, 1, 2, 0.2f}, {4, 2, 3, 0.7f}})};
  Planner planner(48);
  CHECK(planner.plan(policy, entriesOf(policy, sequences), 96) == 2);
  CHECK(sequences[0].selected == (std::vector<uint8_t>{1, 1, 0, 0}));
}

/// Rows of a long text cost more than those of short ones, and have to bring more.
void paysForContext() {
  Policy policy = believing(0.02f);
  policy.rowBudget = 48;
  policy.secondsPerContextToken = 1e-4f;
  const auto chain = [](std::vector<float> chances) {
    std::vector<DraftNode> nodes;
    for (int n = 0; n < static_cast<int>(chances.size()); ++n) nodes.push_back({n, n - 1, n + 1, chances[n]});
    return nodes;
  };
  std::vector<Sequence> sequences = {sequenceOf(chain(std::vector<float>(8, 0.9f)), 8000)};
  for (int s = 0; s < 3; ++s) sequences.push_back(sequenceOf(chain({0.7f, 0.7f, 0.6f}), 150));
  Planner planner(48);
  const auto entries = entriesOf(policy, sequences);
  planner.plan(policy, entries, 96);
  std::array<int, 4> taken{};
  for (int s = 0; s < 4; ++s)
    taken[s] = static_cast<int>(std::count(sequences[s].selected.begin(), sequences[s].selected.end(), 1));
  for (int s = 1; s < 4; ++s) CHECK(taken[s] == 3);
  CHECK(taken[0] < 3);
}

void keepsItsRules(Random& random) {
  Planner planner(6 * 48);
  for (int round = 0; round < 4000; ++round) {
    const Policy policy = randomPolicy(random);
    std::vector<Sequence> sequences;
    for (int s = 0, count = 1 + random.below(6); s < count; ++s) {
      sequences.push_back(randomSequence(random, 48));
      sequences.back().forced = random.below(8) == 0;
    }
    const int most = random.below(96);
    const int taken = planner.plan(policy, entriesOf(policy, sequences), most);
    int counted = 0, forced = 0;
    for (const Sequence& s : sequences) {
      for (size_t n = 0; n < s.nodes.size(); ++n) {
        CHECK(s.selected[n] <= 1 && s.survival[n] >= 0 && s.survival[n] <= 1);
        const int32_t parent = s.nodes[n].parent;
        CHECK(parent < 0 || (s.survival[n] <= s.survival[parent] && s.selected[n] <= s.selected[parent]));
        counted += s.selected[n];
        forced += s.forced && s.selected[n];
      }
    }
    CHECK(taken == counted && taken <= most);
    CHECK(counted - forced == 0 || counted + static_cast<int>(sequences.size()) <= policy.rowBudget);
  }
}

/// The set depends on nothing but its arguments, and where rows cost nothing it is all there is.
void isDeterministic(Random& random) {
  Planner planner(6 * 48);
  for (int round = 0; round < 1000; ++round) {
    Policy policy = randomPolicy(random);
    std::vector<Sequence> sequences = {randomSequence(random, 40), randomSequence(random, 40)};
    const int first = planner.plan(policy, entriesOf(policy, sequences), 96);
    auto again = sequences;
    CHECK(planner.plan(policy, entriesOf(policy, again), 96) == first);
    CHECK(again[0].selected == sequences[0].selected && again[1].selected == sequences[1].selected);
    const float base = policy.passSeconds[0];
    policy.secondsPerContextToken = 0;
    policy.passSeconds.assign(100, base);
    policy.rowBudget = 1000;
    const int all = static_cast<int>(sequences[0].nodes.size() + sequences[1].nodes.size());
    int lost = 0;  // what adds nothing that a double could see may be left out
    for (const Sequence& s : sequences)
      lost += std::count_if(s.survival.begin(), s.survival.end(), [](float v) { return v < 1e-12f; });
    CHECK(planner.plan(policy, entriesOf(policy, sequences), 96) >= all - lost);
  }
}

void choosesNoneWhereNothingPays() {
  Policy policy;
  policy.rowBudget = 16;
  for (int rows = 1; rows <= 16; ++rows) policy.passSeconds.push_back(static_cast<float>(rows));
  for (auto& depth : policy.acceptance[1]) depth.fill(0.9f);
  std::vector<Sequence> sequences(1);
  for (int n = 0; n < 8; ++n) sequences[0].nodes.push_back({n, n - 1, n + 1, 0.9f});
  sequences[0].selected.assign(8, 9);
  sequences[0].survival.assign(8, -1);
  Planner planner(48);
  CHECK(planner.plan(policy, entriesOf(policy, sequences), 96) == 0);
  CHECK(std::count(sequences[0].selected.begin(), sequences[0].selected.end(), 0) == 8);
  // A knee: rows 2..4 cost as much as five and pay only together.
  policy.passSeconds = {1.0f, 1.95f, 1.95f, 1.95f, 1.95f, 1.95f, 9.0f};
  CHECK(planner.plan(policy, entriesOf(policy, sequences), 96) == 5);
}

void extrapolatesPrices() {
  Policy policy;
  policy.passSeconds = {1.0f, 1.5f, 2.5f};
  CHECK(policy.pass(1) == 1 && policy.pass(3) == 2.5 && policy.pass(5) == 4.5);
  policy.passSeconds = {2.0f};
  CHECK(policy.pass(3) == 6);
}

/// The best offer, but those that a blend is made of stand back behind it.
void choosesTheBlend() {
  Policy policy;
  policy.rowBudget = 16;
  policy.passSeconds.assign(16, 1.0f);
  for (auto& drafter : policy.acceptance) drafter[0].fill(0.5f);
  for (auto& depth : policy.acceptance[static_cast<int>(DrafterId::recall)]) depth.fill(0.9f);
  for (auto& depth : policy.acceptance[static_cast<int>(DrafterId::prediction)]) depth.fill(0.8f);
  const DraftNode node{1, -1, 1, 0.5f};
  std::array<uint8_t, 4> selected;
  std::array<float, 4> survival;
  const auto offer = [&](DrafterId which, int count, size_t at) {
    return PlanEntry{&policy, {&node, static_cast<size_t>(count)}, which, 0, false, &selected[at], &survival[at]};
  };
  Planner planner(48);
  Planner::Promise promise;
  std::array<PlanEntry, 3> offers = {offer(DrafterId::suffix, 1, 0), offer(DrafterId::recall, 1, 1),
                                     offer(DrafterId::blend, 1, 2)};
  CHECK(planner.choose(policy, offers, 96, promise) == 2 && std::abs(promise.tokens - 1.5) < 1e-6);
  offers[2] = offer(DrafterId::blend, 0, 2);
  CHECK(planner.choose(policy, offers, 96, promise) == 1 && std::abs(promise.tokens - 1.9) < 1e-6);
  offers = {offer(DrafterId::recall, 1, 0), offer(DrafterId::prediction, 1, 1), offer(DrafterId::blend, 1, 2)};
  CHECK(planner.choose(policy, offers, 96, promise) == 1 && std::abs(promise.tokens - 1.8) < 1e-6);
  offers = {offer(DrafterId::recall, 0, 0), offer(DrafterId::prediction, 0, 1), offer(DrafterId::blend, 0, 2)};
  CHECK(planner.choose(policy, offers, 96, promise) == -1 && promise.tokens == 1);
}

/// A text's own word moves a draft's chances, path by path, and with them what is worth its row and who drafts.
void plansWithTrust() {
  Policy policy;
  policy.rowBudget = 16;
  for (int rows = 0; rows < 16; ++rows) policy.passSeconds.push_back(1 + 0.3f * static_cast<float>(rows));
  for (auto& drafter : policy.acceptance)
    for (auto& depth : drafter) depth.fill(0.8f);
  std::vector<Sequence> sequences(1);
  for (int n = 0; n < 8; ++n) sequences[0].nodes.push_back({n, n - 1, n + 1, 0.5f});
  sequences[0].selected.assign(8, 9);
  sequences[0].survival.assign(8, -1);
  Planner planner(48);
  const auto lengthAt = [&](float trust) {
    sequences[0].trust = trust;
    const int taken = planner.plan(policy, entriesOf(policy, sequences), 96);
    const float chance = std::min(0.99f, 0.8f * trust);
    for (int n = 0; n < 8; ++n) CHECK(std::abs(sequences[0].survival[n] - std::pow(chance, n + 1)) < 1e-5);
    return taken;
  };
  CHECK(lengthAt(0.3f) == 0);
  CHECK(lengthAt(1) > 0 && lengthAt(1) < 8);
  CHECK(lengthAt(2) == 8);
  for (auto& depth : policy.acceptance[1]) depth.fill(1);
  sequences[0].trust = 2;
  planner.plan(policy, entriesOf(policy, sequences), 96);
  CHECK(std::abs(sequences[0].survival[7] - std::pow(0.99f, 8)) < 1e-5);  // nothing is certain
  PlanEntry suffix = entriesOf(policy, sequences)[0], recall = suffix;
  recall.drafter = DrafterId::recall;
  Planner::Promise promise;
  for (const float trust : {0.5f, 2.0f}) {
    suffix.trust = trust;
    recall.trust = 1 / trust;
    for (auto& depth : policy.acceptance[1]) depth.fill(0.5f);
    for (auto& depth : policy.acceptance[4]) depth.fill(0.5f);
    const std::array<PlanEntry, 2> offers = {suffix, recall};
    CHECK(planner.choose(policy, offers, 96, promise) == (trust > 1 ? 0 : 1));
  }
}

void trustFollowsTheText() {
  TextTrust trust;
  CHECK(trust.of(DrafterId::suffix, 60) == 1);
  for (int i = 0; i < 20; ++i) trust.add(DrafterId::suffix, 0.5f, i % 4 == 0);
  CHECK(std::abs(trust.of(DrafterId::suffix, 60) - 65.0f / 70.0f) < 1e-6);
  CHECK(std::abs(trust.of(DrafterId::suffix, 10) - 15.0f / 20.0f) < 1e-6);
  CHECK(trust.of(DrafterId::suffix, 0) == 1);
  CHECK(trust.of(DrafterId::recall, 60) == 1);  // each drafter has its own
  trust.fade();
  CHECK(std::abs(trust.of(DrafterId::suffix, 60) - (60 + 5 * 0.98) / (60 + 10 * 0.98)) < 1e-6);
  for (int i = 0; i < 50; ++i) trust.add(DrafterId::suffix, 0.2f, true);
  CHECK(trust.of(DrafterId::suffix, 60) > 1);
  for (int i = 0; i < 1000; ++i) trust.fade();
  CHECK(std::abs(trust.of(DrafterId::suffix, 60) - 1) < 1e-6);
}

/// Knots and what lies between them; numbers that are no confidences are those of an end.
void readsBetweenTheKnots() {
  Policy policy;
  policy.acceptance[1][0][0] = 0.1f;
  policy.acceptance[1][0][15] = 0.9f;
  policy.acceptance[1][7][7] = 0.4f;
  policy.acceptance[1][7][8] = 0.6f;
  for (const float low : {0.0f, 0.002f, -1.0f, std::nanf("")})
    CHECK(policy.acceptanceOf(DrafterId::suffix, 1, low) == 0.1f);
  for (const float high : {1.0f, 0.998f, 2.0f}) CHECK(policy.acceptanceOf(DrafterId::suffix, 1, high) == 0.9f);
  for (const int depth : {8, 30}) {
    CHECK(std::abs(policy.acceptanceOf(DrafterId::suffix, depth, 0.5f) - 0.5f) < 1e-6);
    CHECK(std::abs(policy.acceptanceOf(DrafterId::suffix, depth, 0.59266f) - 0.6f) < 1e-4);  // 0.375 of log odds
  }
  float last = 0;
  for (int i = 0; i <= 1000; ++i) {
    const float place = knotPlace(static_cast<float>(i) / 1000);
    CHECK(place >= last && place <= kPolicyKnots - 1);
    last = place;
  }
  CHECK(knotPlace(0.5f) == 7.5f);
}

}  // namespace
}  // namespace foretoken

int main() {
  using namespace foretoken;
  Random random{2024};
  isOptimalForChains(random);
  isNearlyOptimalForTrees(random);
  plansAlikeInABatch(random);
  goesByWorth();
  paysForContext();
  keepsItsRules(random);
  isDeterministic(random);
  choosesNoneWhereNothingPays();
  extrapolatesPrices();
  choosesTheBlend();
  plansWithTrust();
  trustFollowsTheText();
  readsBetweenTheKnots();
  return test::finish("plan");
}
