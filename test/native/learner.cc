// The thread that heads learn on, beside a tiny model: what fails there for lack of memory costs what was being
// learned, and neither the thread nor anybody's head.
#include "learn/learner.h"

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <future>

#include "check.h"
#include "common/load.h"
#include "engine/timed_backend.h"
#include "head_rig.h"
#include "model_rig.h"
#include "refusal.h"

namespace {

using namespace foretoken;
using namespace foretoken::learn;
using namespace foretoken::test;

constexpr const char* kModel = "tied-f16.gguf";

/// A backend that has no memory left, when told so.
class Exhausted final : public TimedBackend {
 public:
  explicit Exhausted(std::unique_ptr<Backend> inner) : TimedBackend(std::move(inner)) {}
  std::unique_ptr<Tensor> tensor(int64_t rows, int64_t width) override {
    require();
    return TimedBackend::tensor(rows, width);
  }
  void pack(Format format, std::span<const MatrixSource> sources, bool interleave, uint8_t* out) override {
    require();
    TimedBackend::pack(format, sources, interleave, out);
  }
  std::atomic<bool> fails{false};

 private:
  void require() const {
    if (fails) throw std::bad_alloc();
  }
};

LearnerOptions options() {
  LearnerOptions options;
  options.learn.stepsPerCandidate = 4;
  return options;
}

struct Rig {
  HeadRig head{kModel};
  std::unique_ptr<Backend> backend = createCpuBackend({1, ""});
  std::shared_ptr<Model> model = loadModel(fixture(std::string("models/") + kModel), *backend, {});
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/head";  ///< where a head may be saved
  Exhausted* packing = nullptr;                      ///< the learner's
  std::atomic<int> failing{0};                       ///< steps of layers that can't be taken
  std::atomic<int> lost{0};                          ///< how often what was being learned has been
  std::unique_ptr<Learner> learner;

  std::mutex mutex;
  std::condition_variable told;
  std::deque<Judged> judged;
  std::deque<std::shared_ptr<const HeadWeights>> drafts;
  std::atomic<bool> starving{false};  ///< whether there is no memory to tell who drafts
  std::atomic<int> asked{0};          ///< how often it was to be told

  explicit Rig(const LearnerOptions& how = options()) {
    auto exhausted = std::make_unique<Exhausted>(createCpuBackend({1, ""}));
    packing = exhausted.get();
    StepTakers takers;
    takers.layers = [this](const LayerStart&) -> std::unique_ptr<LayerSteps> {
      if (failing-- > 0) throw std::bad_alloc();
      throw Error("SHAPE_MISMATCH", "no kernels for such a head");
    };
    train::LoadedHead file{{head.weights, head.draft, head.delta}, head.shape, {"model", "", head.fused}};
    learner =
        std::make_unique<Learner>(std::move(file), std::make_shared<const HeadWeights>(head.source(), *model, *backend),
                                  std::move(exhausted), "", how, takers);
    learner->start(model, {.judged =
                               [this](Judged each) {
                                 const std::lock_guard lock(mutex);
                                 judged.push_back(std::move(each));
                                 told.notify_all();
                               },
                           .drafts =
                               [this](const std::string&, std::shared_ptr<const HeadWeights> which) {
                                 ++asked;
                                 if (starving) throw std::bad_alloc();
                                 return [this, which] {
                                   const std::lock_guard lock(mutex);
                                   drafts.push_back(which);
                                   told.notify_all();
                                 };
                               },
                           .stopped = [](const std::string&, std::exception_ptr) { CHECK(!"learning goes on"); },
                           .onCpu = [](const std::string& tenant, std::exception_ptr) { CHECK(tenant == "a"); },
                           .lost =
                               [this](const std::string& tenant, std::exception_ptr) {
                                 CHECK(tenant == "a");
                                 ++lost;
                               }});
  }
  ~Rig() { learner->stop(); }

  VerifiedText text(const std::string& learner = "a") const {
    VerifiedText out{learner, "member", {}, 0, 4, {}};
    for (int32_t i = 0; i < 60; ++i) out.token.push_back(i * i % 7 * 3);
    for (const float x : randomValues(60 * (head.shape.fused + 1) * head.shape.width, 5))
      out.kept.push_back(floatToBf16(x));
    return out;
  }
  /// What the next text says, which may take some.
  Judged next() {
    for (;;) {
      learner->ended(text());
      std::unique_lock lock(mutex);
      if (!told.wait_for(lock, std::chrono::milliseconds(100), [&] { return !judged.empty(); })) continue;
      Judged result = std::move(judged.front());
      judged.pop_front();
      CHECK(result.learner == "a" && result.tenant == "member");
      return result;
    }
  }
  int64_t candidate() {
    for (;;)
      if (const int64_t number = next().foreseen.candidateNumber) return number;
  }
  bool decide(Learner::Decision decision, int64_t number) {
    std::atomic<int> answer{-1};
    learner->decide("a", decision, number, [&](bool done) { answer = done, answer.notify_all(); });
    answer.wait(-1);
    return answer == 1;
  }
  /// All that was asked for before is done, and all that follows from it told.
  void settle() {
    for (int turn = 0; turn < 2; ++turn) decide(Learner::Decision::rollBack, 0);
  }
  void write(const std::string& path, const std::vector<int32_t>& draft) const {
    write(path, head.shape, {head.weights, draft, head.delta});
  }
  void write(const std::string& path, const train::BlockHeadShape& shape, const train::HeadNumbers& numbers) const {
    train::saveHead(path, train::BlockHead(shape), numbers, {"model", "", head.fused}, FileType::f32);
  }
  /// The head that drafts for a tenant.
  train::LoadedHead saved(const std::string& tenant) {
    const std::string file = path + "-saved";
    std::promise<bool> done;
    learner->save(tenant, file, [&](const std::string* model, const std::exception_ptr&) {
      done.set_value(model && *model == "model");
    });
    CHECK(done.get_future().get());
    return train::loadHead(file, {"model", "", {}});
  }
  /// Whether a text is dropped, and no head judged by it.
  bool drops() {
    settle();
    std::unique_lock lock(mutex);
    judged.clear();
    const int64_t before = learner->counters().dropped;
    learner->ended(text());
    while (judged.empty() && learner->counters().dropped == before) told.wait_for(lock, std::chrono::milliseconds(1));
    return judged.empty();
  }
  /// What refuses a saved head.
  std::string adopt(const std::string& tenant, const std::string& path, bool again = false) {
    std::promise<std::string> answer;
    learner->adopt(tenant, path, again, [&](const std::exception_ptr& why) {
      answer.set_value(codeOf([&] {
        if (why) std::rethrow_exception(why);
      }));
    });
    return answer.get_future().get();
  }
};

/// Nothing is promoted that there is no memory for; when there is again, it drafts.
void testPromotionWithoutMemory() {
  Rig rig;
  const int64_t number = rig.candidate();
  rig.packing->fails = true;
  CHECK(!rig.decide(Learner::Decision::promote, number) && rig.drafts.empty());
  rig.packing->fails = false;
  while (!rig.decide(Learner::Decision::promote, rig.candidate())) continue;  // texts on their way may have dropped it
  CHECK(rig.drafts.size() == 1 && rig.drafts.back() != nullptr);
  CHECK(rig.decide(Learner::Decision::rollBack, 0) && rig.drafts.size() == 2 && rig.drafts.back() == nullptr);
  CHECK(!rig.decide(Learner::Decision::rollBack, 0));
}

/// Texts that there is no memory for are dropped; those that come later are learned from.
void testTextsWithoutMemory() {
  Rig rig;
  rig.packing->fails = true;
  rig.learner->ended(rig.text());
  while (rig.lost == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(rig.learner->counters().dropped == 1);
  rig.packing->fails = false;
  CHECK(!rig.next().foreseen.live.empty() && rig.candidate() > 0);
}

/// A head that is saved after an update names the weights that it was learned from.
void testSavesWhatItLearnedFrom() {
  Rig rig;
  const std::string& path = rig.path;
  const auto isSavedFor = [&](const std::string& target) {
    std::promise<std::string> saved;
    rig.learner->save("a", path, [&](const std::string* model, const std::exception_ptr&) { saved.set_value(*model); });
    CHECK(saved.get_future().get() == target);
    return codeOf([&] { train::loadHead(path, {target, "", {}}); }) == "";
  };
  CHECK(isSavedFor("model"));
  rig.learner->weightsMoved(rig.model,
                            std::make_shared<const HeadWeights>(rig.head.source(), *rig.model, *rig.backend));
  CHECK(isSavedFor(rig.model->sourceHash()));
}

/// A step that fails begins again with the texts that come.
void testStepsWithoutMemory() {
  Rig rig;
  rig.failing = 2;
  while (rig.learner->counters().layerSteps < 4) {
    rig.next();
    std::this_thread::sleep_for(std::chrono::milliseconds(100));  // texts come before steps
  }
  CHECK(rig.failing < 0 && rig.lost == 2 && rig.candidate() > 0);
}

/// A head whose tokens the target has not is refused, whether it would draft or be judged first.
void testAdoptsWhatFits() {
  Rig rig;
  const std::string& path = rig.path;
  std::vector<int32_t> draft = rig.head.draft;
  draft[5] = 16'000'000;
  rig.write(path, draft);
  for (const bool again : {false, true}) CHECK(rig.adopt("a", path, again) == "HEAD_MISMATCH");
  CHECK(rig.drafts.empty() && !rig.next().foreseen.live.empty());
  rig.write(path, rig.head.draft);
  CHECK(rig.adopt("a", path, true).empty() && rig.drafts.empty() && rig.candidate() > 0);
  CHECK(rig.adopt("a", path).empty() && rig.drafts.size() == 1);
}

/// A tenant whose saved head drafts learns from that one, and from no other: once there is a place for it, and not at
/// all while the head has another shape or its file is gone.
void testLearnsFromWhatDrafts() {
  LearnerOptions crowded = options();
  crowded.mostTenants = 1;
  Rig rig(crowded);
  const std::string& path = rig.path;
  const std::string other = "b";
  train::HeadNumbers own{rig.head.weights, rig.head.draft, rig.head.delta};
  for (float& weight : own.weights) weight *= 1.25f;
  rig.write(path, rig.head.shape, own);
  CHECK(rig.adopt(other, path).empty() && rig.adopt("a", path).empty() && rig.drafts.size() == 2);
  CHECK(rig.drops() && rig.saved("a").weights == own.weights);
  rig.learner->forgetting (&other)();
  CHECK(!rig.next().foreseen.live.empty() && rig.saved("a").weights == own.weights);

  train::BlockHeadShape shape = rig.head.shape;
  shape.rank *= 2;
  const std::string wide = path + "-wide";
  rig.write(wide, shape, {train::BlockHead(shape).initial(1, 4), rig.head.draft, {}});
  CHECK(rig.adopt("a", wide).empty() && rig.drops() && rig.saved("a").shape == shape);
  CHECK(rig.adopt("a", wide, true).empty() && rig.drops());
  CHECK(rig.adopt(other, path).empty() && rig.adopt("a", path).empty());
  std::filesystem::remove(path);
  rig.learner->forgetting (&other)();
  CHECK(rig.drops() && rig.drops());
}

/// What a tenant's head has learned goes with it; that it has learned goes on being counted.
void testCountsWhoIsGone() {
  Rig rig;
  const auto counted = [&] {
    std::promise<LearnerCounters> answer;
    rig.learner->settling([&] { answer.set_value(rig.learner->counters()); })();
    return answer.get_future().get();
  };
  rig.candidate();
  const std::string tenant = "a";
  const LearnerCounters before = counted();
  rig.learner->forgetting (&tenant)();
  const LearnerCounters after = counted();
  CHECK(before.steps > 0 && before.tenants == 1 && before.bytes > 0);
  CHECK(after.steps >= before.steps && after.tenants == 0 && after.bytes == 0);
}

/// What waits for a place when the target's weights move is judged before it drafts again.
void testJudgesWhatWaited() {
  LearnerOptions crowded = options();
  crowded.mostTenants = 1;
  Rig rig(crowded);
  const std::string& path = rig.path;
  rig.write(path, rig.head.draft);
  CHECK(rig.adopt("b", path).empty() && rig.adopt("a", path).empty() && rig.drops());
  rig.learner->weightsMoved(rig.model,
                            std::make_shared<const HeadWeights>(rig.head.source(), *rig.model, *rig.backend));
  CHECK(rig.next().foreseen.candidateNumber == 1);
}

/// A head that came to the engine just before its tenant was forgotten, or the weights moved, is taken from it, also
/// where the tenant has no place among those that learn.
void testWithdraws() {
  LearnerOptions crowded = options();
  crowded.mostTenants = 0;
  Rig rig(crowded);
  const std::string& path = rig.path;
  const auto adopts = [&] { return rig.adopt("a", path).empty() && rig.drafts.back() != nullptr; };
  const auto isTaken = [&](size_t told) {
    rig.settle();
    return rig.drafts.size() == told && rig.drafts.back() == nullptr;
  };
  rig.write(path, rig.head.draft);
  const std::string tenant = "a", other = "b";
  CHECK(adopts());
  rig.learner->forgetting (&other)();
  rig.settle();
  CHECK(rig.drafts.size() == 1);
  rig.learner->forgetting (&tenant)();
  CHECK(isTaken(2) && adopts());
  rig.learner->forgetting(nullptr)();
  CHECK(isTaken(4) && adopts());
  rig.learner->weightsMoved(rig.model,
                            std::make_shared<const HeadWeights>(rig.head.source(), *rig.model, *rig.backend));
  CHECK(isTaken(6));
}

/// Who waits for what was asked before finds that whoever drafts has heard of it, though all of it is done at once.
void testSettlesBehindWhatIsTold() {
  Rig rig;
  const std::string tenant = "a";
  rig.write(rig.path, rig.head.draft);
  CHECK(rig.adopt(tenant, rig.path).empty() && rig.drafts.size() == 1);
  std::promise<void> asked;
  std::promise<size_t> told;
  rig.learner->decide(tenant, Learner::Decision::rollBack, 0, [&](bool) { asked.get_future().wait(); });
  rig.learner->forgetting (&tenant)();
  rig.learner->settling([&] { told.set_value(rig.drafts.size()); })();
  asked.set_value();
  CHECK(told.get_future().get() == 2);
}

/// While engines decode, and for a moment behind that, it looks now and then whether it may work, however long a text
/// waits. Every look tries to tell what there was no memory to tell: so many times it was asked.
void testRestsWhilePaused() {
  Rig rig;
  const std::string& path = rig.path;
  rig.write(path, rig.head.draft);
  const std::string tenant = "b";
  CHECK(rig.adopt(tenant, path).empty());
  Load own, other;  // of two engines, one sequence each
  own.set(1), other.set(1);
  rig.starving = true;
  rig.learner->forgetting (&tenant)();
  rig.learner->ended(rig.text());
  const auto awaitLooks = [&](int looks) {
    for (const int first = rig.asked; rig.asked < first + looks;)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  };
  awaitLooks(2);
  const auto began = std::chrono::steady_clock::now();
  awaitLooks(6);
  CHECK(std::chrono::steady_clock::now() - began > std::chrono::milliseconds(50));
  rig.starving = false;
  rig.settle();
  CHECK(rig.drafts.size() == 2 && rig.drafts.back() == nullptr && rig.judged.empty());
  CHECK(rig.learner->counters().backlog == 1);
  const auto calm = std::chrono::steady_clock::now();
  own.set(0), other.set(0);
  std::unique_lock lock(rig.mutex);
  rig.told.wait(lock, [&] { return !rig.judged.empty(); });
  lock.unlock();
  CHECK(std::chrono::steady_clock::now() - calm > std::chrono::milliseconds(100));
  while (rig.learner->counters().backlog > 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(rig.learner->counters().steps > 0);
}

}  // namespace

int main() {
  testPromotionWithoutMemory();
  testTextsWithoutMemory();
  testStepsWithoutMemory();
  testSavesWhatItLearnedFrom();
  testAdoptsWhatFits();
  testLearnsFromWhatDrafts();
  testCountsWhoIsGone();
  testJudgesWhatWaited();
  testWithdraws();
  testSettlesBehindWhatIsTold();
  testRestsWhilePaused();
  return finish("learner");
}
