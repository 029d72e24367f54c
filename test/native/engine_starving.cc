// Every allocation of the engine's thread fails once, alone or with all that come after it, while requests and commands
// of every kind run: requests end with their text or with OUT_OF_MEMORY, calls do all or nothing, and what comes later
// is as if nothing had been.
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "check.h"
#include "common/error.h"
#include "engine/engine.h"
#include "fake_model.h"
#include "starving.h"

namespace foretoken {
namespace {

using test::Spared;

constexpr int kContext = 256, kMost = 1 << 30;
constexpr uint64_t kNewWeights = 2;
/// Names that no string holds without memory.
const std::string kTenants[] = {"a tenant with a long name", "another one with a long name", "a third one, as long"};

/// Samples whatever else is lacking: what a pass takes is another test's.
class Backend final : public test::FakeBackend {
 public:
  void sample(const Tensor& logits, int vocabulary, std::span<const SampleRow> rows,
              std::span<SampleResult> out) override {
    const Spared spared;
    FakeBackend::sample(logits, vocabulary, rows, out);
  }
};

EngineOptions options() {
  EngineOptions result;
  result.maxSequences = 2;
  result.maxRows = 128;
  result.runAhead = 1000;
  // Two texts do not fit beside each other: one steps back.
  result.kvBytes = size_t{4 + kKeyWidth} * kPageSize * (kContext / kPageSize + kMaxDraftRows / kPageSize);
  return result;
}

Request request(int32_t n) {
  Request r;
  for (int32_t i = 0; i < 60; ++i) r.prompt.push_back((n + i * i) % test::kFakeVocabulary);
  r.maxTokens = 100;
  r.tenant = kTenants[n % 3];
  if (n % 4 == 1) r.learner = "a group whose name is long, too";
  if (n % 2 == 0) r.session = "a session with a long name";
  r.logprobs = n % 3 == 0 ? 2 : -1;
  r.record = n == 2 || n == 4;
  if (!r.record) r.force = static_cast<int32_t>(n % 2 == 0 ? DrafterId::suffix : DrafterId::adversarial);
  return r;
}

MemoryImage memory() {
  MemoryImage image;
  for (int32_t i = 0; i < 5000; ++i) image.tokens.push_back(i % 100 == 99 ? -1 : i * i % test::kFakeVocabulary);
  image.keys.resize(image.tokens.size() * kPackedKeyBytes);
  return image;
}

/// What came out, batch by batch.
struct Got {
  std::map<int32_t, std::vector<int32_t>> tokens;
  std::map<int32_t, std::string> errors;
  std::set<int32_t> finished;

  void add(const Outcomes& out) {
    const Spared spared;
    size_t logprobs = 0, nodes = 0;
    for (const StepRecord& s : out.steps) {
      auto& text = tokens[s.sequence];
      text.insert(text.end(), out.tokens.begin() + s.tokenOffset, out.tokens.begin() + s.tokenOffset + s.tokenCount);
      CHECK(static_cast<size_t>(s.logprobOffset) == logprobs);
      if (request(s.sequence).logprobs >= 0) logprobs += static_cast<size_t>(s.tokenCount) * 5;
      CHECK(s.round >= 0 && static_cast<size_t>(s.round) < out.rounds.size());
    }
    CHECK(logprobs == out.logprobs.size());
    for (const RecordedDraft& draft : out.recorded) nodes += static_cast<size_t>(draft.nodes);
    CHECK(nodes == out.recordedNodes.size() && nodes == out.recordedConfidence.size());
    for (const SequenceFailure& e : out.errors) CHECK(errors.emplace(e.sequence, e.code).second);
    for (const FinishedRecord& f : out.finished) CHECK(finished.insert(f.sequence).second);
  }
  /// Whether a request's text is what some weights say, whole or up to where memory was lacking.
  bool isRight(int32_t id, std::initializer_list<uint64_t> weights) {
    if (errors.contains(id) == finished.contains(id)) return false;
    if (errors.contains(id) && errors.at(id) != "OUT_OF_MEMORY") return false;
    for (const uint64_t each : weights) {
      const auto expected = test::fakeDecode(request(id), kContext, each);
      const auto& text = tokens[id];
      if (finished.contains(id)
              ? text == expected
              : text.size() <= expected.size() && std::equal(text.begin(), text.end(), expected.begin()))
        return true;
    }
    return false;
  }
};

/// The engine without its thread.
struct Bench {
  Backend backend;
  std::shared_ptr<test::FakeModel> model = std::make_shared<test::FakeModel>(backend, kContext);
  std::shared_ptr<test::FakeModel> next = std::make_shared<test::FakeModel>(backend, kContext, kNewWeights);
  EngineCore core{backend, model, options()};
  Outcomes out;
  Got got;
  bool moved = false;

  Bench() { core.setOutput(&out); }
  void submit(int32_t id) {
    std::unique_ptr<Sequence> sequence;
    {
      const Spared spared;
      sequence = std::make_unique<Sequence>(id, request(id), kContext, test::kFakeVocabulary, true);
    }
    core.submit(std::move(sequence));
  }
  bool step() {
    const bool worked = core.step();
    got.add(out);
    out.clear();
    return worked;
  }
  void run() {
    while (step()) continue;
  }
  void finish(int32_t id) { core.finish(id, static_cast<int32_t>(got.tokens[id].size())); }
  /// False where there was no memory: then nothing may have changed.
  template <typename Call>
  bool hadMemory(Call call) {
    const EngineCounters before = core.counters();
    try {
      call();
      return true;
    } catch (const std::bad_alloc&) {
      const EngineCounters after = core.counters();
      CHECK(after.weightsVersion == before.weightsVersion && after.weightsHeld == before.weightsHeld);
      CHECK(after.staticMemoryBytes == before.staticMemoryBytes && after.indexBytes == before.indexBytes);
      CHECK(after.pagesUsed == before.pagesUsed && after.active == before.active && after.waiting == before.waiting);
      return false;
    }
  }
};

/// As its caller makes it.
Tenants placeOf(const std::string& tenant) {
  const Spared spared;
  return placeFor(&tenant);
}

/// All that an engine is asked, between rounds; what throws has no memory to do it.
void askAll(Bench& bench, const MemoryImage& image) {
  for (int32_t id = 0; id < 3; ++id) bench.submit(id);
  for (int i = 0; i < 4; ++i) bench.step();
  bench.core.setPolicy(placeOf(kTenants[0]), Policy{});
  bench.core.unread(1);
  bench.submit(3);
  bench.hadMemory([&] { bench.core.score({1, 2, 3, 4}); });
  bench.hadMemory([&] { bench.core.profile(4, 4, 1); });
  bench.model->corrupt = 0;  // that was over a context of nothing
  bench.hadMemory([&] { bench.core.setStaticMemory(image); });
  bench.hadMemory([&] { bench.core.restoreMemory(kTenants[1] + " that is new", image); });
  for (int i = 0; i < 20; ++i) bench.step();
  bench.core.finish(2, 3);  // cancelled, or done by then
  bench.moved = bench.hadMemory([&] { bench.core.updateWeights(bench.next, /*restart=*/false); });
  bench.core.setHead(placeOf(kTenants[2]), nullptr);
  bench.submit(4);
  for (int i = 0; i < 10; ++i) bench.step();
  bench.core.forget(&kTenants[0], nullptr, nullptr);
  bench.core.dropPolicy(kTenants[0]);
  bench.hadMemory([&] { bench.core.memoryOf(kTenants[1]); });
  bench.run();
}

/// Whether some allocation failed.
bool survives(int grant, int refuse) {
  Bench bench;
  const MemoryImage image = memory();
  test::starve(grant, refuse);
  askAll(bench, image);
  const bool failed = test::feed();
  bench.run();
  for (const int32_t id : {0, 1, 3, 4}) CHECK(bench.got.isRight(id, {1, kNewWeights}));
  for (int32_t id = 0; id < 5; ++id) bench.finish(id);
  for (int32_t id = 5; id < 9; ++id) bench.submit(id);
  bench.run();
  for (int32_t id = 5; id < 9; ++id) {
    CHECK(bench.got.finished.contains(id) && bench.got.isRight(id, {bench.moved ? kNewWeights : 1}));
    bench.finish(id);
  }
  bench.core.forget(nullptr, nullptr);
  const EngineCounters left = bench.core.counters();
  CHECK(bench.core.drained() && left.pagesUsed == 0 && left.indexBytes == 0 && left.weightsHeld == 1);
  CHECK(bench.model->corrupt == 0 && bench.next->corrupt == 0);
  return failed;
}

void testEveryAllocation() {
  for (const int refuse : {1, 3, kMost}) {
    int grant = 0;
    while (survives(grant, refuse)) ++grant;
    CHECK(grant > 100);
  }
}

/// A request's turn comes and there is no memory for what it works with: it ends, and those beside it go on.
void testFirstAdmission() {
  int grant = 0;
  for (bool failed = true; failed; ++grant) {
    Bench bench;
    bench.out.reserve(1 << 10, 1 << 12);
    bench.out.logprobs.reserve(1 << 12);
    bench.submit(3);
    for (int i = 0; i < 10; ++i) bench.step();  // all that its rounds take is there
    bench.submit(5);
    test::starve(grant, kMost);
    bench.core.step();
    failed = test::feed();
    bench.run();
    CHECK(bench.got.finished.contains(3) && bench.got.isRight(3, {1}));
    CHECK(bench.got.errors.contains(5) == failed && bench.got.isRight(5, {1}));
    for (const int32_t id : {3, 5}) bench.finish(id);
    bench.core.forget(nullptr, nullptr);
    CHECK(bench.core.drained() && bench.core.counters().indexBytes == 0 && bench.core.counters().pagesUsed == 0);
  }
  CHECK(grant > 10);
}

/// Text makes room without memory, and is taken whole or not at all.
void testTextThatMakesRoom() {
  int grant = 0;
  for (bool failed = true; failed; ++grant) {
    TextLibrary library(2 << 20, 2 << 20, true, /*keepsDropped=*/true);
    const std::vector<int32_t> text(200, 7);
    library.add(*library.shelf(kTenants[0], ""), text, {});
    library.add(*library.shelf(kTenants[0], "a session with a long name"), text, {});
    library.charge(kTenants[1], 1);
    test::starve(0, kMost);
    library.charge(kTenants[1], 2 << 20);
    CHECK(!test::feed());
    CHECK(library.dropped() == 1 && library.shelf(kTenants[0], "")->bytes() == 0);
    size_t taken = 0;
    test::starve(grant, kMost);
    try {
      taken = library.image(kTenants[0]).tokens.size();
      library.take(kTenants[0]);
    } catch (const std::bad_alloc&) {
    }
    failed = test::feed();
    CHECK(taken == (failed ? 0 : text.size() + 1) && library.waiting().empty() != failed);
  }
  CHECK(grant > 2);
}

/// Batches as an event loop takes them.
class Inbox final : public OutcomeSink {
 public:
  void deliver(Outcomes* batch) override {
    const Spared spared;
    const std::lock_guard lock(mutex_);
    batches_.push_back(batch);
  }
  Outcomes* take() {
    const std::lock_guard lock(mutex_);
    if (batches_.empty()) return nullptr;
    Outcomes* const batch = batches_.front();
    batches_.erase(batches_.begin());
    return batch;
  }

 private:
  std::mutex mutex_;
  std::vector<Outcomes*> batches_;
};

/// The engine with its thread, which alone starves.
struct Caller {
  Inbox inbox;
  test::FakeBackend* backend;
  std::unique_ptr<Engine> engine = make();
  Got got;
  std::atomic<int> asked{0}, done{0}, refused{0}, broken{0};

  std::unique_ptr<Engine> make() {
    auto own = std::make_unique<Backend>();
    backend = own.get();
    auto model = std::make_shared<test::FakeModel>(*own, kContext);
    return std::make_unique<Engine>(std::move(own), std::move(model), options(), &inbox);
  }
  /// Its sequences are numbered from 1.
  void submit(int32_t id) { CHECK(engine->submit(request(id)) == id); }
  template <typename T>
  Reply<T> reply() {
    ++asked;
    return [this](T* result, std::exception_ptr failure) {
      if (result != nullptr) return void(++done);
      try {
        std::rethrow_exception(failure);
      } catch (const std::bad_alloc&) {
        ++refused;
      } catch (const Error& error) {
        ++(error.code() == "KV_EXHAUSTED" ? refused : broken);  // what runs may need all pages
      } catch (...) {
        ++broken;
      }
    };
  }
  void read() {
    if (Outcomes* const batch = inbox.take()) {
      got.add(*batch);
      engine->recycle(batch);
    } else {
      std::this_thread::yield();
    }
  }
  template <typename Condition>
  void readUntil(Condition isSo) {
    while (!isSo()) read();
  }
  bool hasEnded(int32_t id) const { return got.finished.contains(id) || got.errors.contains(id); }
};

bool threadSurvives(int grant, int refuse) {
  Caller caller;
  Engine& engine = *caller.engine;
  const MemoryImage image = memory();
  const auto next = std::make_shared<test::FakeModel>(*caller.backend, kContext, kNewWeights);
  test::starve(grant, refuse);
  for (int32_t id = 1; id <= 4; ++id) caller.submit(id);
  engine.setPolicy(&kTenants[0], {});
  engine.score({1, 2, 3, 4}, caller.reply<Score>());
  engine.profile(4, 4, 1, caller.reply<Profile>());
  engine.setStaticMemory(image, caller.reply<bool>());
  engine.restoreMemory(kTenants[1], image, caller.reply<bool>());
  engine.unread(1);
  engine.finish(2, 1);
  engine.memoryOf(kTenants[1], /*take=*/true, caller.reply<TenantMemory>());
  std::atomic<bool> moved{false};
  ++caller.asked;
  engine.updateWeights(next, nullptr, grant % 2 == 0, [&](int32_t* version, std::exception_ptr failure) {
    CHECK((version == nullptr) == (failure != nullptr));
    moved = version != nullptr;
    ++(moved ? caller.done : caller.refused);
  });
  engine.forget(&kTenants[2], nullptr);
  engine.dropPolicy(kTenants[0]);
  caller.readUntil([&] { return caller.done + caller.refused + caller.broken == caller.asked; });
  caller.readUntil([&] { return caller.hasEnded(1) && caller.hasEnded(3) && caller.hasEnded(4); });
  const bool failed = test::feed();
  CHECK(caller.broken == 0 && (engine.model() == next) == moved);
  for (const int32_t id : {1, 3, 4}) engine.finish(id, 10);
  caller.submit(5);
  caller.readUntil([&] { return caller.hasEnded(5); });
  CHECK(caller.got.finished.contains(5) && caller.got.isRight(5, {moved ? kNewWeights : 1}));
  std::atomic<bool> closed{false};
  engine.finish(5, 10);
  engine.close([&] { closed = true; });
  caller.readUntil([&] { return closed.load(); });
  return failed;
}

void testThread() {
  for (const int refuse : {1, kMost}) {
    int grant = 0;
    while (threadSurvives(grant, refuse)) grant += 3;
    CHECK(grant > 50);
  }
}

}  // namespace
}  // namespace foretoken

int main() {
  foretoken::testEveryAllocation();
  foretoken::testFirstAdmission();
  foretoken::testTextThatMakesRoom();
  foretoken::test::isSpared = true;
  foretoken::testThread();
  return foretoken::test::finish("engine_starving");
}
