// The sampler: what it draws against exact probabilities computed apart from it in double (chi-square, and token by
// token), deliberately wrong rules that the same chi-square must reject, ties, noise, log-probabilities, broken logits.
#include "cpu/sample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <vector>

#include "check.h"
#include "common/philox.h"
#include "sample_rules.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<Isa> isas() {
  std::vector<Isa> available;
  for (Isa isa : kIsas)
    if (isaAvailable(isa)) available.push_back(isa);
  return available;
}

std::vector<SampleResult> drawAll(Isa isa, int threads, const std::vector<float>& logits,
                                  const std::vector<SampleRow>& rows) {
  ThreadPool pool(threads);
  Sampler sampler(sampleKernels(isa), pool);
  std::vector<SampleResult> out(rows.size());
  const int vocabulary = static_cast<int>(logits.size());
  sampler.sample(logits.data(), vocabulary, vocabulary, rows, out);
  return out;
}

std::vector<int> drawPositions(Isa isa, const std::vector<float>& logits, SampleRow row, int positions) {
  std::vector<SampleRow> rows;
  for (int p = 0; p < positions; ++p) {
    row.position = p;
    rows.push_back(row);
  }
  std::vector<int> tokens;
  for (const SampleResult& r : drawAll(isa, 2, logits, rows)) tokens.push_back(r.token);
  return tokens;
}

// --- tests
// ----------------------------------------------------------------------------------------------------------------

void testDistribution() {
  constexpr int kDraws = 40000;
  for (int vocabulary : {213, 1500}) {
    const std::vector<float> logits = randomLogits(vocabulary, vocabulary, 2);
    for (const SampleRow& row : ruleRows()) {
      const std::vector<double> p = exact(logits, row);
      const std::vector<int> tokens = drawPositions(isas().back(), logits, row, kDraws);
      CHECK(chiSquareScore(tokens, p) < kRejected);
      int different = 0;
      for (int i = 0; i < kDraws; ++i) different += tokens[i] != inverse(p, positionNoise(row.seed, i));
      CHECK(different <= 4);  // single against double precision at the borders between tokens
    }
  }
}

void testWrongRulesAreRejected() {
  constexpr int kDraws = 40000;
  const std::vector<float> logits = randomLogits(5, 213, 2);
  SampleRow row = rowWith(0.7f);
  row.topP = 0.8f;
  for (Rule wrong : {Rule::topPOneShort, Rule::temperatureAfterTopP}) {
    const std::vector<double> p = exact(logits, row, wrong);
    std::vector<int> tokens;
    for (int i = 0; i < kDraws; ++i) tokens.push_back(inverse(p, positionNoise(row.seed, i)));
    CHECK(chiSquareScore(tokens, exact(logits, row)) > kRejected);
  }
}

/// Tokens of neighbouring positions, and of one position under neighbouring seeds, are independent; noise that two
/// positions share must not pass for that.
void testPositionsAreIndependent() {
  constexpr int kDraws = 40000, kTokens = 12;
  const std::vector<float> logits = randomLogits(9, kTokens, 1);
  const SampleRow row = rowWith(1);
  const std::vector<double> p = exact(logits, row);
  std::vector<double> pairs;
  for (double a : p)
    for (double b : p) pairs.push_back(a * b);
  const std::vector<int> tokens = drawPositions(isas().back(), logits, row, 2 * kDraws);
  const std::vector<int> others = drawPositions(isas().back(), logits, rowWith(1, row.seed + 1), 2 * kDraws);
  std::vector<int> serial, seeds, shared;
  for (int i = 0; i < kDraws; ++i) {
    serial.push_back(tokens[2 * i] * kTokens + tokens[2 * i + 1]);
    seeds.push_back(tokens[i] * kTokens + others[i]);
    shared.push_back(tokens[2 * i] * kTokens + inverse(p, positionNoise(row.seed, 2 * i)));
  }
  CHECK(chiSquareScore(serial, pairs) < kRejected);
  CHECK(chiSquareScore(seeds, pairs) < kRejected);
  CHECK(chiSquareScore(shared, pairs) > kRejected);
}

void testPathsAndThreadsAgree() {
  const std::vector<float> logits = randomLogits(2, 5003, 3);
  std::vector<SampleRow> rows;
  for (SampleRow row : ruleRows()) {
    row.logprobs = 5;
    for (row.position = 0; row.position < 40; ++row.position) rows.push_back(row);
  }
  const auto expected = drawAll(Isa::portable, 1, logits, rows);
  for (Isa isa : isas()) {
    for (int threads = 1; threads <= 4; ++threads) {
      const auto got = drawAll(isa, threads, logits, rows);
      CHECK(std::memcmp(expected.data(), got.data(), got.size() * sizeof(SampleResult)) == 0);
    }
    // A row alone is the row among others.
    for (size_t i = 0; i < rows.size(); i += 37)
      CHECK(std::memcmp(&drawAll(isa, 1, logits, {rows[i]})[0], &expected[i], sizeof(SampleResult)) == 0);
  }
}

void testGreedy() {
  for (Isa isa : isas()) {
    std::vector<float> logits = randomLogits(3, 1700, 1);
    logits[600] = logits[601] = logits[1699] = 9;
    SampleRow row = rowWith(0);
    CHECK(drawAll(isa, 1, logits, {row})[0].token == 600);
    row.biasToken = kBiasToken;
    const float bias[] = {20.0f};
    row.biasValue = bias;
    row.biasCount = 1;
    CHECK(drawAll(isa, 1, logits, {row})[0].token == kBiasToken[0]);
    const int32_t seen[] = {600, 601, -5, 5000000};
    row = rowWith(0);
    row.history = seen;
    row.historyLength = 4;
    row.repetitionPenalty = 1.01f;
    CHECK(drawAll(isa, 1, logits, {row})[0].token == 1699);
    logits[3] = 0.0f;
    logits[2] = -0.0f;
    for (int i = 0; i < 1700; ++i)
      if (i != 2 && i != 3) logits[i] = -1;
    CHECK(drawAll(isa, 1, logits, {rowWith(0)})[0].token == 2);
  }
}

/// Equal logits at the cut: the lower ids stay.
void testTies() {
  std::vector<float> logits(100, 1.0f);
  logits[50] = 2;
  for (Isa isa : isas()) {
    SampleRow row = rowWith(5);
    row.topK = 4;
    std::vector<int> counts(100);
    for (int token : drawPositions(isa, logits, row, 2000)) ++counts[token];
    for (int i = 0; i < 100; ++i) CHECK((counts[i] > 0) == (i < 3 || i == 50));
    row = rowWith(1);
    row.topP = 0.1f;  // e / (e + 99) = 0.0267; then 0.00983 each: eight more tokens reach it
    std::fill(counts.begin(), counts.end(), 0);
    for (int token : drawPositions(isa, logits, row, 4000)) ++counts[token];
    for (int i = 0; i < 100; ++i) CHECK((counts[i] > 0) == (i < 8 || i == 50));
    row.topP = 0;
    for (int token : drawPositions(isa, logits, row, 50)) CHECK(token == 50);
    row = rowWith(1);
    row.minP = 1;
    for (int token : drawPositions(isa, logits, row, 50)) CHECK(token == 50);
  }
}

void testLogprobs() {
  const std::vector<float> logits = randomLogits(4, 3001, 2);
  std::vector<int> order(3001);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return logits[a] > logits[b]; });
  double total = 0;
  for (float x : logits) total += std::exp(static_cast<double>(x));
  SampleRow row = rowWith(0.5f);
  row.topK = 3;  // rules must not show in log-probabilities
  row.logprobs = kMaxLogprobs;
  const SampleResult result = drawAll(isas().back(), 1, logits, {row})[0];
  CHECK(std::abs(result.logprob - (logits[result.token] - std::log(total))) < 1e-5);
  for (int i = 0; i < kMaxLogprobs; ++i) {
    CHECK(result.topToken[i] == order[i]);
    CHECK(std::abs(result.topLogprob[i] - (logits[order[i]] - std::log(total))) < 1e-5);
  }
}

void testBrokenLogits() {
  for (Isa isa : isas()) {
    for (float temperature : {0.0f, 1.0f}) {
      SampleRow row = rowWith(temperature);
      row.logprobs = 3;
      row.topK = 5;
      row.topP = 0.9f;
      CHECK(drawAll(isa, 1, std::vector<float>(700, kNaN), {row})[0].token == 0);
      CHECK(drawAll(isa, 1, std::vector<float>(700, -kInf), {row})[0].token == 0);
      std::vector<float> logits(700, kNaN);
      logits[650] = -1000;
      const SampleResult only = drawAll(isa, 1, logits, {row})[0];
      CHECK(only.token == 650 && only.logprob == 0 && only.topToken[0] == 650 && only.topLogprob[1] == -kInf);
      logits[300] = logits[400] = kInf;
      const SampleResult infinite = drawAll(isa, 1, logits, {row})[0];
      CHECK(infinite.token == 300 && infinite.logprob == 0);
    }
    SampleRow row = rowWith(1e-40f);  // vanishing, but not zero
    const std::vector<float> logits = randomLogits(8, 700, 1);
    const auto top = std::max_element(logits.begin(), logits.end()) - logits.begin();
    CHECK(drawAll(isa, 1, logits, {row})[0].token == top);
    CHECK(drawAll(isa, 1, {5.0f}, {rowWith(1)})[0].token == 0);
  }
}

/// Known answers of the authors' own distribution (Random123, kat_vectors, philox4x32 10).
void testPhilox() {
  constexpr PhiloxBlock zero = philox({{0, 0, 0, 0}}, 0, 0);
  static_assert(zero.word[0] == 0x6627e8d5 && zero.word[1] == 0xe169c58d && zero.word[2] == 0xbc57ac4c &&
                zero.word[3] == 0x9b00dbd8);
  const PhiloxBlock ones = philox({{~0u, ~0u, ~0u, ~0u}}, ~0u, ~0u);
  CHECK(ones.word[0] == 0x408f276d && ones.word[1] == 0x41c83b0e && ones.word[2] == 0xa20bc7c6 &&
        ones.word[3] == 0x6d5451fd);
  const PhiloxBlock pi = philox({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0xa4093822, 0x299f31d0);
  CHECK(pi.word[0] == 0xd16cfe09 && pi.word[1] == 0x94fdcceb && pi.word[2] == 0x5001e420 && pi.word[3] == 0x24126ea1);
  CHECK(positionNoise(1, 1) != positionNoise(1, int64_t{1} << 32 | 1));
  CHECK(positionNoise(1, 1) != positionNoise(uint64_t{1} << 32 | 1, 1));
}

}  // namespace

int main() {
  testPhilox();
  testGreedy();
  testTies();
  testLogprobs();
  testBrokenLogits();
  testPathsAndThreadsAgree();
  testDistribution();
  testWrongRulesAreRejected();
  testPositionsAreIndependent();
  return foretoken::test::finish("sample");
}
