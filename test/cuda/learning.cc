// What requests leave behind, on the CUDA backend through the executor: texts with their keys, pages, and a head whose
// rows and layers learn and are promoted. The next requests are drafted for from all of it, and get the tokens of plain
// decoding all the same: greedy and sampled, learning on and off, in both formats of keys and values.
#include <chrono>
#include <future>
#include <numeric>
#include <thread>

#include "cuda/train/device_layers.cu"
#include "cuda/train/device_rows.cu"
#include "learn/learner.h"
#include "test/cuda/backend_rig.h"
#include "test/cuda/schedules.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;
using learn::Learner;
using Texts = std::map<int32_t, std::vector<int32_t>>;

constexpr int32_t kRequests = 4;
constexpr int32_t kTokens = 16;  ///< a request; a longer text of a random model repeats itself, and is no news later

/// Greedy, sampled, and with penalties; longer than a page.
Request request(int32_t n, int32_t vocabulary) {
  Request r;
  r.tenant = "a";
  for (int32_t i = 0; i < 19 + n; ++i) r.prompt.push_back((n * 31 + i % (5 + n)) % vocabulary);
  r.maxTokens = kTokens;
  r.seed = static_cast<uint64_t>(n);
  if (n > 0) r.temperature = 0.7f, r.topK = n == 1 ? 20 : 0, r.topP = n == 2 ? 0.9f : 1;
  if (n == 3) r.temperature = 0, r.repetitionPenalty = 1.2f;
  return r;
}

EngineOptions optionsFor(int maxSequences, KvFormat kv) {
  EngineOptions result = engineOptions(maxSequences);
  result.kvFormat = kv;
  return result;
}

Texts plainTexts(KvFormat kv) {
  OnCuda plain(optionsFor(1, kv), nullptr);
  for (int32_t n = 0; n < kRequests; ++n) {
    Request r = request(n, plain.model->config().vocabulary);
    r.speculate = false;
    plain.submit(n, r);
    plain.run();
  }
  CHECK(plain.drafted == 0);
  return plain.got;
}

/// All requests, once more and together.
struct Turn {
  DrafterId drafter;  ///< forced; none: the policy chooses
  bool learning = true;
  std::string tenant = "a";
};

/// Accepted tokens of the turn; `during`: between its rounds. What was kept is said by `finish`, sequence by sequence.
int64_t take(OnCuda& engine, const Turn& turn, const Texts& expected, const std::function<void(int)>& during,
             const std::function<void(int32_t)>& finish) {
  engine.got.clear();
  engine.accepted = {};
  for (int32_t n = 0; n < kRequests; ++n) {
    Request r = request(n, engine.model->config().vocabulary);
    r.tenant = turn.tenant;
    r.force = turn.drafter == DrafterId::none ? -1 : static_cast<int32_t>(turn.drafter);
    r.learned = turn.learning;
    r.learn = turn.learning ? Learn::all : Learn::nothing;
    engine.submit(n, r);
  }
  for (int round = 0; during && round < 6; ++round) {
    during(round);
    engine.core->step();
  }
  engine.run();
  CHECK(engine.got == expected);
  for (int32_t n = 0; n < kRequests; ++n) finish(n);
  return std::accumulate(engine.accepted.begin(), engine.accepted.end(), int64_t{0});
}

// --- remembered text -------------------------------------------------------------------------------------------------

void testMemory(KvFormat kv) {
  const Texts expected = plainTexts(kv);
  OnCuda engine(optionsFor(kRequests, kv), nullptr);
  const auto turn = [&](const Turn& t) {
    return take(engine, t, expected, {}, [&](int32_t n) { engine.core->finish(n, kTokens); });
  };
  const int64_t first = turn({DrafterId::recall});
  CHECK(engine.cached == 0);
  const int64_t second = turn({DrafterId::recall});
  const int64_t much = first + kTokens / 2;
  CHECK(second > much && engine.cached > 0);  // from what the first ones left, keys and pages
  CHECK(turn({DrafterId::suffix}) > much);
  CHECK(turn({DrafterId::blend}) > much);
  CHECK(turn({DrafterId::recall, false}) == first);
  // Another tenant sees nothing of it, and leaves nothing to this one.
  CHECK(turn({DrafterId::recall, true, "b"}) == first && engine.cached == 0);
  const std::string tenant = "a";
  engine.core->forget(&tenant, nullptr);
  CHECK(turn({DrafterId::recall}) == first && engine.cached == 0);
}

// --- heads -----------------------------------------------------------------------------------------------------------

/// Everybody drafts, and the head is always asked.
Policy everybodyDrafts() {
  Policy result;
  result.rowBudget = 32;
  for (int rows = 1; rows <= 32; ++rows) result.passSeconds.push_back(1.0f + 0.01f * static_cast<float>(rows));
  for (const DrafterId drafter : {DrafterId::recall, DrafterId::suffix, DrafterId::blend, DrafterId::head}) {
    result.allowed[static_cast<int>(drafter)] = true;
    for (auto& depth : result.acceptance[static_cast<int>(drafter)])
      depth.fill(drafter == DrafterId::head ? 0.6f : 0.3f);
  }
  result.askEvery.fill(1);
  return result;
}

/// An engine with a head that learns. The executor runs one kernel at a time, so the engine and the learner's thread
/// work in turns.
class Learning {
 public:
  explicit Learning(KvFormat kv, learn::LearnerOptions options = rowsFirst(), learn::StepTakers takers = rowsOnDevice())
      : stepsPerText_(options.stepsPerText),
        expected_(plainTexts(kv)),
        engine_(optionsFor(kRequests, kv), [&](EngineOptions& engine, const Model& target, Backend& packing) {
          const HeadSource source = head_.source();
          engine.head = common_ = std::make_shared<const HeadWeights>(source, target, packing);
          train::LoadedHead file;
          file.weights = head_.weights, file.draft = source.draft, file.delta = source.delta;
          file.shape = source.shape, file.binding.fusedLayers = source.fusedLayers;
          learner_ = std::make_unique<Learner>(std::move(file), common_, cudaBackend(), "", options, std::move(takers));
          engine.textSink = learner_.get();
        }) {
    learner_->start(engine_.model, {[&](const learn::Judged& judged) { judged_ = judged.foreseen; },
                                    [&](const std::string&, std::shared_ptr<const HeadWeights> head) {
                                      return [this, head] { drafts_ = head; };
                                    }});
    engine_.core->setPolicy(nullptr, everybodyDrafts());
  }
  ~Learning() { learner_.reset(); }

  int64_t take(const Turn& turn, const std::function<void(int)>& during = {}) {
    const int64_t accepted = ::take(engine_, turn, expected_, during, [&](int32_t n) {
      engine_.core->finish(n, kTokens);
      texts_ += turn.learning;
      awaitLearner();
    });
    CHECK(turn.drafter != DrafterId::head || accepted == engine_.acceptedOf(DrafterId::head));
    return accepted;
  }
  /// What drafts for the tenant from then on.
  std::shared_ptr<const HeadWeights> decide(Learner::Decision decision, int64_t candidate) {
    std::promise<bool> done;
    learner_->decide("a", decision, candidate, [&](bool known) { done.set_value(known); });
    CHECK(done.get_future().get());
    return drafts_;
  }
  void setHead(std::shared_ptr<const HeadWeights> head) {
    const std::string tenant = "a";
    engine_.core->setHead(&tenant, std::move(head));
  }
  int64_t acceptedOf(DrafterId drafter) const { return engine_.acceptedOf(drafter); }
  /// The head of all, and what the newest text says about the tenant's.
  std::shared_ptr<const HeadWeights> common() const { return common_; }
  const learn::Foreseen& judged() const { return judged_; }

  /// Candidates are of rows, but for the third.
  static learn::LearnerOptions rowsFirst() {
    constexpr int64_t kStepsPerText = 64;
    learn::LearnerOptions options;
    options.stepsPerText = kStepsPerText;
    options.learn.rows.markov = 0.2f, options.learn.rows.output = 1, options.learn.rows.often = 1;
    options.learn.layers.rate = 0.005f;
    options.learn.stepsPerCandidate = kRequests * kStepsPerText;
    options.learn.layers.stepsPerCandidate = 2 * options.learn.stepsPerCandidate;
    return options;
  }
  /// In the long form rows are moved on the device as well.
  static learn::StepTakers rowsOnDevice() {
    if (!longRun()) return {};
    return {std::make_shared<cuda::DeviceRowSteps>(0), {}};
  }

 private:
  /// Until it has done all that it owes for the texts that came.
  void awaitLearner() const {
    const auto isDone = [&](const learn::LearnerCounters& c) {
      return c.texts == texts_ && c.steps == texts_ * stepsPerText_ && c.layerSteps == c.steps;
    };
    while (!isDone(learner_->counters())) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }

  const int64_t stepsPerText_;
  const HeadRig head_{"tied-f16.gguf"};
  const Texts expected_;
  std::unique_ptr<Learner> learner_;
  std::shared_ptr<const HeadWeights> common_;
  OnCuda engine_;
  // Written on the learner's thread, before a decision is answered or a text is done.
  std::shared_ptr<const HeadWeights> drafts_;
  learn::Foreseen judged_;
  int64_t texts_ = 0;
};

void testHead(KvFormat kv) {
  Learning learning(kv);
  learning.take({DrafterId::suffix});
  // This one gives rows to tokens that the traffic uses; the next one has learned them.
  const auto early = learning.decide(Learner::Decision::promote, 1);
  learning.take({DrafterId::suffix});
  const auto rows = learning.decide(Learner::Decision::promote, 2);
  learning.setHead(rows);
  const int64_t ofRows = learning.take({DrafterId::head});
  const int64_t ofNone = learning.take({DrafterId::head, false});  // the common head
  CHECK(ofRows > ofNone + kTokens / 2);
  // By now layers have learned, too, under these rows.
  const auto layers = learning.decide(Learner::Decision::promote, 3);
  CHECK(layers && layers->context() == rows->context());
  learning.setHead(layers);
  CHECK(learning.take({DrafterId::head}) > ofNone);
  // Swapped in every round, back and forth, while everybody drafts.
  learning.take({DrafterId::none}, [&](int round) { learning.setHead(round % 2 == 0 ? early : layers); });
  CHECK(learning.acceptedOf(DrafterId::head) > 0);
  const auto back = learning.decide(Learner::Decision::rollBack, 0);
  learning.setHead(back);
  CHECK(learning.take({DrafterId::head}) == ofRows);
}

/// Layers learn on the device, one step a text: one candidate of theirs is promoted, the next one refused.
void testLayersOnDevice(KvFormat kv) {
  learn::LearnerOptions options = Learning::rowsFirst();
  options.stepsPerText = 1, options.learn.layers.stepsPerCandidate = kRequests / 2;
  const auto make = [](const learn::LayerStart& start) { return cuda::createLayerSteps(0, start); };
  Learning learning(kv, options, {std::make_shared<cuda::DeviceRowSteps>(0), make});
  learning.take({DrafterId::suffix});
  CHECK(learning.judged().candidateNumber == 1 && !learning.judged().candidate.empty());
  const auto promoted = learning.decide(Learner::Decision::promote, 1);
  CHECK(promoted && promoted->context() == learning.common()->context());
  CHECK(promoted->parts().layers != learning.common()->parts().layers);
  CHECK(promoted->parts().output == learning.common()->parts().output);
  learning.setHead(promoted);
  learning.take({DrafterId::head});
  CHECK(learning.judged().candidateNumber == 2 && !learning.judged().previous.empty());
  CHECK(learning.decide(Learner::Decision::harmful, 2) == promoted);
}

}  // namespace

int main() {
  forEachSchedule(longRun() ? 2 : 1, [] {
    testMemory(KvFormat::bf16);
    testMemory(KvFormat::fp8);
    testHead(KvFormat::bf16);
    if (longRun()) testHead(KvFormat::fp8);
  });
  if (longRun()) testLayersOnDevice(KvFormat::bf16);
  return finish("learning");
}
