// The rules of drawing tokens once more, slowly, in double, and what it takes to hold a sampler to them.
#pragma once
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <vector>

#include "backend.h"

namespace foretoken::test {

inline std::vector<float> randomLogits(uint32_t seed, int count, float spread) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> logits(count);
  for (float& x : logits) x = normal(random);
  return logits;
}

inline SampleRow rowWith(float temperature, uint64_t seed = 1) {
  SampleRow row{};
  row.seed = seed;
  row.temperature = temperature;
  row.topP = row.repetitionPenalty = 1;
  row.logprobs = -1;
  return row;
}

enum class Rule { right, topPOneShort, temperatureAfterTopP };

/// Exact probability of every token.
inline std::vector<double> exact(const std::vector<float>& logits, const SampleRow& row, Rule rule = Rule::right) {
  const int n = static_cast<int>(logits.size());
  std::vector<double> x(logits.begin(), logits.end());
  for (int i = 0; i < row.biasCount; ++i) x[row.biasToken[i]] += row.biasValue[i];
  std::map<int, int> counts;
  for (int i = 0; i < row.historyLength; ++i) ++counts[row.history[i]];
  for (int i = 0; i < row.history2Length; ++i) ++counts[row.history2[i]];
  for (auto [token, count] : counts) {
    x[token] = x[token] > 0 ? x[token] / row.repetitionPenalty : x[token] * row.repetitionPenalty;
    x[token] -= row.presencePenalty + count * row.frequencyPenalty;
  }
  std::vector<int> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return x[a] > x[b]; });
  const auto probabilities = [&](double temperature, const std::vector<bool>& kept) {
    std::vector<double> p(n);
    double total = 0;
    for (int i = 0; i < n; ++i) total += p[i] = kept[i] ? std::exp((x[i] - x[order[0]]) / temperature) : 0;
    for (double& v : p) v /= total;
    return p;
  };
  std::vector<bool> kept(n, true);
  for (int i = 0; i < n && row.topK > 0; ++i) kept[order[i]] = i < row.topK;
  std::vector<double> p = probabilities(rule == Rule::temperatureAfterTopP ? 1 : row.temperature, kept);
  double mass = 0;
  int last = -1;
  for (int i = 0; i < n && row.topP < 1; ++i) {
    if (mass >= row.topP)
      kept[order[i]] = false;
    else if (kept[order[i]])
      last = order[i];
    mass += p[order[i]];
  }
  if (rule == Rule::topPOneShort) kept[last] = false;
  for (int i = 0; i < n; ++i)
    if (p[i] < row.minP * p[order[0]]) kept[i] = false;
  return probabilities(row.temperature, kept);
}

inline int inverse(const std::vector<double>& p, double noise) {
  double passed = 0;
  for (size_t i = 0; i < p.size(); ++i)
    if ((passed += p[i]) > noise) return static_cast<int>(i);
  return static_cast<int>(p.size()) - 1;
}

/// Standard normal score of the chi-square statistic (Wilson and Hilferty); tokens expected fewer than 8 times are
/// pooled.
inline double chiSquareScore(const std::vector<int>& tokens, const std::vector<double>& p) {
  std::vector<int> counts(p.size());
  for (int t : tokens) ++counts[t];
  double statistic = 0, pooledExpected = 0, pooledSeen = 0;
  int cells = 0;
  const auto cell = [&](double seen, double expected) {
    statistic += (seen - expected) * (seen - expected) / expected;
    ++cells;
  };
  for (size_t i = 0; i < p.size(); ++i) {
    const double expected = p[i] * static_cast<double>(tokens.size());
    if (expected == 0 && counts[i] > 0) return 1e9;
    if (expected >= 8) {
      cell(counts[i], expected);
    } else {
      pooledExpected += expected;
      pooledSeen += counts[i];
    }
  }
  if (pooledExpected > 0) cell(pooledSeen, std::max(pooledExpected, 1e-9));
  if (cells < 2) return 0;
  const double k = cells - 1, spread = 2 / (9 * k);
  return (std::cbrt(statistic / k) - (1 - spread)) / std::sqrt(spread);
}
constexpr double kRejected = 4.5;  // one in 300,000 by chance; the seeds are fixed anyway

inline const int32_t kHistory[] = {3, 7, 7, 11, 200, 3, 7}, kHistory2[] = {11, 5};
inline const int32_t kBiasToken[] = {2, 9, 30};
inline const float kBiasValue[] = {1.5f, -3.0f, 0.7f};

/// One row of every kind of rule, and all at once.
inline std::vector<SampleRow> ruleRows() {
  std::vector<SampleRow> rows;
  const auto add = [&](float temperature, auto change) {
    rows.push_back(rowWith(temperature, rows.size() + 77));
    change(rows.back());
  };
  add(1.0f, [](SampleRow&) {});
  add(0.6f, [](SampleRow&) {});
  add(1.7f, [](SampleRow& r) { r.topK = 10; });
  add(1.0f, [](SampleRow& r) { r.topP = 0.8f; });
  add(0.8f, [](SampleRow& r) { r.minP = 0.05f; });
  const auto penalties = [](SampleRow& r) {
    r.repetitionPenalty = 1.3f;
    r.presencePenalty = 0.4f;
    r.frequencyPenalty = 0.3f;
    r.history = kHistory;
    r.historyLength = 7;
    r.history2 = kHistory2;
    r.history2Length = 2;
  };
  add(1.0f, penalties);
  add(1.2f, [&](SampleRow& r) {
    penalties(r);
    r.biasToken = kBiasToken;
    r.biasValue = kBiasValue;
    r.biasCount = 3;
    r.topK = 40;
    r.topP = 0.9f;
    r.minP = 0.02f;
  });
  return rows;
}

}  // namespace foretoken::test
