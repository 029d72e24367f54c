// Whatever is drafted, shared, cut, preempted or cancelled: every sequence gets exactly the tokens of plain decoding.
#include <array>
#include <cmath>
#include <map>
#include <optional>

#include "check.h"
#include "engine/core.h"
#include "engine/ledger.h"
#include "fake_model.h"

namespace foretoken {
namespace {

using test::fakeDecode;
using test::mix;

struct Random {
  uint64_t state;
  uint64_t next() { return state = mix(state, 0x51ed27); }
  int below(int bound) { return static_cast<int>(next() % static_cast<uint64_t>(bound)); }
  bool oneIn(int n) { return below(n) == 0; }
};

Policy generousPolicy(Random& random) {
  Policy policy;
  policy.rowBudget = 1 + random.below(40);
  for (int rows = 1; rows <= 32; ++rows)
    policy.passSeconds.push_back(1.0f + 0.02f * static_cast<float>(rows * random.below(4)));
  policy.tableWeight = random.oneIn(4) ? 0 : static_cast<float>(1 + random.below(30));
  policy.allowed = {false, true, true, false, true, false, true};
  for (auto& drafter : policy.acceptance) {
    for (auto& depth : drafter) {
      for (int knot = 0; knot < kPolicyKnots; ++knot) depth[knot] = static_cast<float>(knot + random.below(3)) / 18.0f;
    }
  }
  return policy;
}

std::vector<int32_t> randomPrompt(Random& random, const std::vector<std::vector<int32_t>>& earlier, int most) {
  std::vector<int32_t> prompt;
  if (!earlier.empty() && !random.oneIn(3)) {  // shares a prefix: hits, misses and partial hits
    const auto& other = earlier[random.below(static_cast<int>(earlier.size()))];
    prompt.assign(other.begin(), other.begin() + 1 + random.below(static_cast<int>(other.size())));
  }
  const int extra = random.below(40) + (prompt.empty() ? 1 : 0);
  for (int i = 0; i < extra; ++i) prompt.push_back(random.below(test::kFakeVocabulary));
  if (static_cast<int>(prompt.size()) > most) prompt.resize(most);
  return prompt;
}

Request randomRequest(Random& random, const std::vector<std::vector<int32_t>>& earlier, int context, bool twoPhases) {
  Request r;
  r.tenant = random.oneIn(3) ? "b" : "a";
  r.session = random.oneIn(2) ? "" : "s";
  r.prompt = randomPrompt(random, earlier, context - 1);
  r.maxTokens = 1 + random.below(120);
  r.seed = random.next();
  if (random.oneIn(2)) r.temperature = 0.5f;
  if (random.oneIn(4)) {
    r.repetitionPenalty = 1.3f;
    r.frequencyPenalty = 0.05f;
    r.penaltyWindow = random.below(20);
  }
  if (random.oneIn(4)) {
    r.biasTokens = {3, 5};
    r.biasValues = {1.0f, -9.0f};
  }
  if (random.oneIn(3)) r.stopTokens = {random.below(test::kFakeVocabulary), random.below(test::kFakeVocabulary)};
  if (random.oneIn(5)) r.logprobs = random.below(4);
  r.maxLookahead = random.below(20);
  r.speculate = !random.oneIn(6);
  const int drafters[] = {-1, -1, 1, 2, 3, 3, 4};
  r.force = drafters[random.below(7)];
  if (random.oneIn(3)) {
    r.prediction = fakeDecode(r, context, 1, twoPhases);
    for (int flips = random.below(4); flips-- > 0 && !r.prediction.empty();) {
      r.prediction[random.below(static_cast<int>(r.prediction.size()))] = random.below(test::kFakeVocabulary);
    }
  }
  return r;
}

/// A caller: knows what must come, takes it, and now and then changes its mind.
struct Caller {
  Request request;
  std::vector<int32_t> expected, got;
  std::optional<int32_t> keep;  ///< it will cut there
  bool acknowledged = false, ended = false;
  size_t logprobs = 0;
  std::array<double, kDrafterCount> promised{}, kept{};  ///< as its rounds have told
};

struct Totals {
  int64_t sequences = 0, tokens = 0, drafted = 0, accepted = 0, rejected = 0, copies = 0, cachedPrompt = 0;
};

class Scenario {
 public:
  Scenario(uint64_t seed, Totals& totals)
      : random_{seed}, totals_(totals), model_(std::make_shared<test::FakeModel>(backend_, 160)) {
    backend_.twoPhases = random_.oneIn(2);
    EngineOptions options;
    options.maxSequences = 1 + random_.below(5);
    options.runAhead = 1 + random_.below(60);
    options.prefillChunk = 1 + random_.below(64);
    options.prefillChunkBeside = 1 + random_.below(16);
    options.maxRows = 64;
    options.indexBytes = random_.oneIn(3) ? 60000 : 4 << 20;
    const size_t pageBytes = (4 + kKeyWidth) * kPageSize;
    options.kvBytes = pageBytes * (10 + kMaxDraftRows / kPageSize + random_.below(30));  // 10 pages = one context
    core_.emplace(backend_, model_, options);
    core_->setOutput(&out_);
  }

  void run() {
    if (!random_.oneIn(3)) changePolicy();
    const int requests = 1 + random_.below(12);
    for (int submitted = 0, idle = 0; submitted < requests || !allEnded();) {
      if (submitted < requests && random_.oneIn(4)) submitOne(), ++submitted;
      if (random_.oneIn(40)) changePolicy();
      if (random_.oneIn(60)) forgetSomething();
      const bool worked = core_->step();
      const bool news = readOutcomes();
      const bool took = consumeSome();
      idle = worked || news || took ? 0 : idle + 1;
      if (idle > 1000) return stuck();
    }
    acknowledgeAll();
    CHECK(core_->counters().pagesUsed == 0);
    CHECK(core_->drained());
    CHECK(model_->corrupt == 0);
    CHECK(ledger_.counts().tokens == keptTokens_);
    CHECK(ledger_.running() == 0);
    totals_.copies += backend_.copies;
    totals_.drafted += ledger_.counts().drafted;
    totals_.accepted += ledger_.counts().accepted;
    totals_.rejected += ledger_.counts().rejected;
    totals_.cachedPrompt += ledger_.counts().cachedPromptTokens;
  }

 private:
  void changePolicy() {
    policy_ = generousPolicy(random_);
    core_->setPolicy(nullptr, policy_);
  }

  void stuck() {
    CHECK(!"the engine does not come to an end");
    core_.reset();
  }

  void submitOne() {
    const int32_t id = nextId_++;
    Caller caller;
    caller.request = randomRequest(random_, prompts_, 160, backend_.twoPhases);
    validate(caller.request, test::kFakeVocabulary, 160);
    caller.expected = fakeDecode(caller.request, 160, 1, backend_.twoPhases);
    if (random_.oneIn(5)) caller.keep = random_.below(static_cast<int>(caller.expected.size()));
    prompts_.push_back(caller.request.prompt);
    prompts_.back().insert(prompts_.back().end(), caller.expected.begin(), caller.expected.end());
    ledger_.open(id, static_cast<int32_t>(caller.request.prompt.size()));
    core_->submit(std::make_unique<Sequence>(id, caller.request, 160, test::kFakeVocabulary, true));
    callers_[id] = std::move(caller);
    ++totals_.sequences;
  }

  void forgetSomething() {
    const std::string tenant = "a", session = "s";
    core_->forget(random_.oneIn(2) ? &tenant : nullptr, random_.oneIn(2) ? &session : nullptr);
  }

  bool readOutcomes() {
    const bool news = !out_.empty();
    size_t logprobs = 0;
    for (const StepRecord& step : out_.steps) {
      Caller& caller = callers_.at(step.sequence);
      CHECK(step.round >= 0 && step.round < static_cast<int32_t>(out_.rounds.size()));
      CHECK(step.accepted <= step.draftCount && step.tokenCount >= 1);
      for (int32_t i = 0; i < step.tokenCount; ++i) caller.got.push_back(out_.tokens[step.tokenOffset + i]);
      if (out_.rounds[step.round].prefillRows == 0) checkChances(caller, step);
      if (caller.request.logprobs >= 0) logprobs += step.tokenCount * (1 + 2 * caller.request.logprobs);
    }
    CHECK(logprobs == out_.logprobs.size());
    CHECK(out_.draftConfidence.size() == out_.draftOutcome.size());
    CHECK(out_.draftChance.size() == out_.draftOutcome.size());
    CHECK(out_.errors.empty());
    ledger_.observe(out_);
    for (const FinishedRecord& record : out_.finished) {
      Caller& caller = callers_.at(record.sequence);
      CHECK(!caller.ended);
      caller.ended = true;
      checkEnd(caller, static_cast<FinishReason>(record.reason));
    }
    out_.clear();
    return news;
  }

  /// Tokens were planned with what the table and the sequence's own earlier rounds, as they were told, say of them.
  void checkChances(Caller& caller, const StepRecord& step) {
    for (double& sum : caller.promised) sum *= 0.98;
    for (double& sum : caller.kept) sum *= 0.98;
    const auto promised = caller.promised, kept = caller.kept;
    double survival = 1, expected = 0;
    int32_t depth = 0;
    bool chain = true;
    for (int32_t i = step.draftOffset; i < step.draftOffset + step.draftCount; ++i) {
      const int32_t node = out_.draftOutcome[i], drafter = node >> 24;
      const float said = policy_.acceptanceOf(static_cast<DrafterId>(drafter), node & 0xff, out_.draftConfidence[i]);
      if (isShadow(node)) {
        CHECK(out_.draftChance[i] == 0);
      } else {
        const double weight = policy_.tableWeight;
        const double trust = weight > 0 ? (kept[drafter] + weight) / (promised[drafter] + weight) : 1;
        const double here = std::min(said * trust, std::max(0.99, static_cast<double>(said)));
        CHECK(std::abs(out_.draftChance[i] - (caller.request.force >= 0 ? out_.draftConfidence[i] : here)) < 1e-5);
        expected += survival *= out_.draftChance[i];
        chain &= ++depth == (node & 0xff);
      }
      if (outcomeOf(node) == NodeOutcome::unreached) continue;
      caller.promised[drafter] += said;
      caller.kept[drafter] += outcomeOf(node) == NodeOutcome::accepted;
    }
    CHECK(step.expected >= 0);
    if (chain) CHECK(std::abs(step.expected - 1e6 * expected) < 20);
  }

  void checkEnd(const Caller& caller, FinishReason reason) {
    const bool prefix = caller.got.size() <= caller.expected.size() &&
                        std::equal(caller.got.begin(), caller.got.end(), caller.expected.begin());
    CHECK(prefix);
    totals_.tokens += static_cast<int64_t>(caller.got.size());
    if (reason == FinishReason::cancelled) {
      CHECK(caller.acknowledged);
      return;
    }
    CHECK(caller.got.size() == caller.expected.size());
    const auto& stops = caller.request.stopTokens;
    const bool stopped = std::find(stops.begin(), stops.end(), caller.expected.back()) != stops.end();
    CHECK(reason == (stopped ? FinishReason::stop : FinishReason::length));
  }

  /// Takes some of what came, cuts where the caller wants to, acknowledges ends.
  bool consumeSome() {
    bool any = false;
    for (auto& [id, caller] : callers_) {
      if (caller.acknowledged || random_.oneIn(3)) continue;
      const auto count = static_cast<int32_t>(caller.got.size());
      if (caller.keep && count >= *caller.keep) {
        acknowledge(id, caller, *caller.keep);
      } else if (caller.ended) {
        acknowledge(id, caller, count);
      } else {
        core_->consumed(id, count);
        ledger_.consumed(id, count);
        continue;
      }
      any = true;
    }
    return any;
  }

  void acknowledge(int32_t id, Caller& caller, int32_t keep) {
    caller.acknowledged = true;
    keptTokens_ += keep;
    ledger_.finish(id, keep);
    core_->finish(id, keep);
  }

  void acknowledgeAll() {
    for (auto& [id, caller] : callers_) {
      if (!caller.acknowledged) acknowledge(id, caller, static_cast<int32_t>(caller.got.size()));
    }
    readOutcomes();
  }

  bool allEnded() const {
    return std::all_of(callers_.begin(), callers_.end(), [](const auto& entry) { return entry.second.ended; });
  }

  Random random_;
  Totals& totals_;
  test::FakeBackend backend_;
  std::shared_ptr<test::FakeModel> model_;
  std::optional<EngineCore> core_;
  Policy policy_;
  Outcomes out_;
  Ledger ledger_;
  std::map<int32_t, Caller> callers_;
  std::vector<std::vector<int32_t>> prompts_;
  int32_t nextId_ = 1;
  int64_t keptTokens_ = 0;
};

}  // namespace
}  // namespace foretoken

int main(int argc, char** argv) {
  foretoken::Totals totals;
  const int first = argc > 1 ? std::atoi(argv[1]) : 1;
  const int last = argc > 1 ? first : 1500;
  for (int seed = first; seed <= last && foretoken::test::failureCount() < 5; ++seed) {
    const int before = foretoken::test::failureCount();
    foretoken::Scenario(static_cast<uint64_t>(seed), totals).run();
    if (foretoken::test::failureCount() > before) std::printf("  in scenario %d\n", seed);
  }
  std::printf(
      "sequences %lld, tokens %lld, drafted %lld, accepted %lld, rejected %lld, moved %lld, cached prompt %lld\n",
      (long long)totals.sequences, (long long)totals.tokens, (long long)totals.drafted, (long long)totals.accepted,
      (long long)totals.rejected, (long long)totals.copies, (long long)totals.cachedPrompt);
  if (argc == 1) {
    CHECK(totals.accepted > 10000 && totals.rejected > 10000 && totals.copies > 1000 && totals.cachedPrompt > 1000);
  }
  return foretoken::test::finish("engine_lossless");
}
