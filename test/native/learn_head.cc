// The learner of one tenant's head on a toy language: what it takes up makes a better candidate, only what may move
// moves, promotion and return swap weights, texts that are not finite are dropped, and what else learns in between
// changes no bit.
#include "learn/head_learner.h"

#include <cmath>
#include <numeric>

#include "common/error.h"
#include "quant/float_codecs.h"
#include "toy_language.h"

namespace {

using namespace foretoken;
using namespace foretoken::learn;
using namespace foretoken::test;
using train::BlockHead;

constexpr int64_t kWidth = kToyWidth, kTokens = kToyVocabulary;

/// A target that says `factor` t + 1 after t.
struct Toy : ToyTarget {
  OutputNorm norm{train::Floats(kWidth, 3.0f), 1e-6f};

  Toy() : ToyTarget(kTokens + 1) {}
  VerifiedText text(int32_t start, int32_t factor, int64_t length = 60) const {
    VerifiedText out{"a", "a", {}, 5, 4, {}};
    const auto put = [&](int32_t t) {
      out.kept.insert(out.kept.end(), embedding.begin() + t * kWidth, embedding.begin() + (t + 1) * kWidth);
    };
    for (int32_t token = start % kTokens; length-- > 0; token = (factor * token + 1) % kTokens) {
      const int32_t next = (factor * token + 1) % kTokens;
      out.token.push_back(token);
      put(token), put(next), put(next);
    }
    return out;
  }
};

struct Rig {
  Toy toy;
  BlockHead head{toyShape(8, 128)};
  ThreadPool pool{1};
  train::Ops ops{pool, selectIsa("")};
  HeadLearner::Weights start =
      std::make_shared<const LearnedHead>(inParts({head.initial(3, 1), toy.target.draft, {}}, head.before()));
  LearnOptions options;

  Rig() { options.layers.rate = 0.01f, options.stepsPerCandidate = options.layers.stepsPerCandidate = 8; }
  HeadLearner learner(StepTakers takers = {}) {
    return {ops, head, toy.target, toy.norm, options, start, std::move(takers)};
  }
};

bool isSame(const train::Parameter& p, const HeadLearner::Weights& a, const HeadLearner::Weights& b) {
  const train::Floats one = together(*a).weights, other = together(*b).weights;
  return std::equal(one.begin() + p.offset, one.begin() + p.offset + p.size(), other.begin() + p.offset);
}

double mean(const std::vector<uint8_t>& right) {
  return std::accumulate(right.begin(), right.end(), 0.0) / static_cast<double>(std::max<size_t>(1, right.size()));
}

void testLearns() {
  Rig rig;
  HeadLearner learner = rig.learner();
  CHECK(!learner.step() && !learner.stepLayers());  // nothing to learn from
  Foreseen seen;
  double first = -1, last = 0, live = 0;
  for (int32_t i = 0; i < 60; ++i) {
    seen = {};
    CHECK(learner.take(rig.toy.text(i, 5), seen));
    CHECK(static_cast<int64_t>(seen.live.size()) == rig.options.scored && seen.previous.empty());
    CHECK(seen.candidate.empty() == (seen.candidateNumber == 0));
    if (first < 0) first = mean(seen.live);
    if (!seen.candidate.empty()) last = mean(seen.candidate), live = mean(seen.live);
    for (int s = 0; s < 4; ++s) CHECK(learner.stepLayers());
    if (i % 10 == 9) learner.discard(false);  // a later state becomes the candidate
  }
  CHECK(first < 0.5 && live < 0.5 && last > 2);
  // What may not move has not.
  for (int64_t s = 0; s < rig.options.layers.stepsPerCandidate; ++s) learner.stepLayers();
  learner.promote();
  int moved = 0;
  for (const train::Parameter& p : rig.head.parameters().all()) {
    const bool same = isSame(p, rig.start, learner.live());
    const bool context = p.name.starts_with("fc") || p.name.starts_with("feature_norms") ||
                         p.name.starts_with("context_norm") || p.name.find("attention.k") != std::string::npos ||
                         p.name.find("attention.v") != std::string::npos;
    if (context) CHECK(same);
    moved += !same;
  }
  CHECK(moved == 5);  // query, output, gate, up, down
  seen = {};
  CHECK(learner.take(rig.toy.text(2, 5), seen));
  CHECK(mean(seen.live) > 2 && mean(seen.previous) < 0.5 && seen.candidate.empty());
  learner.rollBack();
  CHECK(learner.live() == rig.start);
}

/// Rows and layers learn side by side. A candidate is of either, and what is promoted goes on being what both stand on.
void testRowsUnderLayers() {
  Rig rig;
  rig.options.rows.markov = 0.2f, rig.options.rows.output = 0.2f;
  HeadLearner learner = rig.learner();
  const auto take = [&](int32_t start) {
    Foreseen seen;
    learner.take(rig.toy.text(start, 5), seen);
  };
  const auto sameLayers = [&](const HeadLearner::Weights& a, const HeadLearner::Weights& b) {
    return a->layers == b->layers;
  };
  const auto sameRows = [&](const HeadLearner::Weights& a, const HeadLearner::Weights& b) {
    return a->rows->markov == b->rows->markov && a->rows->delta.row == b->rows->delta.row;
  };
  take(1);
  for (int s = 0; s < 8; ++s) learner.step();
  for (int s = 0; s < 8; ++s) learner.stepLayers();
  learner.promote();
  const HeadLearner::Weights rows = learner.live();
  CHECK(sameLayers(rows, rig.start) && !sameRows(rows, rig.start));
  learner.stepLayers();
  CHECK(learner.candidateNumber() == 2);
  learner.promote();
  const HeadLearner::Weights both = learner.live();
  CHECK(!sameLayers(both, rows) && sameRows(both, rows));
  // Rows begin again under the new layers: slots of the older ones teach nothing any more.
  CHECK(!learner.step() && learner.steps() == 8 && learner.candidateNumber() == 0);
  learner.promote();
  CHECK(sameLayers(learner.live(), both) && sameRows(learner.live(), both));
  take(2);
  for (int s = 0; s < 64; ++s) learner.step();
  learner.promote();
  CHECK(sameLayers(learner.live(), both) && !sameRows(learner.live(), both));
  // Layers that do harm begin again: the next steps are the first ones.
  for (int s = 0; s < 8; ++s) learner.stepLayers();
  learner.discard(false);  // of rows
  learner.stepLayers();
  CHECK(learner.candidateNumber() > 0);
  learner.discard(true);
  for (int s = 0; s < 7; ++s) learner.stepLayers();
  CHECK(learner.candidateNumber() == 0 && learner.stepLayers() && learner.candidateNumber() > 0);
}

/// What layers made of a text is all that rows need: they learn without it.
void testRowsAlone() {
  Rig rig;
  rig.options.layers.rate = 0, rig.options.rows.markov = 0.2f, rig.options.rows.output = 0.2f;
  HeadLearner learner = rig.learner();
  Foreseen seen;
  double first = -1;
  for (int32_t i = 0; i < 60; ++i) {
    seen = {};
    CHECK(learner.take(rig.toy.text(i, 5), seen));
    if (first < 0) first = mean(seen.live);
    for (int s = 0; s < 8; ++s) CHECK(learner.step());
    learner.promote();
  }
  CHECK(first < 0.5 && mean(seen.live) > first + 0.4);
  CHECK(learner.replay().pick(0).text.kept.empty() && learner.replay().pick(0).slots.slots() > 0);
  CHECK(!learner.live()->rows->delta.place.empty());
  CHECK(learner.live()->layers == rig.start->layers);
}

/// Who takes steps of rows has no memory for them.
struct Short final : RowSteps {
  int asked = 0;
  int64_t step(const RowSlots&, MovedRows&, const RowOptions&) override {
    ++asked;
    throw Error("OUT_OF_MEMORY", "the device has no memory left");
  }
  size_t deviceBytes() const override { return 0; }
};

/// Rows for which a device has no memory learn on the CPU, which is told once, and lose nothing; they ask again when
/// they begin again.
void testRowsGoToTheCpu() {
  Rig rig;
  rig.options.layers.rate = 0, rig.options.rows.markov = 0.2f, rig.options.rows.output = 0.2f;
  const auto learned = [&](StepTakers takers) {
    HeadLearner learner = rig.learner(std::move(takers));
    Foreseen seen;
    learner.take(rig.toy.text(1, 5), seen);
    for (int s = 0; s < 8; ++s) CHECK(learner.step());
    const train::Floats weights = together(*learner.candidate()).weights;
    learner.discard(true);
    CHECK(learner.step() && learner.replay().textsWithSlots() == 1);
    return weights;
  };
  const auto elsewhere = std::make_shared<Short>();
  int told = 0;
  CHECK(learned({elsewhere, {}, [&](const std::exception_ptr&) { ++told; }}) == learned({}));
  CHECK(elsewhere->asked == 2 && told == 2);
}

/// Tokens beyond the draft vocabulary that a tenant's text is full of can be drafted by the next candidate.
void testNewTokens() {
  Rig rig;
  rig.options.layers.rate = 0;
  HeadLearner learner = rig.learner();
  const auto text = [&] {
    VerifiedText out = rig.toy.text(1, 5);
    for (size_t i = 6; i < out.token.size(); i += 2) out.token[i] = kTokens;  // one that a head can't draft
    return out;
  };
  Foreseen seen;
  learner.take(text(), seen);
  for (int64_t s = 0; s < rig.options.stepsPerCandidate; ++s) learner.step();
  CHECK(learner.live()->rows->draft == rig.toy.target.draft);
  learner.promote();
  const auto& draft = learner.live()->rows->draft;
  CHECK(std::find(draft.begin(), draft.end(), kTokens) != draft.end());
  seen = {};
  CHECK(learner.take(text(), seen) && learner.step() && !seen.live.empty());
}

void testMarkovAlone() {
  Rig rig;
  rig.options.layers.rate = 0, rig.options.rows.output = 0;
  HeadLearner learner = rig.learner();
  Foreseen seen;
  learner.take(rig.toy.text(1, 5), seen);
  for (int64_t s = 0; s < rig.options.stepsPerCandidate; ++s) learner.step();
  learner.promote();
  for (const train::Parameter& p : rig.head.parameters().all()) {
    const bool same = isSame(p, rig.start, learner.live());
    CHECK(same == (p.name != "before.weight" && p.name != "after"));
  }
}

void testPoison() {
  Rig rig;
  HeadLearner learner = rig.learner();
  VerifiedText text = rig.toy.text(1, 5);
  text.kept[700] = 0x7fc0;  // NaN
  Foreseen seen;
  CHECK(!learner.take(std::move(text), seen) && learner.skipped() == 1 && learner.replay().empty());
  VerifiedText shortest = rig.toy.text(1, 5, 5);
  CHECK(learner.take(std::move(shortest), seen) && learner.replay().empty());  // it has room for no block
  CHECK(!learner.step() && !learner.stepLayers());
}

void testReplay() {
  const Toy toy;
  const VerifiedText one = toy.text(0, 3, 10);
  const size_t tokens = one.token.size() * sizeof(int32_t), kept = one.kept.size() * sizeof(uint16_t);
  Replay replay(5 * tokens, 2 * kept);
  for (int32_t i = 0; i < 50; ++i) replay.add({toy.text(i, 3, 10), {}});
  CHECK(replay.positions() == 50 && replay.wholeTexts() == 2 && replay.bytes() == 5 * tokens + 2 * kept);
  CHECK(replay.pick(0).text.token[0] == 49 % kTokens && replay.pick(0.999).text.token[0] == 45 % kTokens);
  CHECK(replay.pick(0.999).text.kept.empty());
  CHECK(replay.pickWhole(0.999).token[0] == 48 % kTokens && !replay.pickWhole(0.999).kept.empty());
  replay.dropSlots();
  CHECK(replay.textsWithSlots() == 0 && replay.wholeTexts() == 2 && replay.positions() == 50);
  for (int32_t i = 50; i < 52; ++i) replay.add({toy.text(i, 3, 10), {}});
  CHECK(replay.textsWithSlots() == 2 && replay.pick(0.999).text.token[0] == 50 % kTokens);
  replay.add({toy.text(3, 3, 100), {}});  // larger than the budgets: alone
  CHECK(replay.positions() == 100 && replay.wholeTexts() == 1 && replay.textsWithSlots() == 1);
  replay.clear();
  CHECK(replay.empty() && replay.wholeTexts() == 0 && replay.textsWithSlots() == 0 && replay.bytes() == 0);
}

/// The target's weights move: what was promoted is judged again, learning goes on with new texts.
void testTargetMoves() {
  Rig rig;
  HeadLearner learner = rig.learner();
  Foreseen seen;
  learner.targetMoved(rig.start);  // nothing was learned, nothing is judged
  CHECK(learner.candidateNumber() == 0 && learner.live() == rig.start);
  learner.take(rig.toy.text(1, 5), seen);
  for (int64_t s = 0; s < rig.options.stepsPerCandidate; ++s) learner.step();
  CHECK(learner.stepLayers());
  learner.promote();
  const auto promoted = learner.live();
  const int64_t number = learner.candidateNumber();
  learner.targetMoved(rig.start);
  CHECK(learner.live() == rig.start && learner.candidateNumber() > number && !learner.previous());
  CHECK(learner.replay().empty() && !learner.step() && !learner.stepLayers());
  seen = {};
  CHECK(learner.take(rig.toy.text(2, 5), seen) && learner.step() && learner.stepLayers());
  CHECK(!seen.candidate.empty() && seen.previous.empty() && seen.candidateNumber == learner.candidateNumber());
  learner.promote();
  CHECK(learner.live() == promoted);
  learner.propose(rig.start);
  CHECK(learner.live() == promoted && learner.candidateNumber() > seen.candidateNumber);
}

/// Rows learn from slots of the layers that they stand on, and of no others.
void testSlotsOfOtherLayers() {
  Rig rig;
  HeadLearner learner = rig.learner();
  const auto take = [&] {
    Foreseen seen;
    CHECK(learner.take(rig.toy.text(1, 5), seen) && learner.replay().textsWithSlots() > 0);
  };
  const auto promoteLayers = [&] {
    for (int64_t s = 0; s < rig.options.layers.stepsPerCandidate; ++s) learner.stepLayers();
    learner.promote();
    CHECK(learner.live()->layers != rig.start->layers);
    take();
  };
  take();
  promoteLayers();
  learner.rollBack();
  CHECK(learner.live() == rig.start && learner.replay().textsWithSlots() == 0 && !learner.step());
  // Layers that do harm with the target's newer weights are nothing that rows go on with, either.
  take();
  promoteLayers();
  learner.targetMoved(rig.start);
  take();
  learner.discard(true);
  CHECK(learner.replay().textsWithSlots() == 0 && !learner.step());
  take();
  for (int64_t s = 0; s < rig.options.stepsPerCandidate; ++s) CHECK(learner.step());
  CHECK(learner.candidate() && learner.candidate()->layers == rig.start->layers);
}

/// How far the layers of two heads are apart.
double distance(const HeadLearner::Weights& a, const HeadLearner::Weights& b) {
  double sum = 0;
  for (size_t i = 0; i < a->layers->size(); ++i) sum += std::pow((*a->layers)[i] - (*b->layers)[i], 2);
  return sum;
}

/// Wherever the head comes from that drafts, layers go on from it, and what they learned under another one is void.
void testLayersGoOnFromWhatDrafts() {
  Rig rig;
  const auto take = [&](HeadLearner& learner) {
    Foreseen seen;
    CHECK(learner.take(rig.toy.text(1, 5), seen));
  };
  const auto stepLayers = [](HeadLearner& learner, int64_t steps) {
    for (int64_t s = 0; s < steps; ++s) CHECK(learner.stepLayers());
  };
  const auto promoteLayers = [&](HeadLearner& learner) {
    take(learner);
    stepLayers(learner, 63);
    learner.discard(false);
    stepLayers(learner, 1);
    learner.promote();
    return learner.live();
  };
  const auto goOnFrom = [&](HeadLearner& learner, const HeadLearner::Weights& head) {
    take(learner);
    stepLayers(learner, rig.options.layers.stepsPerCandidate - 1);
    CHECK(!learner.candidate());
    stepLayers(learner, 1);
    CHECK(distance(learner.candidate(), head) < distance(learner.candidate(), rig.start));
  };
  HeadLearner other = rig.learner();
  const HeadLearner::Weights far = promoteLayers(other);
  HeadLearner proposed = rig.learner();
  take(proposed);
  stepLayers(proposed, 3);
  proposed.propose(far);
  proposed.promote();
  goOnFrom(proposed, far);
  // Rows that stand on the layers that drafted before the target's weights moved.
  HeadLearner moved = rig.learner();
  const HeadLearner::Weights before = promoteLayers(moved);
  take(moved);
  moved.targetMoved(rig.start);
  moved.discard(false);
  take(moved);
  stepLayers(moved, 3);
  for (int64_t s = 0; s < rig.options.stepsPerCandidate; ++s) CHECK(moved.step());
  CHECK(moved.candidate()->layers == before->layers && moved.live() == rig.start);
  moved.promote();
  goOnFrom(moved, before);
}

/// A candidate waits for texts that say something about it.
void testPatience() {
  Rig rig;
  rig.options.textsPerCandidate = 2;
  HeadLearner learner = rig.learner();
  const auto take = [&](int64_t length) {
    Foreseen seen;
    CHECK(learner.take(rig.toy.text(1, 5, length), seen) && seen.live.empty() == (length == 5));
    return learner.candidateNumber();
  };
  take(60);
  for (int64_t s = 0; s < rig.options.stepsPerCandidate; ++s) learner.step();
  for (int i = 0; i < 5; ++i) CHECK(take(5) == 1);
  CHECK(take(60) == 1 && take(60) == 0);
}

/// Tenant A's learner with and without B's in between.
void testIsolation() {
  std::vector<std::vector<uint8_t>> seen[2];
  train::Floats weights[2];
  for (const bool withB : {false, true}) {
    Rig rig;
    HeadLearner a = rig.learner(), b = rig.learner();
    for (int32_t i = 0; i < 12; ++i) {
      Foreseen of, other;
      CHECK(a.take(rig.toy.text(i, 5), of));
      seen[withB].push_back(of.live), seen[withB].push_back(of.candidate);
      if (withB) b.take(rig.toy.text(3 * i, 11), other);
      for (int s = 0; s < 3; ++s) {
        a.step(), a.stepLayers();
        if (withB) b.step(), b.stepLayers();
      }
      if (i == 6) a.promote();
      if (withB && i == 8) b.promote();
    }
    weights[withB] = together(*a.live()).weights;
  }
  CHECK(seen[0] == seen[1] && weights[0] == weights[1]);
}

}  // namespace

int main() {
  testLearns();
  testMarkovAlone();
  testRowsUnderLayers();
  testRowsAlone();
  testRowsGoToTheCpu();
  testNewTokens();
  testPoison();
  testReplay();
  testTargetMoves();
  testSlotsOfOtherLayers();
  testLayersGoOnFromWhatDrafts();
  testPatience();
  testIsolation();
  return foretoken::test::finish("learn_head");
}
