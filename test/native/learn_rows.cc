// Rows over a draft vocabulary, learned sparsely: the gradient against finite differences, steps against dense SGD by
// the whole head's loss, what is not named stays, tokens that traffic uses get rows, and numbers that are not finite
// move nothing.
#include "learn/row_learner.h"

#include <cmath>
#include <numeric>

#include "learn/draft_rows.h"
#include "quant/float_codecs.h"
#include "toy_language.h"

namespace {

using namespace foretoken;
using namespace foretoken::learn;
using namespace foretoken::test;
using test::Floats;
using train::BlockHead;

constexpr int64_t kTokens = kToyVocabulary + 8, kRank = 16;

struct Rig {
  ToyTarget toy{kTokens};
  BlockHead head{toyShape(kRank, 64)};
  ThreadPool pool{1};
  train::Ops ops{pool, selectIsa("")};
  HeadRows start = *inParts({head.initial(3, 1), toy.target.draft, {}}, head.before()).rows;

  Rig() {
    const Floats noise = randomValues(kToyVocabulary * kRank, 11, 0.5f);
    std::copy(noise.begin(), noise.end(), start.markov.begin() + head.after());
  }
  RowLearner learner(const RowOptions& options) { return {ops, head, toy.target, options, start}; }
};

/// One slot that lists `tokens`, with the token before and the one that came.
SlotExamples slot(std::vector<int32_t> tokens, int32_t previous, int32_t truth, uint32_t seed = 5) {
  SlotExamples out;
  out.previous = {previous}, out.truth = {truth}, out.weight = {1}, out.rest = {-1};
  const Floats logits = randomValues(SlotExamples::kListed, seed);
  tokens.resize(SlotExamples::kListed, -1);
  out.listed = tokens, out.logit = logits;
  for (const float x : randomValues(kToyWidth, seed + 1)) out.state.push_back(floatToBf16(x));
  return out;
}

/// -log of what the softmax gives the token that came, in double.
double lossOf(const Rig& rig, const SlotExamples& s, const train::Floats& markov, const train::OutputDelta& delta) {
  double sum = std::exp(static_cast<double>(s.rest[0])), truth = 0;
  for (int64_t i = 0; i < SlotExamples::kListed && s.listed[i] >= 0; ++i) {
    const int32_t place = rig.toy.target.place[s.listed[i]];
    double logit = s.logit[i];
    for (int64_t r = 0; r < kRank; ++r)
      logit += static_cast<double>(markov[rig.head.after() + place * kRank + r]) *
               markov[rig.toy.target.place[s.previous[0]] * kRank + r];
    for (size_t d = 0; d < delta.place.size(); ++d)
      for (int64_t c = 0; delta.place[d] == place && c < kToyWidth; ++c)
        logit += static_cast<double>(delta.row[d * kToyWidth + c]) * bf16ToFloat(s.state[c]);
    sum += std::exp(logit);
    if (s.listed[i] == s.truth[0]) truth = logit;
  }
  return std::log(sum) - truth;
}

bool close(double a, double b) { return std::abs(a - b) < 2e-3 * std::max(0.05, std::abs(b)); }

void testMarkovGradient() {
  Rig rig;
  const SlotExamples s = slot({4, 9, 30, 7}, 12, 9);
  constexpr float kRate = 1e-3f;
  RowLearner learner = rig.learner({.markov = kRate, .output = 0, .clip = 100});
  train::Floats moved = rig.start.markov;
  CHECK(learner.step(s, moved) == 0 && learner.delta().place.empty());
  std::vector<int64_t> touched;
  for (int64_t r = 0; r < kRank; ++r) {
    touched.push_back(12 * kRank + r);
    for (const int64_t token : {4, 9, 30, 7}) touched.push_back(rig.head.after() + token * kRank + r);
  }
  for (const int64_t at : touched) {
    train::Floats markov = rig.start.markov;
    constexpr float kStep = 1e-2f;
    markov[at] = rig.start.markov[at] + kStep;
    const double above = lossOf(rig, s, markov, {});
    markov[at] = rig.start.markov[at] - kStep;
    const double slope = (above - lossOf(rig, s, markov, {})) / (2 * kStep);
    CHECK(close((rig.start.markov[at] - moved[at]) / kRate, slope));
  }
  for (const int64_t at : touched) moved[at] = rig.start.markov[at];
  CHECK(moved == rig.start.markov);  // nothing else
}

void testOutputGradient() {
  Rig rig;
  const SlotExamples s = slot({4, 9, 30, 7}, 12, 9);
  constexpr float kRate = 1e-2f;
  RowLearner learner = rig.learner({.markov = 0, .output = kRate});
  train::Floats markov = rig.start.markov;
  CHECK(learner.step(s, markov) == 0 && markov == rig.start.markov);
  const train::OutputDelta moved = learner.delta();
  CHECK(moved.place.size() > 1);
  double squares = 0;
  for (const uint16_t x : s.state) squares += static_cast<double>(bf16ToFloat(x)) * bf16ToFloat(x);
  for (size_t d = 0; d < moved.place.size(); ++d)
    for (int64_t c = 0; c < kToyWidth; ++c) {
      train::OutputDelta delta{{moved.place[d]}, Floats(kToyWidth)};
      constexpr float kStep = 1e-2f;
      delta.row[c] = kStep;
      const double above = lossOf(rig, s, markov, delta);
      delta.row[c] = -kStep;
      const double slope = (above - lossOf(rig, s, markov, delta)) / (2 * kStep);
      CHECK(close(-moved.row[d * kToyWidth + c] / kRate * squares, slope));
    }
}

/// Where all tokens that a head can draft are listed, a step is one of dense SGD by the whole loss.
void testAgainstDense() {
  Rig rig;
  train::BlockHeadShape shape = toyShape(kRank, 64);
  shape.vocabulary = train::kHeadCandidates;
  BlockHead small(shape);
  train::TargetTables tables = rig.toy.target;
  tables.draft.resize(shape.vocabulary), tables.output.resize(shape.vocabulary * kToyWidth);
  tables.place = train::placesOf(tables.draft, kTokens);
  HeadRows start = *inParts({small.initial(4, 1), tables.draft, {}}, small.before()).rows;
  const Floats noise = randomValues(shape.vocabulary * kRank, 13, 0.5f);
  std::copy(noise.begin(), noise.end(), start.markov.begin() + small.after());
  std::vector<int32_t> all(shape.vocabulary);
  std::iota(all.begin(), all.end(), 0);
  SlotExamples s = slot(all, 3, 6);
  s.rest = {-100};
  RowLearner learner(rig.ops, small, tables, {.markov = 0.3f, .output = 0, .clip = 100}, start);
  train::Floats sparse = start.markov;
  learner.step(s, sparse);

  // The same logits as a sum of linear terms: those given as rows times a unit vector, and the Markov term.
  const int64_t given = train::kRowMultiple;
  Floats unit(given), rows(shape.vocabulary * given), before(kRank), gradient(shape.vocabulary * kRank), dbefore(kRank);
  unit[0] = 1;
  for (int64_t v = 0; v < shape.vocabulary; ++v) rows[v * given] = s.logit[v];
  std::copy_n(start.markov.begin() + 3 * kRank, kRank, before.begin());
  const train::LinearTerm terms[] = {
      {unit.data(), rows.data(), given, nullptr, nullptr},
      {before.data(), start.markov.data() + small.after(), kRank, dbefore.data(), gradient.data()}};
  const int32_t truth = 6;
  const float one = 1, rest = 0;
  train::RowLoss loss;
  rig.ops.linearLoss(terms, 1, shape.vocabulary, {.token = &truth, .probability = &one, .rest = &rest, .count = 1}, {},
                     &one, {&loss, 1});
  double most = 0;
  for (int64_t i = 0; i < shape.vocabulary * kRank; ++i) {
    const float dense = start.markov[small.after() + i] - 0.3f * gradient[i];
    CHECK(std::abs(sparse[small.after() + i] - dense) < 2e-3f);  // dense products are of bf16
    most = std::max(most, std::abs(static_cast<double>(gradient[i])));
  }
  for (int64_t r = 0; r < kRank; ++r) CHECK(std::abs(sparse[3 * kRank + r] - (before[r] - 0.3f * dbefore[r])) < 2e-3f);
  CHECK(most > 0.02);
}

void testPoison() {
  Rig rig;
  RowLearner learner = rig.learner({});
  SlotExamples s = slot({4, 9}, 12, 9);
  s.state[3] = 0x7fc0;
  s.logit[0] = NAN;
  train::Floats markov = rig.start.markov;
  CHECK(learner.step(s, markov) == 1);
  CHECK(markov == rig.start.markov && learner.delta().place.empty());
  s = slot({4, 9}, 12, 9);
  markov[12 * kRank] = 1e30f;  // the step is clipped
  const float before = markov[rig.head.after() + 9 * kRank];
  learner.step(s, markov);
  CHECK(std::isfinite(markov[rig.head.after() + 9 * kRank]) &&
        std::abs(markov[rig.head.after() + 9 * kRank] - before) <= 0.11f);
}

void testNewTokens() {
  Rig rig;
  RowLearner learner = rig.learner({.often = 3});
  train::Floats markov = rig.start.markov;
  const int32_t used[] = {34, 34, 34, 34, 36, 36, 36, 33, 31, 30, 2};
  learner.count(used);
  CHECK(learner.renew(markov) && !learner.renew(markov));
  // The two that are used often take the places of the highest that nobody uses.
  CHECK(learner.draft()[29] == 34 && learner.draft()[28] == 36 && learner.draft()[31] == 31);
  for (int64_t r = 0; r < kRank; ++r) {
    CHECK(markov[29 * kRank + r] == markov[kToyVocabulary * kRank + r]);
    CHECK(markov[rig.head.after() + 29 * kRank + r] == 0);
  }
  // What was listed before they had rows teaches them now.
  const SlotExamples s = slot({4, 34, 29}, 12, 34);
  CHECK(learner.step(s, markov) == 0);
  const train::OutputDelta delta = learner.delta();
  CHECK(std::find(delta.place.begin(), delta.place.end(), 29) != delta.place.end());

  const HeadRows learned{markov, learner.draft(), delta};
  const DraftRows rows(learned, rig.toy.target);
  CHECK(rows.place(34) == 29 && rows.place(29) == kToyVocabulary && rows.place(4) == 4);
  const train::SlotLogits given{randomValues(kToyWidth, 3), Floats(kToyVocabulary, 1.5f)};
  train::SlotLogits made;
  const train::SlotLogits& slots = rows.correct(rig.ops, kToyWidth, given, made);
  CHECK(&slots == &made);
  CHECK(&DraftRows({markov, rig.toy.target.draft, {}}, rig.toy.target).correct(rig.ops, kToyWidth, given, made) ==
        &given);
  for (int32_t p = 0; p < kToyVocabulary; ++p) {
    const auto moved = std::find(delta.place.begin(), delta.place.end(), p);
    if (moved == delta.place.end() && learned.draft[p] == p) {
      CHECK(slots.logits[p] == 1.5f);
      continue;
    }
    double logit = 0;
    const Floats own = rig.toy.of(learned.draft[p]);
    for (int64_t c = 0; c < kToyWidth; ++c) {
      const double added = moved == delta.place.end() ? 0 : delta.row[(moved - delta.place.begin()) * kToyWidth + c];
      logit += (own[c] + added) * slots.state[c];
    }
    CHECK(std::abs(slots.logits[p] - logit) < 0.02 * std::max(1.0, std::abs(logit)));
  }
}

}  // namespace

int main() {
  testMarkovGradient();
  testOutputGradient();
  testAgainstDense();
  testPoison();
  testNewTokens();
  return finish("learn_rows");
}
