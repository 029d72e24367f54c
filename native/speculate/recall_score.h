// What makes two places alike, and what a place's vote weighs: one definition for the CPU and for CUDA.
#pragma once
#include <array>
#include <cstdint>

#include "speculate/votes.h"

namespace foretoken {

// Tuned on greedy answers of a small model by the speed that the planner makes of them.
constexpr float kSameToken = 0.04f;  ///< what a token before that is the same adds to a score …
constexpr int kSameTokens = 8;       ///< … for so many at most
constexpr int kRecallSteps = 256;    ///< a voter weighs exp(10 (score - 1)), in so many steps a unit
constexpr VoteRules kRecallRules = {.prior = 0.05f, .growth = 0, .most = 100};

/// Cosine of two keys, of which `dot` is the product, and a little more for every token before that is the same.
constexpr float recallScore(int32_t dot, int same) {
  constexpr float kOne = 127.0f * 127.0f;
  return static_cast<float>(dot) / kOne + kSameToken * static_cast<float>(same);
}

constexpr int kRecallWeightCount = kRecallSteps + static_cast<int>(kSameToken * kSameTokens * kRecallSteps) + 2;
/// By products of one constant, so that the weights are the same bits on every machine.
constexpr auto kRecallWeights = [] {
  constexpr double kStep = 1.03983547;  // exp(10 / kRecallSteps)
  std::array<float, kRecallWeightCount> weights{};
  double weight = 1;
  for (int i = kRecallSteps; i >= 0; --i, weight /= kStep) weights[i] = static_cast<float>(weight);
  weight = 1;
  for (int i = kRecallSteps; i < kRecallWeightCount; ++i, weight *= kStep) weights[i] = static_cast<float>(weight);
  return weights;
}();
/// Which of them is a score's.
constexpr int recallWeightStep(float score) {
  const int step = static_cast<int>(score * kRecallSteps + 0.5f);
  return step < 0 ? 0 : step < kRecallWeightCount ? step : kRecallWeightCount - 1;
}

}  // namespace foretoken
