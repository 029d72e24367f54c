// The engine's rules, one by one, on a model whose every answer is known.
#include "engine/core.h"

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <tuple>

#include "check.h"
#include "common/error.h"
#include "fake_model.h"
#include "refusal.h"

namespace foretoken {
namespace {

using test::codeOf;
using test::fakeDecode;

constexpr int kContext = 256;

EngineOptions smallOptions() {
  EngineOptions options;
  options.maxSequences = 4;
  options.maxRows = 128;
  options.runAhead = 1000;
  return options;
}

Request request(int32_t first, int maxTokens) {
  Request r;
  for (int32_t i = 0; i < 40; ++i) r.prompt.push_back((first + i * i) % test::kFakeVocabulary);
  r.maxTokens = maxTokens;
  r.maxLookahead = 8;
  r.force = static_cast<int32_t>(DrafterId::suffix);
  return r;
}

/// An engine and what came out of it.
struct Bench {
  explicit Bench(const EngineOptions& options = smallOptions())
      : model(std::make_shared<test::FakeModel>(backend, kContext)), core(backend, model, options) {
    core.setOutput(&out);
  }
  int32_t submit(const Request& r) {
    core.submit(std::make_unique<Sequence>(++lastId, r, core.contextLength(), test::kFakeVocabulary, true));
    return lastId;
  }
  bool step(const std::function<void()>& read = {}) {
    const bool worked = core.step(read);
    for (const StepRecord& s : out.steps) {
      steps.push_back(s);
      auto& tokens = got[s.sequence];
      tokens.insert(tokens.end(), out.tokens.begin() + s.tokenOffset,
                    out.tokens.begin() + s.tokenOffset + s.tokenCount);
      for (int32_t i = 0; i < s.draftCount; ++i) {
        const int32_t node = out.draftOutcome[s.draftOffset + i];
        nodes.push_back(node);
        confidences.push_back(out.draftConfidence[s.draftOffset + i]);
        (isShadow(node) ? shadow : drafted) += 1;
        if (!isShadow(node)) confident = std::max(confident, out.draftConfidence[s.draftOffset + i]);
        if (!isShadow(node)) accepted += outcomeOf(node) == NodeOutcome::accepted;
        if (isShadow(node)) CHECK(outcomeOf(node) != NodeOutcome::unreached);
      }
    }
    for (const FinishedRecord& f : out.finished) finished[f.sequence] = f;
    for (const SequenceFailure& e : out.errors) errors[e.sequence] = e.code;
    rounds += static_cast<int64_t>(out.rounds.size());
    times.insert(times.end(), out.rounds.begin(), out.rounds.end());
    out.clear();
    return worked;
  }
  void run() {
    while (step()) continue;
  }

  test::FakeBackend backend;
  std::shared_ptr<test::FakeModel> model;
  EngineCore core;
  Outcomes out;
  int32_t lastId = 0;
  std::vector<StepRecord> steps;
  std::vector<RoundRecord> times;
  std::map<int32_t, std::vector<int32_t>> got;
  std::map<int32_t, FinishedRecord> finished;
  std::map<int32_t, std::string> errors;
  int64_t rounds = 0, drafted = 0, accepted = 0, shadow = 0;
  float confident = 0;         ///< the best of all verified nodes
  std::vector<int32_t> nodes;  ///< all that were drafted, as outcomes have them
  std::vector<float> confidences;
};

void stopsInsideAnAcceptedRun() {
  int inside = 0;
  for (int32_t first = 0; first < 40; ++first) {
    Request r = request(first, 100);
    r.prediction = fakeDecode(r, kContext);
    r.force = static_cast<int32_t>(DrafterId::prediction);
    r.stopTokens = {r.prediction[20 + first % 30]};
    Bench bench;
    const int32_t id = bench.submit(r);
    bench.run();
    const auto expected = fakeDecode(r, kContext);
    CHECK(bench.got[id] == expected);
    CHECK(bench.finished.at(id).reason == static_cast<int32_t>(FinishReason::stop));
    const StepRecord& last = bench.steps.back();
    inside += last.accepted == last.tokenCount && last.accepted > 0;
  }
  CHECK(inside > 10);
}

void endsAtTheContext() {
  Request r = request(3, 100000);
  Bench bench;
  const int32_t id = bench.submit(r);
  bench.run();
  CHECK(bench.got[id].size() + r.prompt.size() == kContext);
  CHECK(bench.finished.at(id).reason == static_cast<int32_t>(FinishReason::length));
  r.prompt.assign(kContext, 1);
  CHECK(codeOf([&] { validate(r, test::kFakeVocabulary, kContext); }) == "CONTEXT_EXCEEDED");
}

void refusesBadRequests() {
  const auto code = [](auto change) {
    Request r = request(0, 4);
    change(r);
    return codeOf([&] { validate(r, test::kFakeVocabulary, kContext); });
  };
  CHECK(code([](Request&) {}) == "");
  CHECK(code([](Request& r) { r.prompt.clear(); }) == "INVALID_REQUEST");
  CHECK(code([](Request& r) { r.prompt[1] = test::kFakeVocabulary; }) == "INVALID_REQUEST");
  CHECK(code([](Request& r) { r.prompt[1] = -1; }) == "INVALID_REQUEST");
  CHECK(code([](Request& r) { r.prediction = {1 << 30}; }) == "INVALID_REQUEST");
  CHECK(code([](Request& r) { r.temperature = std::nanf(""); }) == "INVALID_REQUEST");
  CHECK(code([](Request& r) { r.topP = 0; }) == "INVALID_REQUEST");
  CHECK(code([](Request& r) { r.repetitionPenalty = 0; }) == "INVALID_REQUEST");
  CHECK(code([](Request& r) { r.biasTokens = {1}; }) == "INVALID_REQUEST");
  CHECK(code([](Request& r) { r.logprobs = 21; }) == "INVALID_REQUEST");
  CHECK(code([](Request& r) { r.maxTokens = 0; }) == "INVALID_REQUEST");
  CHECK(code([](Request& r) { r.force = kDrafterCount; }) == "INVALID_REQUEST");
}

void pausesUntilConsumed() {
  EngineOptions options = smallOptions();
  options.runAhead = 10;
  Bench bench(options);
  Request r = request(1, 100);
  r.speculate = false;
  const int32_t id = bench.submit(r), other = bench.submit(request(2, 100));
  bench.run();
  CHECK(bench.got[id].size() == 10);
  bench.core.consumed(other, 1000);
  bench.run();
  CHECK(bench.got[id].size() == 10 && bench.got[other].size() == 100);  // nobody waits for the one that waits
  bench.core.consumed(id, 7);
  bench.run();
  CHECK(bench.got[id].size() == 17);
  bench.core.ignoreBackPressure();
  bench.run();
  CHECK(bench.got[id].size() == 100);
}

/// Pages for one context, whatever else an engine has.
constexpr size_t kOneContext = size_t{4 + kKeyWidth} * kPageSize * (kContext / kPageSize + kMaxDraftRows / kPageSize);

/// Reads what came of some requests, one after the other, until nothing more comes. Returns how many passes have
/// computed known text on the way.
int readToTheEnd(Bench& bench, const std::vector<int32_t>& ids) {
  bench.times.clear();
  for (size_t before = 0, all = 1; all > before;) {
    before = all;
    all = 1;
    for (const int32_t id : ids) {
      bench.core.consumed(id, static_cast<int32_t>(bench.got[id].size()));
      bench.run();
    }
    for (const int32_t id : ids) all += bench.got[id].size();
  }
  return static_cast<int>(
      std::count_if(bench.times.begin(), bench.times.end(), [](const RoundRecord& r) { return r.prefillRows > 0; }));
}

/// All places belong to requests whose readers have gone: others run, and the readers find their text when they return.
void givesThePlacesOfStalledReadersToOthers() {
  EngineOptions options = smallOptions();
  options.maxSequences = 2;
  options.runAhead = 30;
  Bench bench(options);
  std::map<int32_t, Request> stalled;
  for (int32_t n = 0; n < 2; ++n) {
    Request r = request(n, 120);
    if (n == 1) r.temperature = 0.7f, r.seed = 5;
    stalled[bench.submit(r)] = r;
  }
  bench.run();
  for (int32_t n = 2; n < 4; ++n) {
    const int32_t id = bench.submit(request(n, 100));
    bench.core.unread(id);
    bench.run();
    CHECK(bench.got[id] == fakeDecode(request(n, 100), kContext));
    bench.core.finish(id, 100);
  }
  for (const auto& [id, r] : stalled) CHECK(bench.got[id].size() < 60);
  readToTheEnd(bench, {1, 2});
  for (const auto& [id, r] : stalled) CHECK(bench.got[id] == fakeDecode(r, kContext));
  for (const RoundRecord& round : bench.times) CHECK(round.prefillRows <= 2 * kPageSize);  // the rest was kept
  CHECK(bench.model->corrupt == 0 && bench.core.drained());
}

/// A first token can go out before the round that follows.
void tellsFirstTokensBeforeTheRound() {
  Bench bench;
  const int32_t id = bench.submit(request(1, 20));
  int told = 0;
  const bool worked = bench.core.step([&] {
    ++told;
    CHECK(bench.out.steps.size() == 1 && bench.out.steps[0].sequence == id && bench.out.steps[0].tokenCount == 1);
  });
  CHECK(worked && told == 1 && bench.out.steps.size() == 2);
  CHECK(bench.core.step([&] { ++told; }) && told == 1);
}

/// However many readers stall, what drafters have of their texts is that of those in places.
void stalledReadersTakeNoMemory() {
  EngineOptions options = smallOptions();
  options.maxSequences = 2;
  options.runAhead = 30;
  Bench bench(options);
  const auto indexed = [&](int32_t stalled) {
    while (stalled-- > 0) bench.submit(request(0, 120));
    bench.run();
    return bench.core.counters().indexBytes;
  };
  const int64_t two = indexed(2);
  CHECK(two > 0 && indexed(20) == two);
}

/// Who goes before anything was computed leaves nothing.
void remembersNoPromptsThatWereNotComputed() {
  EngineOptions options = smallOptions();
  options.maxSequences = 1;
  Bench bench(options);
  bench.submit(request(0, 100));
  bench.step();
  const int64_t one = bench.core.counters().indexBytes;
  for (int n = 1; n < 9; ++n) bench.core.finish(bench.submit(request(n, 100)), 0);
  CHECK(one > 0 && bench.core.counters().indexBytes == one);
}

/// The same of pages: a stalled reader's text holds nearly all of them.
void givesThePagesOfStalledReadersToOthers() {
  EngineOptions options = smallOptions();
  options.runAhead = 170;
  options.kvBytes = kOneContext;
  Bench bench(options);
  Request r = request(1, 200);
  r.temperature = 0.7f, r.seed = 9;
  const int32_t stalled = bench.submit(r);
  bench.run();
  CHECK(bench.core.counters().pagesUsed >= 14);
  Request other = request(2, 60);
  while (other.prompt.size() < 100) other.prompt.push_back(static_cast<int32_t>(other.prompt.size()) % 7);
  const int32_t id = bench.submit(other);
  bench.core.unread(id);
  bench.run();
  CHECK(bench.got[id] == fakeDecode(other, kContext));
  bench.core.finish(id, 60);
  readToTheEnd(bench, {stalled});
  CHECK(bench.got[stalled] == fakeDecode(r, kContext) && bench.model->corrupt == 0);
}

/// A prompt stalls nobody whose reader has stalled already: it is read in the passes of an engine that decodes nothing.
void readsPromptsInLargePassesBesideStalledReaders() {
  EngineOptions options = smallOptions();
  options.runAhead = 10;
  Bench bench(options);
  bench.submit(request(1, 100));
  bench.run();
  Request other = request(2, 1);
  other.prompt.resize(120, 3);
  bench.times.clear();
  bench.submit(other);
  bench.run();
  CHECK(bench.times.size() == 1 && bench.times[0].prefillRows == 120);
}

/// Readers that are slow by turns share one place, or pages for one: each change is paid by what has been read.
void letsSlowReadersTakeTurns() {
  for (const bool lacksPages : {false, true}) {
    EngineOptions options = smallOptions();
    options.runAhead = 20;
    (lacksPages ? options.kvBytes = kOneContext : options.maxSequences = 1);
    Bench bench(options);
    std::map<int32_t, Request> requests;
    for (int32_t n = 0; n < 3; ++n) {
      Request r = request(n, 160);
      r.seed = n, r.temperature = n % 2 == 0 ? 0.0f : 0.7f;
      requests[bench.submit(r)] = r;
    }
    const int passes = readToTheEnd(bench, {1, 2, 3});
    for (const auto& [id, r] : requests) CHECK(bench.got[id] == fakeDecode(r, kContext));
    CHECK(passes > 3 && passes <= 3 * 2 * (1 + 160 / 20) && bench.model->corrupt == 0);
  }
}

/// Who stands behind one that gives its pages away for somebody's last token has no round less.
void missesNoRoundWhereAnotherStepsBack() {
  EngineOptions options = smallOptions();
  options.runAhead = 10;
  options.kvBytes = kOneContext;
  Bench bench(options);
  std::vector<int32_t> ids;
  for (int32_t n = 0; n < 3; ++n) {
    Request r = request(n, 60);
    r.speculate = false;
    ids.push_back(bench.submit(r));
    if (n == 0) bench.run();
    if (n > 0) bench.core.unread(ids[n]);
  }
  while (bench.step()) CHECK(bench.got[ids[1]].size() == bench.got[ids[2]].size());
  CHECK(bench.got[ids[2]].size() == 60 && bench.core.counters().waiting == 1);
}

/// A paused request that gave its pages away goes on as well once nobody minds back-pressure: closing waits for it.
void finishesWhatWasPausedAndPreempted() {
  EngineOptions options = smallOptions();
  options.runAhead = 10;
  options.kvBytes = kOneContext;
  Bench bench(options);
  const Request r = request(1, 150);
  const int32_t paused = bench.submit(r);
  bench.run();
  bench.core.unread(bench.submit(request(2, kContext)));
  bench.run();
  CHECK(bench.core.counters().waiting == 1 && bench.got[paused].size() < 30);
  bench.core.ignoreBackPressure();
  bench.run();
  CHECK(bench.core.drained() && bench.got[paused] == fakeDecode(r, kContext));
}

/// Who waits for the whole text holds nothing back, paused or not.
void runsToTheEndWhereNobodyReads() {
  EngineOptions options = smallOptions();
  options.runAhead = 10;
  Bench bench(options);
  const Request r = request(1, 100);
  const int32_t paused = bench.submit(r), other = bench.submit(request(2, 100));
  bench.core.unread(other);
  bench.run();
  CHECK(bench.got[paused].size() < 30 && bench.got[other].size() == 100);
  bench.core.unread(paused);
  bench.run();
  CHECK(bench.got[paused] == fakeDecode(r, kContext));
}

void draftsNothingWithoutAPolicy() {
  Bench bench;
  Request r = request(1, 60);
  r.force = -1;
  bench.submit(r);
  bench.run();
  CHECK(bench.drafted == 0 && bench.shadow == 0 && bench.rounds == 60);
  for (const RoundRecord& round : bench.times) CHECK(round.draftSeconds == 0);
}

/// A policy that allows a drafter but finds no draft worth a row: plain rounds, and the drafter is still scored.
void scoresWhatItDoesNotVerify() {
  Bench bench;
  Policy policy;
  policy.allowed[static_cast<int>(DrafterId::suffix)] = true;
  for (int rows = 1; rows < 20; ++rows) policy.passSeconds.push_back(static_cast<float>(rows));
  bench.core.setPolicy(nullptr, policy);
  Request r = request(1, 60);
  r.force = -1;
  const int32_t id = bench.submit(r);
  bench.run();
  CHECK(bench.got[id] == fakeDecode(r, kContext));
  CHECK(bench.drafted == 0 && bench.shadow > 20 && bench.rounds == 60);
  const auto asked = std::count_if(bench.times.begin(), bench.times.end(), [](auto& r) { return r.draftSeconds > 0; });
  CHECK(asked == 58);  // all but the pass that reads the prompt, and the one with which the text ends
}

/// A prompt that says again and again what comes behind the first token of its answer.
std::vector<int32_t> promptThatKnows(std::array<int32_t, 2> next) {
  for (int32_t seed = 0;; ++seed) {
    Request r = request(0, 1);
    const int32_t first = seed % test::kFakeVocabulary;
    r.prompt.assign(1, seed);
    for (int i = 0; i < 20; ++i) r.prompt.insert(r.prompt.end(), {first, next[0], next[1]});
    r.prompt[0] = seed / test::kFakeVocabulary % test::kFakeVocabulary;
    if (fakeDecode(r, kContext)[0] == first) return r.prompt;
  }
}

/// A stop token needs no row of its own, and nothing comes behind it.
void draftsNothingBehindAStopToken() {
  Policy policy;
  for (const DrafterId each : {DrafterId::suffix, DrafterId::recall, DrafterId::blend})
    policy.allowed[static_cast<int>(each)] = true;
  for (auto& drafter : policy.acceptance)
    for (auto& depth : drafter) depth.fill(0.9f);
  policy.passSeconds.assign(16, 1);
  const auto drafted = [&](std::vector<int32_t> stopTokens) {
    Bench bench;
    bench.core.setPolicy(nullptr, policy);
    Request r = request(0, 4);
    r.prompt = promptThatKnows({9, 7});
    r.force = -1;
    r.stopTokens = std::move(stopTokens);
    const int32_t id = bench.submit(r);
    while (bench.rounds < 2 && bench.step()) continue;  // the prompt, and what is drafted behind the first token
    CHECK(bench.got[id].size() >= 2);
    return bench.drafted;
  };
  CHECK(drafted({}) == 2 && drafted({7}) == 1 && drafted({9}) == 0);
}

/// Drafted tokens that the text has reached, by the length of the text when they were drafted: drafter, depth,
/// confidence, right.
using Labels = std::map<int32_t, std::multiset<std::tuple<int32_t, int32_t, float, bool>>>;

Labels labelsOf(const Bench& bench, int32_t prompt) {
  Labels labels;
  size_t at = 0;
  int32_t length = prompt;
  for (const StepRecord& step : bench.steps) {
    for (const size_t end = at + step.draftCount; at < end; ++at) {
      const int32_t node = bench.nodes[at];
      if (outcomeOf(node) == NodeOutcome::unreached) continue;
      const bool right = outcomeOf(node) == NodeOutcome::accepted;
      labels[length - ageOf(node)].emplace(node >> 24, node & 0xff, bench.confidences[at], right);
    }
    length += step.tokenCount;
  }
  return labels;
}

/// What is said of a draft in the end is the same whether nothing of it was verified, some or all, and whichever
/// drafter's it was: what is drafted at a place, and what of it is right, is a matter of the text alone, but for what
/// recall has heard of passes.
void labelsDoNotDependOnWhatWasVerified() {
  Policy policy;
  policy.allowed[static_cast<int>(DrafterId::suffix)] = true;
  for (auto& drafter : policy.acceptance)
    for (auto& depth : drafter) depth.fill(0.6f);
  const auto run = [&](int32_t first, int rowBudget, int64_t& drafted) {
    Bench bench;
    policy.rowBudget = rowBudget;
    policy.passSeconds.assign(rowBudget, 1);
    bench.core.setPolicy(nullptr, policy);
    Request r = request(first, 200);
    r.force = -1;
    bench.submit(r);
    bench.run();
    drafted = bench.drafted;
    return labelsOf(bench, static_cast<int32_t>(r.prompt.size()));
  };
  int compared = 0, deep = 0;
  for (int32_t first = 0; first < 12; ++first) {
    int64_t drafted = 0;
    const Labels none = run(first, 1, drafted);
    CHECK(drafted == 0);
    for (const int rowBudget : {2, 4, 64}) {
      const Labels some = run(first, rowBudget, drafted);
      CHECK(drafted > 0 && some.size() < none.size());
      for (const auto& [start, labels] : some) {
        CHECK(none.at(start) == labels);
        compared += static_cast<int>(labels.size());
        for (const auto& label : labels) deep += std::get<1>(label) > rowBudget;
      }
    }
  }
  CHECK(compared > 5000 && deep > 10);
}

/// What is believed where one tenant's text is decoded says nothing about another's.
void believesTenantByTenant() {
  Bench bench;
  Policy policy;
  for (int rows = 1; rows < 20; ++rows) policy.passSeconds.push_back(1);
  const auto drafted = [&](const std::string& tenant) {
    Request r = request(1, 60);
    r.force = -1;
    r.tenant = tenant;
    bench.drafted = 0;
    bench.submit(r);
    bench.run();
    return bench.drafted;
  };
  const std::string a = "a";
  bench.core.setPolicy(nullptr, policy);
  policy.allowed[static_cast<int>(DrafterId::suffix)] = true;
  for (auto& depth : policy.acceptance[static_cast<int>(DrafterId::suffix)]) depth.fill(0.5f);
  bench.core.setPolicy(&a, policy);
  CHECK(drafted("a") > 0 && drafted("b") == 0);
  bench.core.dropPolicy(a);
  CHECK(drafted("a") == 0);
  bench.core.setPolicy(&a, policy);
  CHECK(drafted("a") > 0);
  bench.core.forget(&a, nullptr);
  CHECK(drafted("a") == 0);
}

void keepsNoIndexWithoutSpeculation() {
  EngineOptions options = smallOptions();
  options.speculation = false;
  test::FakeBackend backend;
  auto model = std::make_shared<test::FakeModel>(backend, kContext);
  EngineCore core(backend, model, options);
  Outcomes out;
  core.setOutput(&out);
  core.submit(std::make_unique<Sequence>(1, request(1, 20), core.contextLength(), test::kFakeVocabulary, false));
  while (core.step()) continue;
  CHECK(core.counters().indexBytes == 0);
  core.finish(1, 20);
  CHECK(core.counters().indexBytes == 0 && out.draftOutcome.empty() && out.tokens.size() == 20);
  CHECK(backend.sideBytes == 0 && model->keys == 0);
}

/// Requests that have begun keep their weights, through preemption too; no page of other weights is ever taken; the old
/// weights go with the last of those requests.
/// What a caller predicts counts as index, as far as the context goes.
void countsPredictions() {
  const auto bytesWith = [](size_t predicted) {
    Bench bench;
    Request r = request(3, 60);
    r.prediction.assign(predicted, 5);
    const int32_t id = bench.submit(r);
    bench.step();
    const int64_t bytes = bench.core.counters().indexBytes;
    bench.run();
    CHECK(bench.got[id] == fakeDecode(r, kContext));
    bench.core.finish(id, 60);
    bench.core.forget(nullptr, nullptr);
    CHECK(bench.core.counters().indexBytes == 0);
    return bytes;
  };
  const int64_t none = bytesWith(0), some = bytesWith(kContext);
  CHECK(some >= none + static_cast<int64_t>(PredictionDrafter(std::vector<int32_t>(kContext)).bytes()));
  CHECK(bytesWith(100 * kContext) == some);
}

/// A memory that a tenant gets back is the one that was taken, with its keys.
void restoresWhatWasTaken() {
  MemoryImage image;
  for (int32_t i = 0; i < 20000; ++i) {
    image.tokens.push_back(i % 701 == 700 ? kBorder : static_cast<int32_t>(test::mix(i, 7) % test::kFakeVocabulary));
    for (int k = 0; k < kPackedKeyBytes; ++k)
      image.keys.push_back(image.tokens.back() == kBorder ? 0 : static_cast<uint8_t>(test::mix(i, k)));
  }
  image.tokens.push_back(kBorder);
  image.keys.resize(image.keys.size() + kPackedKeyBytes);
  Bench first, second;
  first.core.restoreMemory("t", image);
  const MemoryImage taken = first.core.memoryOf("t");
  second.core.restoreMemory("t", taken);
  const auto text = [](std::vector<int32_t> tokens) { return std::erase(tokens, kBorder), tokens; };
  CHECK(text(taken.tokens) == text(image.tokens));
  CHECK(second.core.memoryOf("t").tokens == taken.tokens && second.core.memoryOf("t").keys == taken.keys);
  MemoryImage wrong = image;
  wrong.keys.pop_back();
  CHECK(codeOf([&] { first.core.restoreMemory("t", wrong); }) == "INVALID_ARGUMENT");
  wrong = image;
  wrong.tokens[5] = test::kFakeVocabulary;
  CHECK(codeOf([&] { first.core.restoreMemory("u", wrong); }) == "INVALID_ARGUMENT");
  CHECK(first.core.memoryOf("t").keys == taken.keys && first.core.memoryOf("u").tokens.empty());
}

void finishesOnTheWeightsItBeganWith() {
  EngineOptions options = smallOptions();
  const size_t page = static_cast<size_t>(4 + kKeyWidth) * kPageSize;
  options.kvBytes = page * (kContext / kPageSize + kMaxDraftRows / kPageSize + 4);
  Bench bench(options);
  std::vector<std::shared_ptr<test::FakeModel>> models = {bench.model};
  for (uint64_t weights = 1; weights <= 3; ++weights) {
    std::map<int32_t, std::pair<Request, uint64_t>> requests;
    for (int32_t n = 0; n < 5; ++n) {  // the fifth still waits when the weights change
      const Request r = request(n % 3, 80 + n);
      requests[bench.submit(r)] = {r, n < 4 ? weights : weights + 1};
    }
    for (int i = 0; i < 6; ++i) bench.step();
    CHECK(bench.core.counters().active == 4 && bench.core.counters().waiting == 1);
    models.push_back(std::make_shared<test::FakeModel>(bench.backend, kContext, weights + 1));
    bench.core.updateWeights(models.back(), /*restart=*/false);
    const int32_t cancelled = requests.begin()->first;
    bench.core.finish(cancelled, 3);
    CHECK(bench.core.counters().weightsVersion == static_cast<int32_t>(weights));
    CHECK(bench.core.counters().weightsHeld == 2);
    bench.run();
    for (const auto& [id, asked] : requests) {
      if (id == cancelled) continue;
      CHECK(bench.got[id] == fakeDecode(asked.first, kContext, asked.second));
      bench.core.finish(id, static_cast<int32_t>(bench.got[id].size()));
    }
    bench.step();
    CHECK(bench.core.counters().weightsHeld == 1 && bench.core.counters().pagesUsed == 0);
  }
  CHECK(bench.errors.empty());
  for (const auto& model : models) CHECK(model->passes > 0 && model->corrupt == 0);
  CHECK(models[1].use_count() == 1);  // nobody else holds it
}

/// All that a request has so far is computed again with the new weights, which go on from there.
void restartsOnNewWeights() {
  Bench bench;
  std::map<int32_t, Request> requests;
  for (int32_t n = 0; n < 6; ++n) {
    Request r = request(n, 100);
    r.temperature = n % 2 == 0 ? 0.0f : 0.7f;
    r.seed = static_cast<uint64_t>(n);
    requests[bench.submit(r)] = r;
  }
  for (int i = 0; i < 12; ++i) bench.step();
  const auto sofar = bench.got;
  CHECK(sofar.size() == 4);
  const auto next = std::make_shared<test::FakeModel>(bench.backend, kContext, 2);
  bench.core.updateWeights(next, /*restart=*/true);
  bench.run();
  for (const auto& [id, r] : requests) {
    const std::vector<int32_t> before = sofar.contains(id) ? sofar.at(id) : std::vector<int32_t>();
    Request rest = r;
    rest.prompt.insert(rest.prompt.end(), before.begin(), before.end());
    rest.maxTokens -= static_cast<int32_t>(before.size());
    std::vector<int32_t> expected = before;
    for (const int32_t token : fakeDecode(rest, kContext, 2)) expected.push_back(token);
    CHECK(bench.got[id] == expected && expected != fakeDecode(r, kContext));
  }
  CHECK(next->corrupt == 0 && bench.core.counters().weightsHeld == 1 && bench.errors.empty());
}

/// A prefix that other weights computed is not there any more, also where its request is acknowledged later.
void sharesNoPrefixAcrossWeights() {
  Bench bench;
  const Request r = request(5, 40);
  const int32_t early = bench.submit(r), late = bench.submit(request(6, 40));
  bench.run();
  bench.core.finish(early, 40);
  bench.core.updateWeights(std::make_shared<test::FakeModel>(bench.backend, kContext, 2), /*restart=*/false);
  bench.core.finish(late, 40);
  for (const int32_t first : {5, 6}) {
    const int32_t id = bench.submit(request(first, 40));
    bench.run();
    CHECK(bench.finished.at(id).cachedPromptTokens == 0);
    CHECK(bench.got[id] == fakeDecode(request(first, 40), kContext, 2));
    bench.core.finish(id, 40);
  }
  const int32_t again = bench.submit(r);
  bench.run();
  CHECK(bench.finished.at(again).cachedPromptTokens > 0);
}

/// What was said before is recalled, also from a prefix that is not computed again: its pages carry the keys.
void recallsByKeys() {
  Bench bench;
  Request r = request(3, 120);
  r.force = static_cast<int32_t>(DrafterId::recall);
  const int32_t id = bench.submit(r);
  bench.run();
  CHECK(bench.got[id] == fakeDecode(r, kContext));
  const int64_t alone = bench.accepted;
  CHECK(bench.drafted > 10);
  bench.core.finish(id, 120);
  Request again = r;
  again.prompt.insert(again.prompt.end(), bench.got[id].begin(), bench.got[id].begin() + 60);
  again.maxTokens = 60;
  const int32_t cached = bench.submit(again);
  bench.run();
  CHECK(bench.finished.at(cached).cachedPromptTokens == 96);
  CHECK(bench.got[cached] == fakeDecode(again, kContext));
  CHECK(bench.accepted - alone > 40);
}

/// Pages of who drafts nothing carry keys, too: who shares them drafts what it would from pages of its own.
void recallsFromPagesOfOthers() {
  Request r = request(3, 100);
  const std::vector<int32_t> once = r.prompt;
  r.prompt.insert(r.prompt.end(), once.begin(), once.end());
  r.force = static_cast<int32_t>(DrafterId::recall);
  const auto draftsOf = [&](bool shares) {
    Bench bench;
    Request before = r;
    before.speculate = false;
    before.maxTokens = 1;
    if (shares) bench.submit(before);
    bench.run();
    if (shares) bench.core.finish(bench.lastId, 1);
    const int32_t id = bench.submit(r);
    bench.run();
    CHECK((bench.finished.at(id).cachedPromptTokens > 0) == shares);
    std::vector<std::pair<int32_t, float>> drafts;
    for (size_t n = 0; n < bench.nodes.size(); ++n) drafts.emplace_back(bench.nodes[n], bench.confidences[n]);
    return drafts;
  };
  CHECK(!draftsOf(false).empty() && draftsOf(true) == draftsOf(false));
}

/// One sequence as the engine should have it, token by token.
struct ByHand {
  explicit ByHand(const Request& r) {
    for (const int32_t token : r.prompt) append(token);
  }
  void append(int32_t token) {
    const uint64_t prefix = prefixes.empty() ? 1 : prefixes.back();
    const int32_t before = tokens.empty() ? -1 : tokens.back();
    tokens.push_back(token);
    prefixes.push_back(test::fakeStep(prefix, token, false));
    states.push_back(state(prefixes.back(), token, before));
    text.append(token);
    if (text.size() > 1) text.setKey(text.size() - 2, states[states.size() - 2].key.data());
  }
  struct State {
    Key key;
    int32_t answer;  ///< what the target says there
  };
  static State state(uint64_t prefix, int32_t token, int32_t before) {
    State result;
    test::fakeKey({token, before, 0, prefix, false}, result.key.data());
    std::array<float, test::kFakeVocabulary> logits;
    test::fakeLogits(prefix, token, before, logits.data());
    result.answer = static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
    return result;
  }
  /// Of each node of a draft behind the text.
  std::vector<State> verified(std::span<const DraftNode> draft) const {
    std::vector<State> result;
    std::vector<uint64_t> behind;
    for (const DraftNode& node : draft) {
      const bool first = node.parent < 0;
      behind.push_back(test::fakeStep(first ? prefixes.back() : behind[node.parent], node.token, false));
      result.push_back(state(behind.back(), node.token, first ? tokens.back() : draft[node.parent].token));
    }
    return result;
  }

  TextSegment text{kContext, KeyForm::whole};
  std::vector<int32_t> tokens;
  std::vector<uint64_t> prefixes;
  std::vector<State> states;
};

/// Recall drafts what it should, given the answers behind rejected drafts as the target would give them: to the bit.
void hearsAnswersBehindRejectedDrafts() {
  Bench bench;
  Request r = request(3, 120);
  r.force = static_cast<int32_t>(DrafterId::recall);
  bench.submit(r);
  bench.run();
  ByHand hand(r);
  Echoes echoes(kEchoes);
  RecallDrafter drafter(&hand.text, &echoes), deaf(&hand.text);
  int differ = 0;
  size_t at = 0;
  for (const StepRecord& step : bench.steps) {
    std::array<DraftNode, kMaxDraftNodes> nodes, others;
    const auto length = static_cast<int32_t>(hand.tokens.size());
    const size_t most = length % 37 == 0 ? kMaxDraftNodes : 7 - length % 7;  // of a forced draft
    const DraftInput input{hand.tokens, 40, std::min(8, 40 + 120 - length - 1)};
    const bool drafts = length > 40 && input.maxDepth >= 1;
    const int count = drafts ? drafter.draft(input, std::span(nodes).first(most)) : 0;
    const auto draft = std::span<const DraftNode>(nodes).first(count);
    CHECK(step.draftCount == count);
    for (int n = 0; n < count; ++n) CHECK(bench.confidences.at(at++) == draft[n].confidence);
    if (count > 0) differ += deaf.draft(input, std::span(others).first(most)) != count;
    const std::vector<ByHand::State> verified = hand.verified(draft);
    const ByHand::State root = hand.states.back();
    int32_t last = -1, token = root.answer;
    for (int32_t n = 0; n < count; ++n) {
      if (draft[n].parent != last || draft[n].token != token) continue;
      hand.append(token);
      last = n;
      token = verified[n].answer;
    }
    hand.append(token);
    echoes.hear(
        draft, last, [&](int32_t n) { return verified[n].answer; },
        [&](int32_t node, int32_t answer) {
          int32_t n = node + 1;
          while (n < count && (draft[n].parent != node || draft[n].token != answer)) ++n;
          return n < count ? n : -1;
        },
        [&](int32_t n) { return n < 0 ? root.key.data() : verified[n].key.data(); });
  }
  CHECK(differ > 10);
  CHECK(hand.tokens.size() == 160);
  CHECK(std::equal(hand.tokens.begin() + 40, hand.tokens.end(), bench.got[1].begin(), bench.got[1].end()));
}

/// Who must not look at what earlier requests taught drafts as where nothing was taught, to the bit.
void draftsFromNothingLearned() {
  const auto drafted = [](bool taught, bool learned) {
    Bench bench;
    Request r = request(3, 120);
    r.session = "s";
    for (const DrafterId which : {DrafterId::suffix, DrafterId::recall}) {
      r.force = static_cast<int32_t>(which);
      r.learned = true;
      if (taught) {
        const int32_t id = bench.submit(r);
        bench.run();
        bench.core.finish(id, 120);
      }
      bench.confidences.clear(), bench.nodes.clear();
      r.learned = learned;
      r.learn = Learn::nothing;
      bench.submit(r);
      bench.run();
      r.learn = Learn::all;
    }
    return std::pair(bench.confidences, bench.nodes);
  };
  CHECK(drafted(true, false) == drafted(false, true));
  CHECK(drafted(true, true) != drafted(false, true));
}

/// One tenant's drafts, to the bit, whatever another one does before, between and after: under budgets that make both
/// forget.
void tenantsDraftAsIfAlone() {
  const auto run = [](bool crowded) {
    EngineOptions options = smallOptions();
    options.maxSequences = 1;
    options.tenantIndexBytes = 700 << 10;
    options.indexBytes = 64 << 20;
    options.kvBytes = size_t{4 + kKeyWidth} * kPageSize * (kContext / kPageSize + kMaxDraftRows / kPageSize + 4);
    Bench bench(options);
    std::vector<float> confidences;
    std::vector<int32_t> nodes;
    const auto serve = [&](const std::string& tenant, int n) {
      Request r = request(n % 19, 120);
      r.tenant = tenant;
      r.session = n % 4 == 0 ? "s" : "";
      r.force = static_cast<int32_t>(n % 3 == 0 ? DrafterId::suffix : DrafterId::recall);
      r.seed = n;
      r.temperature = n % 2 ? 0.7f : 0.0f;
      bench.confidences.clear();
      bench.nodes.clear();
      const int32_t id = bench.submit(r);
      bench.run();
      bench.core.finish(id, 120);
    };
    for (int n = 0; n < 60; ++n) {
      for (int other = 0; crowded && other < n % 3; ++other) serve("b", 100 + 7 * n + other);
      serve("a", n);
      confidences.insert(confidences.end(), bench.confidences.begin(), bench.confidences.end());
      nodes.insert(nodes.end(), bench.nodes.begin(), bench.nodes.end());
    }
    CHECK(nodes.size() > 1000);
    return std::pair(confidences, nodes);
  };
  CHECK(run(false) == run(true));
}

/// Names that nothing belongs to are not kept, and whoever gets the number of one gets nothing else of it.
void forgetsNamesOfTenantsThatHaveNothing() {
  EngineOptions options = smallOptions();
  options.maxSequences = 1;
  options.kvBytes = size_t{4 + kKeyWidth} * kPageSize * (kContext / kPageSize + kMaxDraftRows / kPageSize + 4);
  Bench bench(options);
  const std::string believer = "believer";
  bench.core.setPolicy(&believer, Policy{});
  Request r = request(1, 2);
  r.learn = Learn::nothing;
  int32_t most = 0;
  for (int n = 0; n < 10000; ++n) {
    r.tenant = std::to_string(n);
    const int32_t id = bench.submit(r);
    bench.run();
    bench.core.finish(id, 2);
    CHECK(bench.finished.at(id).cachedPromptTokens == 0);
    most = std::max(most, bench.core.counters().tenants);
  }
  CHECK(most < 100);
  const int32_t before = bench.core.counters().tenants;
  bench.core.setPolicy(&believer, Policy{});
  CHECK(bench.core.counters().tenants == before);
}

/// No session is called "": there is nothing to forget of it, and what runs meanwhile is remembered where it belongs.
void forgetsNothingOfNoSession() {
  EngineOptions options = smallOptions();
  options.tenantIndexBytes = 2 << 20;
  Bench bench(options);
  const std::string none;
  for (int32_t n = 0; n < 40; ++n) {
    Request r = request(n, 200);
    r.session = n % 2 == 0 ? "s" : "";
    r.seed = n, r.temperature = 1;
    const int32_t id = bench.submit(r);
    bench.step();
    bench.core.forget(nullptr, &none);
    bench.run();
    bench.core.finish(id, 200);
    CHECK(n > 4 || !bench.core.memoryOf("").tokens.empty());
    CHECK(bench.core.counters().indexBytes <= 2 << 20);
  }
  bench.core.forget(nullptr, nullptr);
  CHECK(bench.core.counters().indexBytes == 0);
}

void sharesPrefixesOfKeptTokensOnly() {
  Bench bench;
  Request first = request(1, 50);
  const int32_t id = bench.submit(first);
  bench.run();
  bench.core.finish(id, 20);  // of 40 + 50 tokens 60 are kept: three full pages
  Request second = first;
  second.prompt.insert(second.prompt.end(), bench.got[id].begin(), bench.got[id].end());
  second.maxTokens = 10;
  const int32_t again = bench.submit(second);
  Request stranger = second;
  stranger.tenant = "other";
  const int32_t apart = bench.submit(stranger);
  bench.run();
  CHECK(bench.finished.at(again).cachedPromptTokens == 48);
  CHECK(bench.finished.at(apart).cachedPromptTokens == 0);
  CHECK(bench.got[again] == fakeDecode(second, kContext) && bench.got[apart] == bench.got[again]);
  CHECK(bench.model->corrupt == 0);
}

/// What the tenant's index learns ends where the caller cut: long matches are found in kept answers, not in cut ones.
void learnsKeptTokensOnly() {
  std::map<int32_t, int> found;
  for (const int32_t keep : {0, 30}) {
    Bench bench;
    const int32_t id = bench.submit(request(1, 30));
    bench.run();
    const auto text = bench.got[id];
    bench.core.finish(id, keep);
    for (int from = 2; from < 22; ++from) {
      Request next = request(0, 4);
      next.prompt.assign(text.begin() + from, text.begin() + from + 6);
      bench.confident = 0;
      bench.submit(next);
      bench.run();
      found[keep] += bench.confident > 0.6f;
    }
  }
  CHECK(found[30] >= 6 && found[0] <= 1);
}

/// In prefill or in decoding.
void survivesAFailingPass(bool lacksMemory, bool inPrefill) {
  Bench bench;
  bench.model->lacksMemory = lacksMemory;
  const int32_t broken = bench.submit(request(1, 50));
  if (!inPrefill) bench.step();
  bench.model->failAfter = bench.model->passes;
  bench.step();
  bench.model->failAfter = -1;
  CHECK(bench.errors.at(broken) == (lacksMemory ? "OUT_OF_MEMORY" : "INTERNAL_ERROR"));
  const Request r = request(5, 50);
  const int32_t well = bench.submit(r);
  bench.run();
  CHECK(bench.got[well] == fakeDecode(r, kContext));
  bench.core.finish(broken, 3);
  bench.core.finish(well, 50);
  CHECK(bench.core.counters().pagesUsed == 0);
}

/// What the cache has of a prompt can't be had: whoever wanted it ends, and nobody else.
void survivesALostPrefix() {
  Bench bench;
  const Request r = request(1, 50);
  const int32_t before = bench.submit(r);
  bench.run();
  bench.core.finish(before, 50);
  const int32_t broken = bench.submit(r);
  bench.backend.lost = true;
  CHECK(bench.step());
  bench.backend.lost = false;
  CHECK(bench.errors.at(broken) == "CUDA_ERROR" && bench.core.drained());
  const int32_t well = bench.submit(r);
  bench.run();
  CHECK(bench.got[well] == fakeDecode(r, kContext));
  bench.core.finish(well, 50);
  CHECK(bench.core.counters().pagesUsed == 0);
}

/// A forced run on so few pages that sequences are computed again and again.
void preemptsAndRecovers() {
  EngineOptions options = smallOptions();
  options.kvBytes =
      static_cast<size_t>((4 + kKeyWidth) * kPageSize) * (kContext / kPageSize + kMaxDraftRows / kPageSize + 2);
  Bench bench(options);
  std::map<int32_t, Request> requests;
  for (int32_t i = 0; i < 4; ++i) {
    Request r = request(i, 200);
    r.force = static_cast<int32_t>(DrafterId::adversarial);
    requests[bench.submit(r)] = r;
  }
  bench.run();
  int64_t prefilled = bench.model->passes;
  for (const auto& [id, r] : requests) CHECK(bench.got[id] == fakeDecode(r, kContext));
  CHECK(bench.model->corrupt == 0 && prefilled > 0);
  options.kvBytes = static_cast<size_t>((4 + kKeyWidth) * kPageSize) * (kContext / kPageSize);
  CHECK(codeOf([&] { Bench tooSmall(options); }) == "OUT_OF_MEMORY");
}

/// The token that a text goes on with where it is computed again stands in no drafted one's place.
void hearsNothingWhereATextIsComputedAgain() {
  EngineOptions options = smallOptions();
  options.kvBytes = kOneContext;
  Bench bench(options);
  std::map<int32_t, Sequence*> running;
  std::map<int32_t, bool> heard;  ///< something, from the pass before
  for (int32_t id = 1; id <= 4; ++id) {
    Request r = request(id, 200);
    r.force = static_cast<int32_t>(DrafterId::adversarial);
    auto sequence = std::make_unique<Sequence>(id, r, bench.core.contextLength(), test::kFakeVocabulary, true);
    running[id] = sequence.get();
    bench.core.submit(std::move(sequence));
  }
  const auto hears = [&](int32_t id) { return running[id]->hasBegun() && !running[id]->echoes().instead().empty(); };
  int again = 0;
  const auto read = [&] {
    for (const StepRecord& step : bench.out.steps) {
      CHECK(!hears(step.sequence));
      again += heard[step.sequence];
    }
  };
  do {
    for (const auto& [id, sequence] : running) heard[id] = hears(id);
  } while (bench.step(read));
  CHECK(again > 0);
}

/// Pages for all sequences want more than half of what the backend has left: they get that half, or none do.
void keepsToTheBackendsMemory() {
  const size_t page = static_cast<size_t>(4 + kKeyWidth) * kPageSize;
  const int32_t least = kContext / kPageSize + kMaxDraftRows / kPageSize;
  test::FakeBackend backend;
  const auto pagesWith = [&](size_t left) {
    backend.left = left;
    EngineCore core(backend, std::make_shared<test::FakeModel>(backend, kContext), smallOptions());
    return static_cast<int32_t>(backend.slots.size()) / kPageSize;
  };
  const int32_t wanted = pagesWith(size_t{1} << 40);
  CHECK(wanted > least && pagesWith(2 * page * (wanted - 1)) == wanted - 1 && pagesWith(2 * page * least) == least);
  CHECK(codeOf([&] { pagesWith(2 * page * least - 1); }) == "OUT_OF_MEMORY");
}

struct Recorder final : CaptureSink {
  void verified(int32_t sequence, int32_t position, int32_t token, std::span<const float* const> hidden) override {
    seen[sequence][position] = {token, {hidden[0], hidden[0] + 4}, {hidden[1], hidden[1] + 4}};
  }
  struct Row {
    int32_t token;
    std::vector<float> first, second;
    bool operator==(const Row&) const = default;
  };
  std::map<int32_t, std::map<int32_t, Row>> seen;
};

/// Hidden states of verified rows: the same, whether they came one by one or out of trees; side bytes move with their
/// slots.
void capturesVerifiedRowsOnly() {
  std::vector<std::map<int32_t, Recorder::Row>> runs;
  for (const bool speculate : {false, true}) {
    Recorder recorder;
    EngineOptions options = smallOptions();
    options.captureLayers = {0, 1};
    options.captureSink = &recorder;
    Bench bench(options);
    Request r = request(4, 120);
    r.speculate = speculate;
    r.force = static_cast<int32_t>(DrafterId::adversarial);
    const int32_t id = bench.submit(r);
    bench.run();
    CHECK(!speculate || (bench.backend.copies > 2 && bench.drafted > 100));
    for (const auto& [position, row] : recorder.seen[id]) {
      CHECK(row.token == (position < 40 ? r.prompt[position] : bench.got[id][position - 40]));
    }
    runs.push_back(recorder.seen[id]);
    std::set<int32_t> keyed;  // positions of the sequence whose slot holds the key of what stands there
    for (int32_t slot = kMaxDraftRows; slot < static_cast<int32_t>(bench.backend.slots.size()); ++slot) {
      if (test::holdsFakeKey(bench.backend, slot)) keyed.insert(bench.backend.slots[slot].position);
    }
    CHECK(keyed.size() == 159);
  }
  CHECK(runs[0].size() == 159 && runs[0] == runs[1]);  // the last token's row is never run
}

void scoresText() {
  Bench bench;
  const Request r = request(2, 60);
  std::vector<int32_t> tokens = r.prompt;
  const auto output = fakeDecode(r, kContext);
  tokens.insert(tokens.end(), output.begin(), output.end());
  const Score score = bench.core.score(tokens);
  CHECK(score.logprob.size() == tokens.size() - 1);
  for (size_t i = r.prompt.size(); i < tokens.size(); ++i)
    CHECK(score.argmax[i - 1] == tokens[i] && score.logprob[i - 1] < 0);
  CHECK(bench.core.counters().pagesUsed == 0);
  CHECK(codeOf([&] { bench.core.score({1}); }) == "INVALID_REQUEST");
  CHECK(codeOf([&] { bench.core.score({1, -4}); }) == "INVALID_REQUEST");
}

void pricesEveryWidth() {
  Bench bench;
  const Profile profile = bench.core.profile(40, 100, 2);
  CHECK(profile.passSeconds.size() == 40 && profile.draftSeconds.size() == kDrafterCount);
  for (const float seconds : profile.passSeconds) CHECK(seconds > 0 && seconds < 1);
  CHECK(bench.core.counters().pagesUsed == 0);
}

/// There is no pass of more rows than a sequence may hold, so that there is no price of one.
void pricesNoMoreRowsThanTheContextHolds() {
  EngineOptions options = smallOptions();
  options.contextLength = 16;
  Bench bench(options);
  CHECK(bench.core.profile(kMaxDraftRows, 8, 1).passSeconds.size() == 16);
  bench.core.runPasses(kMaxDraftRows, 8, 1);
  CHECK(bench.model->corrupt == 0 && bench.core.counters().pagesUsed == 0);
}

/// Where sampling had to wait for the pass, that time is the pass's; a chunk after which no token is drawn is waited
/// for.
void booksWaitingUnderThePass() {
  for (const double waiting : {0.0, 1e9}) {
    EngineOptions options = smallOptions();
    options.prefillChunk = 16;
    Bench bench(options);
    bench.backend.waiting = waiting;
    bench.submit(request(1, 20));  // a prompt of 40 tokens
    bench.run();
    int64_t prefills = 0;
    for (const RoundRecord& round : bench.times) {
      prefills += round.prefillRows > 0;
      CHECK(round.passSeconds > 0 && (waiting > 0 ? round.sampleSeconds == 0 : round.sampleSeconds >= 0));
    }
    CHECK(prefills == 3 && bench.backend.settled == prefills - 1);
  }
}

}  // namespace
}  // namespace foretoken

int main() {
  using namespace foretoken;
  stopsInsideAnAcceptedRun();
  endsAtTheContext();
  refusesBadRequests();
  pausesUntilConsumed();
  givesThePlacesOfStalledReadersToOthers();
  tellsFirstTokensBeforeTheRound();
  stalledReadersTakeNoMemory();
  remembersNoPromptsThatWereNotComputed();
  givesThePagesOfStalledReadersToOthers();
  readsPromptsInLargePassesBesideStalledReaders();
  letsSlowReadersTakeTurns();
  missesNoRoundWhereAnotherStepsBack();
  finishesWhatWasPausedAndPreempted();
  runsToTheEndWhereNobodyReads();
  draftsNothingWithoutAPolicy();
  scoresWhatItDoesNotVerify();
  draftsNothingBehindAStopToken();
  labelsDoNotDependOnWhatWasVerified();
  believesTenantByTenant();
  keepsNoIndexWithoutSpeculation();
  countsPredictions();
  restoresWhatWasTaken();
  finishesOnTheWeightsItBeganWith();
  restartsOnNewWeights();
  sharesNoPrefixAcrossWeights();
  recallsByKeys();
  recallsFromPagesOfOthers();
  hearsAnswersBehindRejectedDrafts();
  draftsFromNothingLearned();
  tenantsDraftAsIfAlone();
  forgetsNamesOfTenantsThatHaveNothing();
  forgetsNothingOfNoSession();
  sharesPrefixesOfKeptTokensOnly();
  learnsKeptTokensOnly();
  for (const bool lacksMemory : {false, true})
    for (const bool inPrefill : {false, true}) survivesAFailingPass(lacksMemory, inPrefill);
  survivesALostPrefix();
  preemptsAndRecovers();
  hearsNothingWhereATextIsComputedAgain();
  keepsToTheBackendsMemory();
  capturesVerifiedRowsOnly();
  scoresText();
  pricesEveryWidth();
  pricesNoMoreRowsThanTheContextHolds();
  booksWaitingUnderThePass();
  return test::finish("engine_core");
}
