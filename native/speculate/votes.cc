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
}  // namespace

float VoteFit::chance(const Vote& vote) const {
  const float part = std::clamp(vote.weight / vote.all, kLeastShare, kMostShare);
  const float s = std::log(part / (1 - part)), t = std::log(std::max(vote.all, kLeastWeight));
  const float v = std::log(static_cast<float>(vote.voters)), h = std::log(std::max(vote.loudest, kLeastWeight));
  float odds = constant + share * s + total * t + voters * v + loudest * h;
  odds += s * (shareTotal * t + shareVoters * v + shareLoudest * h);
  odds += depth * static_cast<float>(std::min(vote.depth, kDeep));
  if (vote.voters == 1) odds += single + singleTotal * t;
  if (vote.echoes > 0) odds += echo + echoShare * vote.echoes / vote.weight;
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
  float total = rules_.prior;
  for (int32_t i = voters.begin; i < voters.end; ++i) total += pool_[i].weight;
  const int groups = group(voters);
  const int branches = std::min(groups, kBranches);
  std::partial_sort(groups_.begin(), groups_.begin() + branches, groups_.begin() + groups,
                    [](const Group& a, const Group& b) { return a.weight > b.weight; });
  const VoteFit& fit = depth == 1 ? rules_.first : rules_.deeper;
  std::array<float, kBranches> chances;
  float sum = 0;
  for (int g = 0; g < branches; ++g) {
    const Group& voted = groups_[g];
    sum += chances[g] =
        !rules_.fitted
            ? voted.weight / total
            : fit.chance({voted.weight, total, voted.end - voted.begin, voted.heaviest, voted.echoes, depth});
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
    float weight = 0, heaviest = 0, echoes = 0;
    for (int32_t i = first; i < voters.end; ++i) {
      if (*pool_[i].next != token) continue;
      weight += pool_[i].weight;
      heaviest = std::max(heaviest, pool_[i].weight);
      if (pool_[i].isEcho) echoes += pool_[i].weight;
      std::swap(pool_[last++], pool_[i]);
    }
    groups_[count++] = {first, last, weight, heaviest, echoes};
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
