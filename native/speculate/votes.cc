#include "speculate/votes.h"

#include <algorithm>
#include <cmath>

namespace foretoken {
namespace {
constexpr int kBranches = 3;  ///< most children of a node
constexpr float kHopeless = 0.01f;
constexpr float kLeastWeight = 0.02f;
constexpr float kLeastShare = 0.005f, kMostShare = 0.995f;
constexpr float kLeastChance = 0.002f, kMostChance = 0.998f;
constexpr int32_t kDeep = 8;  ///< deeper ones are alike
constexpr int kLetters = 8;   ///< matches up to here count in the weights
}  // namespace

float VoteFit::chance(const Vote& vote) const {
  const float part = std::clamp(vote.weights.all / vote.total.all, kLeastShare, kMostShare);
  const float s = std::log(part / (1 - part)), t = std::log(std::max(vote.total.all, kLeastWeight));
  const float v = std::log(static_cast<float>(vote.voters)), h = std::log(std::max(vote.loudest, kLeastWeight));
  float odds = constant + share * s + total * t + voters * v + loudest * h;
  odds += s * (shareTotal * t + shareVoters * v + shareLoudest * h);
  odds += depth * static_cast<float>(std::min(vote.depth, kDeep));
  if (vote.voters == 1) odds += single + singleTotal * t;
  if (const float echoes = vote.weights.share(Origin::echo); echoes > 0) odds += echo + echoShare * echoes;
  odds += prompt * vote.weights.share(Origin::prompt) + answer * vote.weights.share(Origin::answer);
  odds += copied * std::max(0.0f, std::log(static_cast<float>(1 + vote.match) / (1 + kLetters)));
  odds += allPrompt * vote.total.share(Origin::prompt) + allAnswer * vote.total.share(Origin::answer);
  return std::clamp(1 / (1 + std::exp(-odds)), kLeastChance, kMostChance);
}

Voters VoteTree::room(int most) {
  return {std::span(pool_).subspan(poolSize_, std::min<size_t>(most, pool_.size() - poolSize_))};
}

VoteTree::Range VoteTree::commit(const Voters& voters) {
  poolSize_ += voters.count;
  return {poolSize_ - voters.count, poolSize_};
}

void VoteTree::branch(int32_t parent, int32_t depth, float survival, Range voters) {
  voters.end = dropExhausted(voters);
  VoteWeights total{rules_.prior};
  for (int32_t i = voters.begin; i < voters.end; ++i) total.add(pool_[i]);
  const int groups = group(voters);
  const int branches = std::min(groups, kBranches);
  std::partial_sort(groups_.begin(), groups_.begin() + branches, groups_.begin() + groups,
                    [](const Group& a, const Group& b) { return a.weights.all > b.weights.all; });
  const VoteFit& fit = depth == 1 ? rules_.first : rules_.deeper;
  std::array<float, kBranches> chances;
  float sum = 0;
  for (int g = 0; g < branches; ++g) {
    const Group& voted = groups_[g];
    sum += chances[g] =
        !rules_.fitted
            ? voted.weights.all / total.all
            : fit.chance({voted.weights, total, voted.end - voted.begin, voted.heaviest, voted.match, depth});
  }
  for (int g = 0; g < branches && candidateCount_ < static_cast<int>(candidates_.size()); ++g) {
    const float confidence = chances[g] / std::max(sum, 1.0f);
    if (survival * confidence < kHopeless) continue;
    const int32_t token = *pool_[groups_[g].begin].next;
    for (int32_t i = groups_[g].begin; i < groups_[g].end; ++i) {
      ++pool_[i].next;
      pool_[i].weight = std::min(pool_[i].weight + rules_.growth, rules_.most);
    }
    candidates_[candidateCount_++] = {
        {token, parent, depth, confidence}, survival * confidence, groups_[g].begin, groups_[g].end};
  }
}

/// Moves those that know no further behind the others; returns the end of the others.
int32_t VoteTree::dropExhausted(Range voters) {
  int32_t alive = voters.begin;
  for (int32_t i = voters.begin; i < voters.end; ++i) {
    if (pool_[i].next != pool_[i].end && *pool_[i].next != kBorder) std::swap(pool_[alive++], pool_[i]);
  }
  return alive;
}

/// Brings voters for one token together, in place, and fills groups_; returns how many there are.
int VoteTree::group(Range voters) {
  int count = 0;
  for (int32_t first = voters.begin; first < voters.end && count < static_cast<int>(groups_.size());) {
    const int32_t token = *pool_[first].next;
    int32_t last = first;
    VoteWeights weights;
    float heaviest = 0;
    int match = 0;
    for (int32_t i = first; i < voters.end; ++i) {
      if (*pool_[i].next != token) continue;
      weights.add(pool_[i]);
      heaviest = std::max(heaviest, pool_[i].weight);
      match = std::max(match, pool_[i].match);
      std::swap(pool_[last++], pool_[i]);
    }
    groups_[count++] = {first, last, weights, heaviest, match};
    first = last;
  }
  return count;
}

VoteTree::Candidate VoteTree::popBest() {
  int best = 0;
  for (int i = 1; i < candidateCount_; ++i) {
    if (candidates_[i].survival > candidates_[best].survival) best = i;
  }
  const Candidate result = candidates_[best];
  candidates_[best] = candidates_[--candidateCount_];
  return result;
}

}  // namespace foretoken
