// Who takes steps of heads fails, as a device may: learning ends with the code of what went wrong, and what drafts goes
// on drafting, is saved, and is gone back from. Lack of memory ends nothing.
#include "learn/learner.h"

#include <atomic>
#include <filesystem>
#include <future>
#include <thread>

#include "engine_rig.h"
#include "head_rig.h"
#include "model_rig.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;
using learn::Learner;
using Texts = std::map<int32_t, std::vector<int32_t>>;

constexpr int32_t kRequests = 4, kTokens = 16;
constexpr size_t kRowBytes = 1000, kLayerBytes = 50000;
constexpr const char* kLost = "CUDA_ERROR";

/// When a device fails, and with what: without a code the host has no memory.
struct Fault {
  std::atomic<bool> steps = false, layerSteps = false, rows = false, making = false;
  std::string code = kLost;
  std::atomic<int> met = 0;
  void meet(bool now) {
    if (!now) return;
    ++met;
    if (code.empty()) throw std::bad_alloc();
    throw Error(code, "the device was lost");
  }
};

/// Rows stay as they are.
class Rows final : public learn::RowSteps {
 public:
  explicit Rows(Fault& fault) : fault_(fault) {}
  int64_t step(const learn::RowSlots&, learn::MovedRows&, const learn::RowOptions&) override {
    return fault_.meet(fault_.steps), 0;
  }
  size_t deviceBytes() const override { return kRowBytes; }

 private:
  Fault& fault_;
};

/// Layers stay as they are.
class Layers final : public learn::LayerSteps {
 public:
  Layers(Fault& fault, learn::LearnedHead live) : fault_(fault), live_(std::move(live)) {}
  bool step(const train::LabelledBlocks&) override { return fault_.meet(fault_.steps || fault_.layerSteps), true; }
  void setRows(std::shared_ptr<const learn::HeadRows> rows) override {
    fault_.meet(fault_.rows), live_.rows = std::move(rows);
  }
  learn::LearnedHead learned() override { return live_; }
  size_t bytes() const override { return 0; }
  size_t deviceBytes() const override { return kLayerBytes; }

 private:
  Fault& fault_;
  learn::LearnedHead live_;
};

/// Candidates are of rows, one after each turn.
learn::LearnerOptions rowsFirst() {
  learn::LearnerOptions options;
  options.stepsPerText = 2;
  options.learn.stepsPerCandidate = kRequests * options.stepsPerText;
  options.learn.layers.stepsPerCandidate = 1000;
  return options;
}

/// An engine with a head that learns by rows and layers of the fault's device.
class Serving {
 public:
  explicit Serving(Fault& fault)
      : engine_("f32", engineOptions(kRequests), [&](EngineOptions& engine, const Model& target, Backend& packing) {
          const HeadSource source = head_.source();
          engine.head = std::make_shared<const HeadWeights>(source, target, packing);
          train::LoadedHead file;
          file.weights = head_.weights, file.draft = source.draft, file.delta = source.delta;
          file.shape = source.shape, file.binding.fusedLayers = source.fusedLayers;
          learner_ = std::make_unique<Learner>(
              std::move(file), engine.head, createCpuBackend({1, ""}), "", rowsFirst(),
              learn::StepTakers{std::make_shared<Rows>(fault), [&](const learn::LayerStart& start) {
                                  fault.meet(fault.making);
                                  return std::make_unique<Layers>(fault, start.live);
                                }});
          engine.textSink = learner_.get();
        }) {
    learner_->start(engine_.model, {[&](const learn::Judged& judged) { candidate_ = judged.foreseen.candidateNumber; },
                                    [&](const std::string& tenant, std::shared_ptr<const HeadWeights> head) {
                                      CHECK(tenant == "a");
                                      return [this, head] { drafts_ = head, ++swaps_; };
                                    },
                                    [&](const std::string& tenant, std::exception_ptr why) {
                                      CHECK(tenant == "a");
                                      const std::lock_guard lock(mutex_);
                                      stops_.push_back(codeOf(why));
                                    },
                                    [&](const std::string& tenant, std::exception_ptr why) {
                                      CHECK(tenant == "a");
                                      const std::lock_guard lock(mutex_);
                                      onCpu_.push_back(codeOf(why));
                                    },
                                    [&](const std::string& tenant, std::exception_ptr) {
                                      CHECK(tenant == "a");
                                      ++lost_;
                                    }});
  }

  /// All requests, drafted for by the head.
  Texts turn(bool speculate = true) {
    engine_.got.clear();
    for (int32_t n = 0; n < kRequests; ++n) {
      Request r;
      r.tenant = "a";
      for (int32_t i = 0; i < 19 + n; ++i)
        r.prompt.push_back((n * 31 + i % (5 + n)) % engine_.model->config().vocabulary);
      r.maxTokens = kTokens;
      r.speculate = speculate;
      r.force = static_cast<int32_t>(DrafterId::head);
      r.learn = speculate ? Learn::all : Learn::nothing;
      engine_.submit(n, r);
    }
    engine_.run([](const StepRecord&) {});
    for (int32_t n = 0; n < kRequests; ++n) engine_.core->finish(n, kTokens);
    return engine_.got;
  }
  void await(const std::function<bool(const learn::LearnerCounters&)>& isDone) const {
    while (!isDone(learner_->counters())) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  void awaitSteps(int64_t each) const {
    await([&](const auto& c) { return c.steps == each && c.layerSteps == each; });
  }
  std::vector<std::string> awaitStop() const {
    while (stops().empty()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    return stops();
  }
  bool decide(Learner::Decision decision, int64_t candidate) {
    std::promise<bool> done;
    learner_->decide("a", decision, candidate, [&](bool known) { done.set_value(known); });
    return done.get_future().get();
  }
  bool save(const std::string& path) {
    std::promise<bool> done;
    learner_->save("a", path,
                   [&](const std::string* model, const std::exception_ptr&) { done.set_value(model != nullptr); });
    return done.get_future().get();
  }
  learn::LearnerCounters counters() const { return learner_->counters(); }
  std::vector<std::string> stops() const {
    const std::lock_guard lock(mutex_);
    return stops_;
  }
  /// Why the CPU took steps of layers.
  std::vector<std::string> onCpu() const {
    const std::lock_guard lock(mutex_);
    return onCpu_;
  }
  int64_t lost() const { return lost_; }
  // As a decision or a wait left them.
  std::shared_ptr<const HeadWeights> drafts() const { return drafts_; }
  int swaps() const { return swaps_; }

 private:
  static std::string codeOf(const std::exception_ptr& why) {
    try {
      std::rethrow_exception(why);
    } catch (const Error& error) {
      return error.code();
    }
  }

  const HeadRig head_{"tied-f16.gguf"};
  std::unique_ptr<Learner> learner_;
  EngineRig engine_;
  std::shared_ptr<const HeadWeights> drafts_;
  std::atomic<int64_t> candidate_ = 0, lost_ = 0;
  int swaps_ = 0;
  mutable std::mutex mutex_;
  std::vector<std::string> stops_, onCpu_;
};

constexpr int64_t kStepsOfTurn = kRequests * 2;

void testStepFails() {
  Fault fault;
  Serving serving(fault);
  const Texts expected = serving.turn(false);
  CHECK(serving.turn() == expected);
  serving.awaitSteps(kStepsOfTurn);
  CHECK(serving.counters().deviceBytes == kRowBytes + kLayerBytes);
  CHECK(serving.decide(Learner::Decision::promote, 1) && serving.drafts() && serving.swaps() == 1);
  const auto promoted = serving.drafts();
  fault.steps = true;
  CHECK(serving.turn() == expected);
  CHECK(serving.awaitStop() == std::vector<std::string>{kLost});
  // Nobody learns any more, layers are gone from the device, and it is not asked again.
  const learn::LearnerCounters then = serving.counters();
  CHECK(then.deviceBytes == kRowBytes && fault.met == 1);
  CHECK(serving.turn() == expected);
  CHECK(!serving.decide(Learner::Decision::promote, 2));  // answered: all that came before is done
  CHECK(serving.counters().texts == then.texts && serving.counters().steps == then.steps && fault.met == 1);
  // What was promoted drafts, is saved, and is gone back from.
  CHECK(serving.drafts() == promoted && serving.swaps() == 1);
  const TemporaryFolder folder;
  CHECK(serving.save(folder.path() + "/head") && std::filesystem::exists(folder.path() + "/head"));
  CHECK(serving.decide(Learner::Decision::rollBack, 0) && !serving.drafts() && serving.swaps() == 2);
  CHECK(serving.turn() == expected && serving.stops().size() == 1);
}

/// Nothing has been promoted where layers fail to go on under its rows.
void testPromotionFails() {
  Fault fault;
  Serving serving(fault);
  serving.turn();
  serving.awaitSteps(kStepsOfTurn);
  fault.rows = true;
  CHECK(!serving.decide(Learner::Decision::promote, 1) && serving.swaps() == 0);
  CHECK(serving.stops() == std::vector<std::string>{kLost});
  CHECK(!serving.decide(Learner::Decision::rollBack, 0));
}

void testLackOfMemory() {
  Fault fault;
  fault.code = "";
  Serving serving(fault);
  fault.steps = true;
  serving.turn();
  while (fault.met == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  fault.steps = false;
  const int64_t before = serving.counters().texts;
  serving.turn();
  serving.await([&](const auto& c) { return c.texts >= before + kRequests && c.deviceBytes > 0; });
  CHECK(serving.stops().empty() && serving.lost() == fault.met);
}

/// Where a device has no memory for layers, or no kernels, the CPU takes their steps, and says why; also of layers that
/// had begun there.
void testLayersGoToTheCpu() {
  const std::pair<const char*, std::atomic<bool> Fault::*> ways[] = {
      {"OUT_OF_MEMORY", &Fault::making}, {"SHAPE_MISMATCH", &Fault::making}, {"OUT_OF_MEMORY", &Fault::layerSteps}};
  for (const auto& [code, when] : ways) {
    Fault fault;
    fault.code = code;
    fault.*when = true;
    Serving serving(fault);
    serving.turn();
    serving.awaitSteps(kStepsOfTurn);
    CHECK(serving.onCpu() == std::vector<std::string>{code} && serving.stops().empty());
    CHECK(fault.met == 1 && serving.counters().deviceBytes == kRowBytes && serving.counters().skipped == 0);
  }
}

/// Any other failure to make them ends learning.
void testLayersAreNotMade() {
  Fault fault;
  fault.making = true;
  Serving serving(fault);
  serving.turn();
  CHECK(serving.awaitStop() == std::vector<std::string>{kLost} && serving.onCpu().empty() && fault.met == 1);
}

}  // namespace

int main() {
  testStepFails();
  testLayersGoToTheCpu();
  testLayersAreNotMade();
  testPromotionFails();
  testLackOfMemory();
  return finish("learner_stops");
}
