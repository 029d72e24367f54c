// Drawing on the device: every rule against exact probabilities in double (chi-square, and token by token) and against
// the CPU's sampler, wrong rules that must not pass, ties, broken logits, rows alone and among others; walks down
// trees.
#include <limits>

#include "common/philox.h"
#include "cpu/sample.h"
#include "test/cuda/schedules.h"
#include "test/cuda/verify_rig.h"
#include "test/native/check.h"
#include "test/native/sample_rules.h"

namespace foretoken::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<int32_t> drawOnCpu(const std::vector<float>& logits, int vocabulary, std::span<const SampleRow> rows) {
  ThreadPool pool(1);
  Sampler sampler(sampleKernels(Isa::portable), pool);
  std::vector<SampleResult> results(rows.size());
  sampler.sample(logits.data(), vocabulary, vocabulary, rows, results);
  std::vector<int32_t> tokens;
  for (const SampleResult& r : results) tokens.push_back(r.token);
  return tokens;
}

/// Rows of the same rules at positions from 0 on.
std::vector<SampleRow> atPositions(SampleRow row, int count) {
  std::vector<SampleRow> rows;
  for (row.position = 0; row.position < count; ++row.position) rows.push_back(row);
  return rows;
}

template <class Logit>
std::vector<int> drawPositions(const std::vector<float>& logits, const SampleRow& row, int count) {
  return drawOnDevice<Logit>(logits, static_cast<int>(logits.size()), atPositions(row, count));
}

void testWeights() {
  for (float x = -130; x <= 0; x += 0.0137f) {
    const double exact = std::exp2(static_cast<double>(x));
    CHECK(x < -125 ? cuda::exp2(x) == 0 : std::abs(cuda::exp2(x) - exact) <= exact * 1.3 * 0x1p-24);
  }
  CHECK(cuda::exp2(0) == 1 && cuda::exp2(-kInf) == 0 && cuda::exp2(kNaN) == 0);
  for (const float x : {-kInf, -3.5f, -1e-40f, 0.0f, 1e-40f, 7.25f, kInf})
    for (const int token : {0, 77, cuda::kMostTokens - 1}) {
      const uint64_t place = cuda::placeOf(x, token);
      CHECK(cuda::logitAt(place) == x && cuda::tokenAt(place) == token);
      CHECK(place > cuda::placeOf(x, token + 1) && (x == -kInf || place > cuda::placeOf(-kInf, 0)));
    }
  CHECK(cuda::placeOf(-0.0f, 3) == cuda::placeOf(0.0f, 3));
}

template <class Logit>
void testDistribution(int vocabulary, int draws) {
  draws = longRun() ? 8000 : draws;
  const std::vector<float> logits = seenBy<Logit>(randomLogits(static_cast<uint32_t>(vocabulary), vocabulary, 2));
  for (const SampleRow& row : ruleRows()) {
    const std::vector<double> p = exact(logits, row);
    const std::vector<int> tokens = drawPositions<Logit>(logits, row, draws);
    CHECK(chiSquareScore(tokens, p) < kRejected);
    int different = 0;
    for (int i = 0; i < draws; ++i)
      different += tokens[static_cast<size_t>(i)] != inverse(p, positionNoise(row.seed, i));
    CHECK(different <= 1 + draws / 10000);  // single against double precision at the borders between tokens
  }
}

/// The chi-square that right rules pass is one that wrong rules fail. Tokens are those of the right rules; that the
/// device draws these is what testDistribution finds.
void testWrongRulesAreRejected() {
  constexpr int kDraws = 1000;
  const auto draw = [](const std::vector<double>& p, uint64_t seed) {
    std::vector<int> tokens;
    for (int i = 0; i < kDraws; ++i) tokens.push_back(inverse(p, positionNoise(seed, i)));
    return tokens;
  };
  const std::vector<float> logits = randomLogits(5, 213, 2);
  SampleRow row = rowWith(0.7f);
  row.topP = 0.8f;
  for (const Rule wrong : {Rule::topPOneShort, Rule::temperatureAfterTopP}) {
    const std::vector<int> tokens = draw(exact(logits, row), row.seed);
    CHECK(chiSquareScore(tokens, exact(logits, row, wrong)) > kRejected);
  }
  SampleRow hotter = row;
  hotter.temperature = 0.8f;
  CHECK(chiSquareScore(draw(exact(logits, hotter), hotter.seed), exact(logits, row)) > kRejected);
}

/// All rules over several chunks and blocks, token by token what the CPU says.
template <class Logit>
void testAgainstCpu() {
  for (const int vocabulary : {1, 7, 511, 512, 513, 4097, 9001}) {
    for (uint32_t seed = 0; seed < (longRun() ? 8u : 1u); ++seed) {
      const std::vector<float> logits = seenBy<Logit>(randomLogits(seed, vocabulary, seed % 2 == 0 ? 1.5f : 5));
      std::vector<SampleRow> rows;
      const auto add = [&](SampleRow row, auto change) {
        change(row);
        for (row.position = 0; row.position < (longRun() ? 4 : 2); ++row.position) rows.push_back(row);
      };
      for (const SampleRow& row : ruleRows()) add(row, [](SampleRow&) {});
      add(rowWith(0), [](SampleRow&) {});
      for (const int k : {1, 2, 17, 300, 100000}) add(rowWith(0.9f), [&](SampleRow& r) { r.topK = k; });
      for (const float p : {0.0f, 0.3f, 0.99f, 0.9999999f}) {
        add(rowWith(1.1f), [&](SampleRow& r) { r.topP = p; });
        add(rowWith(1.1f), [&](SampleRow& r) { r.topP = p, r.topK = 50, r.minP = 0.01f; });
        add(rowWith(3), [&](SampleRow& r) { r.topP = p, r.topK = 700; });
      }
      const std::vector<int32_t> expected = drawOnCpu(logits, vocabulary, rows);
      const std::vector<int32_t> got = drawOnDevice<Logit>(logits, vocabulary, rows);
      int different = 0;
      for (size_t i = 0; i < rows.size(); ++i) different += expected[i] != got[i];
      CHECK(different <= 1);  // sums of integers against sums of floats
    }
  }
}

/// A row's token is the same alone and among any others, in any order, under any schedule.
void testRowsAreIndependent() {
  constexpr int kVocabulary = 5003, kLogitRows = 9;
  std::vector<float> logits;
  for (uint32_t r = 0; r < kLogitRows; ++r)
    for (const float x : randomLogits(r, kVocabulary, 3)) logits.push_back(x);
  std::vector<SampleRow> rows;
  for (SampleRow row : ruleRows())
    for (row.position = 0; row.position < 5; ++row.position) {
      row.logitRow = static_cast<int32_t>(rows.size()) % kLogitRows;
      rows.push_back(row);
    }
  const std::vector<int32_t> expected = drawOnDevice<float>(logits, kVocabulary, rows);
  std::vector<size_t> order(rows.size());
  std::iota(order.begin(), order.end(), 0);
  std::mt19937 random(3);
  forEachSchedule(longRun() ? 12 : 4, [&] {
    std::shuffle(order.begin(), order.end(), random);
    const size_t count = 1 + random() % order.size();
    std::vector<SampleRow> some;
    for (size_t i = 0; i < count; ++i) some.push_back(rows[order[i]]);
    const std::vector<int32_t> got = drawOnDevice<float>(logits, kVocabulary, some);
    for (size_t i = 0; i < count; ++i) CHECK(got[i] == expected[order[i]]);
  });
}

/// Equal logits at the cut: the lower ids stay; also where they are more than a list holds.
void testTies() {
  std::vector<float> logits(100, 1.0f);
  logits[50] = 2;
  const auto allowed = [](const std::vector<float>& x, const SampleRow& row, int lower, int other) {
    std::vector<bool> seen(x.size());
    for (const int token : drawPositions<float>(x, row, longRun() ? 100 : 60)) {
      CHECK(token == other || token < lower);
      seen[static_cast<size_t>(token)] = true;
    }
    return static_cast<int>(std::count(seen.begin(), seen.end(), true));
  };
  SampleRow row = rowWith(5);
  row.topK = 4;
  CHECK(allowed(logits, row, 3, 50) == 4);
  row = rowWith(1);
  row.topP = 0.1f;  // e / (e + 99) = 0.0267; then 0.00983 each: eight more tokens reach it
  CHECK(allowed(logits, row, 8, 50) == 9);
  row.topP = 0;
  CHECK(allowed(logits, row, 0, 50) == 1);
  row = rowWith(1);
  row.minP = 1;
  CHECK(allowed(logits, row, 0, 50) == 1);
  std::vector<float> flat(2 * cuda::kListed + 77, -3.0f);
  flat[6000] = -2;
  row = rowWith(1);
  row.topK = 6;
  CHECK(allowed(flat, row, 5, 6000) == 6);
  row.topK = 5000;
  row.topP = 0.001f;  // (e + 4999) / 1000 = 5.001: that one, and three more
  CHECK(allowed(flat, row, 3, 6000) == 4);
}

void testBrokenLogits() {
  for (const float temperature : {0.0f, 1.0f}) {
    SampleRow row = rowWith(temperature);
    row.topK = 5;
    row.topP = 0.9f;
    const auto token = [&](const std::vector<float>& x) { return drawPositions<float>(x, row, 1)[0]; };
    CHECK(token(std::vector<float>(700, kNaN)) == 0);
    CHECK(token(std::vector<float>(700, -kInf)) == 0);
    std::vector<float> logits(700, kNaN);
    logits[650] = -1000;
    CHECK(token(logits) == 650);
    logits[300] = logits[400] = kInf;
    CHECK(token(logits) == 300);
  }
  SampleRow row = rowWith(1e-40f);  // vanishing, but not zero
  const std::vector<float> logits = randomLogits(8, 700, 1);
  CHECK(drawPositions<float>(logits, row, 1)[0] == std::max_element(logits.begin(), logits.end()) - logits.begin());
  row = rowWith(0);
  const int32_t seen[] = {600, 601, -5, 5000000};
  std::vector<float> high = randomLogits(3, 1700, 1);
  high[600] = high[601] = high[1699] = 9;
  CHECK(drawPositions<float>(high, row, 1)[0] == 600);
  row.history = seen;
  row.historyLength = 4;
  row.repetitionPenalty = 1.01f;
  CHECK(drawPositions<float>(high, row, 1)[0] == 1699);
}

/// The likeliest tokens and log-probabilities that the CPU gives, of any rows in any order.
template <class Logit>
void testLikeliest() {
  for (const int vocabulary : {1, 30, 512, 5003}) {
    for (int round = 0; round < 3; ++round) {
      constexpr int kRows = 3;
      std::vector<float> logits =
          seenBy<Logit>(randomLogits(static_cast<uint32_t>(vocabulary + round), kRows * vocabulary, 3));
      if (round == 2) {
        std::fill(logits.begin(), logits.begin() + vocabulary, kNaN);
        logits[static_cast<size_t>(vocabulary) / 2] = -1000;
        logits[2 * static_cast<size_t>(vocabulary)] = kInf;
      }
      const LogitRows<Logit> in(logits, vocabulary);
      const int32_t count = round == 0 ? kMaxLogprobs : 16;
      std::vector<SampleRow> rows;
      std::vector<int32_t> logitRow;
      for (int i = 0; i < 4; ++i) {
        rows.push_back(rowWith(i == 1 ? 0.0f : 1.5f, static_cast<uint64_t>(i)));
        rows.back().logprobs = count;
        rows.back().logitRow = (i * 2 + round) % kRows;
        logitRow.push_back(rows.back().logitRow);
      }
      std::vector<SampleResult> expected(rows.size());
      ThreadPool pool(1);
      Sampler(sampleKernels(Isa::portable), pool).sample(logits.data(), vocabulary, vocabulary, rows, expected);
      std::vector<int32_t> drawn;
      for (const SampleResult& r : expected) drawn.push_back(r.token);
      forEachSchedule(2, [&] {
        const size_t chunks = rows.size() * static_cast<size_t>((vocabulary + cuda::kChunk - 1) / cuda::kChunk);
        std::vector<int32_t> token(rows.size() * static_cast<size_t>(count), -1);
        std::vector<float> logprob(token.size()), drawnLogprob(rows.size()), sum(chunks);
        std::vector<uint32_t> arrived(rows.size());
        std::vector<uint64_t> best(chunks * static_cast<size_t>(count));
        cuda::findLikeliest<Logit>(
            {in.data(), in.stride, vocabulary, logitRow.data(), count, token.data(), logprob.data(), drawn.data(),
             drawnLogprob.data(), arrived.data(), best.data(), sum.data()},
            static_cast<int>(rows.size()), nullptr);
        const auto same = [](float a, float b) { return a == b || std::abs(a - b) < 2e-5f; };
        for (size_t r = 0; r < rows.size(); ++r) {
          CHECK(same(drawnLogprob[r], expected[r].logprob) && arrived[r] == 0);
          for (int i = 0; i < count; ++i) {
            const size_t at = r * static_cast<size_t>(count) + static_cast<size_t>(i);
            const bool there = expected[r].topLogprob[i] > -kInf;
            CHECK(same(logprob[at], expected[r].topLogprob[i]) && (!there || token[at] == expected[r].topToken[i]));
          }
        }
      });
    }
  }
}

// --- trees -----------------------------------------------------------------------------------------------------------

struct Trees {
  std::vector<int32_t> first{0}, parent, token;
};

/// Trees of up to 40 rows, over few tokens, so that siblings often draft the same one.
Trees randomTrees(std::mt19937& random, int count) {
  Trees trees;
  for (int s = 0; s < count; ++s) {
    const int begin = trees.first.back(), size = 1 + static_cast<int>(random() % 40);
    for (int i = 0; i < size; ++i) {
      trees.parent.push_back(i == 0 ? -1 : begin + static_cast<int>(random() % static_cast<unsigned>(i)));
      trees.token.push_back(static_cast<int32_t>(random() % 3));
    }
    trees.first.push_back(begin + size);
  }
  return trees;
}

void testWalk() {
  std::mt19937 random(4);
  forEachSchedule(longRun() ? 60 : 12, [&] {
    constexpr int kTrees = 7, kDepth = 40;
    const Trees trees = randomTrees(random, kTrees);
    std::vector<int32_t> drawn(trees.parent.size());
    for (int32_t& t : drawn) t = static_cast<int32_t>(random() % 3);
    std::vector<int32_t> count(kTrees, -1), token(kTrees * kDepth, -1), row(kTrees * kDepth, -1);
    cuda::walkTrees({trees.first.data(), trees.parent.data(), trees.token.data()}, kTrees, drawn.data(),
                    {count.data(), token.data(), row.data(), kDepth}, nullptr);
    for (int s = 0; s < kTrees; ++s) {
      int at = trees.first[static_cast<size_t>(s)], n = 0;
      for (; at >= 0; ++n) {
        CHECK(row[static_cast<size_t>(s * kDepth + n)] == at);
        CHECK(token[static_cast<size_t>(s * kDepth + n)] == drawn[static_cast<size_t>(at)]);
        int child = -1;
        for (int r = trees.first[static_cast<size_t>(s) + 1] - 1; r > at; --r)
          if (trees.parent[static_cast<size_t>(r)] == at &&
              trees.token[static_cast<size_t>(r)] == drawn[static_cast<size_t>(at)])
            child = r;
        at = child;
      }
      CHECK(count[static_cast<size_t>(s)] == n);
    }
  });
}

/// Text decoded by walking down random trees is the text decoded one token at a time: a made-up target whose logits
/// depend on the token before, any temperature, trees of any layout, some with the right tokens in them.
void testTreesChangeNothing() {
  constexpr int kVocabulary = 600, kDepth = 8;
  const size_t length = longRun() ? 24 : 14;
  std::vector<float> logits;
  for (uint32_t t = 0; t < kVocabulary; ++t)
    for (const float x : randomLogits(t, kVocabulary, 4)) logits.push_back(x);
  std::mt19937 random(5);
  for (const SampleRow& rules : ruleRows()) {
    if (rules.historyLength > 0) continue;  // the history of a row would be that of its path
    std::vector<int32_t> plain{0};
    SampleRow row = rules;
    while (plain.size() < length + kDepth + 1) {
      row.logitRow = plain.back();
      row.position = static_cast<int64_t>(plain.size());
      plain.push_back(drawOnDevice<uint16_t>(logits, kVocabulary, {&row, 1})[0]);
    }
    std::vector<int32_t> text{0};
    int passes = 0;
    for (; text.size() < length; ++passes) {
      std::vector<int32_t> parent{-1}, token{text.back()}, depth{0};
      const int size = 1 + static_cast<int>(random() % 20);
      for (int i = 1; i < size; ++i) {
        const int above = random() % 3 == 0 ? static_cast<int>(random() % static_cast<unsigned>(i)) : i - 1;
        const int below = depth[static_cast<size_t>(above)] + 1;
        const bool right = random() % 2 == 0;
        if (below > kDepth) break;
        parent.push_back(above);
        depth.push_back(below);
        token.push_back(right ? plain[text.size() + static_cast<size_t>(below) - 1]
                              : static_cast<int32_t>(random() % kVocabulary));
      }
      std::vector<SampleRow> rows;
      for (size_t i = 0; i < parent.size(); ++i) {
        row.logitRow = token[i];
        row.position = static_cast<int64_t>(text.size()) + depth[i];
        rows.push_back(row);
      }
      const std::vector<int32_t> drawn = drawOnDevice<uint16_t>(logits, kVocabulary, rows);
      const int32_t first[] = {0, static_cast<int32_t>(rows.size())};
      int32_t count = 0;
      std::vector<int32_t> said(kDepth + 1), path(kDepth + 1);
      cuda::walkTrees({first, parent.data(), token.data()}, 1, drawn.data(),
                      {&count, said.data(), path.data(), kDepth + 1}, nullptr);
      text.insert(text.end(), said.begin(), said.begin() + count);
    }
    CHECK(passes < static_cast<int>(length) - 1);  // something was accepted
    for (size_t i = 0; i < length; ++i) CHECK(text[i] == plain[i]);
  }
}

}  // namespace
}  // namespace foretoken::test

int main() {
  using namespace foretoken::test;
  testWeights();
  testTies();
  testBrokenLogits();
  testAgainstCpu<float>();
  testAgainstCpu<uint16_t>();
  testRowsAreIndependent();
  testLikeliest<float>();
  testLikeliest<uint16_t>();
  testDistribution<float>(213, 120);
  testDistribution<uint16_t>(213, 60);
  if (longRun()) testDistribution<float>(1500, 8000);
  testWrongRulesAreRejected();
  testWalk();
  testTreesChangeNothing();
  return finish("verify");
}
