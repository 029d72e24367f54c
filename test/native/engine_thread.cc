// The engine with its thread: commands from another thread while it runs, batches that are late in coming back, close
// at any time.
#include <chrono>
#include <map>
#include <mutex>
#include <thread>

#include "check.h"
#include "common/error.h"
#include "engine/engine.h"
#include "fake_model.h"

namespace foretoken {
namespace {

using test::fakeDecode;

/// A queue of batches, as the event loop keeps it.
class Inbox final : public OutcomeSink {
 public:
  void deliver(Outcomes* batch) override {
    const std::lock_guard lock(mutex_);
    batches_.push_back(batch);
  }
  Outcomes* take() {
    const std::lock_guard lock(mutex_);
    if (batches_.empty()) return nullptr;
    Outcomes* batch = batches_.front();
    batches_.erase(batches_.begin());
    return batch;
  }

 private:
  std::mutex mutex_;
  std::vector<Outcomes*> batches_;
};

std::unique_ptr<Engine> makeEngine(Inbox& inbox, int runAhead) {
  auto backend = std::make_unique<test::FakeBackend>();
  auto model = std::make_unique<test::FakeModel>(*backend, 256);
  EngineOptions options;
  options.maxSequences = 3;
  options.maxRows = 128;
  options.runAhead = runAhead;
  return std::make_unique<Engine>(std::move(backend), std::move(model), options, &inbox);
}

Request request(int n) {
  Request r;
  r.prompt = {n % 7, (n * 3) % 11, 5, n % 23};
  r.maxTokens = 20 + n % 60;
  r.seed = static_cast<uint64_t>(n);
  r.temperature = n % 2 == 0 ? 0.0f : 0.7f;
  r.force = n % 3 == 0   ? -1
            : n % 3 == 1 ? static_cast<int32_t>(DrafterId::suffix)
                         : static_cast<int32_t>(DrafterId::adversarial);
  return r;
}

struct Caller {
  explicit Caller(int runAhead) : engine(makeEngine(inbox, runAhead)) {}

  /// Reads one batch, if there is one, and gives it back.
  bool read(bool acknowledge) {
    Outcomes* batch = inbox.take();
    if (batch == nullptr) return false;
    for (const StepRecord& step : batch->steps) {
      auto& tokens = got[step.sequence];
      tokens.insert(tokens.end(), batch->tokens.begin() + step.tokenOffset,
                    batch->tokens.begin() + step.tokenOffset + step.tokenCount);
      engine->consumed(step.sequence, static_cast<int32_t>(tokens.size()));
    }
    for (const FinishedRecord& record : batch->finished) {
      ++finished;
      if (acknowledge) engine->finish(record.sequence, static_cast<int32_t>(got[record.sequence].size()));
    }
    engine->recycle(batch);
    return true;
  }

  Inbox inbox;
  std::unique_ptr<Engine> engine;
  std::map<int32_t, std::vector<int32_t>> got;
  int finished = 0;
};

void answersManyRequests() {
  Caller caller(16);
  std::map<int32_t, Request> requests;
  for (int n = 0; n < 60; ++n) {
    const Request r = request(n);
    requests[caller.engine->submit(r)] = r;
    if (n % 5 == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));
    caller.read(true);
    if (n % 10 == 0) caller.engine->setPolicy(nullptr, {});
  }
  while (caller.finished < 60) {
    if (!caller.read(true)) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  for (const auto& [id, r] : requests) CHECK(caller.got[id] == fakeDecode(r, 256));
}

/// Every batch is held back for a while: rounds go on and ride in one batch.
void doesNotWaitForTheReceiver() {
  Caller caller(1000);
  const Request r = request(49);
  const int32_t id = caller.engine->submit(r);
  // Nothing is given back, and still it comes to its end.
  while (caller.engine->counters().rounds == 0 || caller.engine->counters().active > 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  int batches = 0;
  while (caller.finished == 0) batches += caller.read(true);
  CHECK(caller.got[id] == fakeDecode(r, 256));
  CHECK(batches <= 4);
}

/// Rounds of a text that nobody reads as it comes are delivered together, but for its beginning and its end.
void deliversUnreadRoundsTogether() {
  Caller caller(1000);
  Request r = request(0);
  r.maxTokens = 240;
  const int32_t id = caller.engine->submit(r);
  caller.engine->unread(id);
  int batches = 0;
  size_t first = 0;
  while (caller.finished == 0) {
    if (!caller.read(true)) continue;
    if (++batches == 1) first = caller.got[id].size();
  }
  CHECK(caller.got[id] == fakeDecode(r, 256));
  CHECK(first >= 1 && first <= 2);
  CHECK(batches <= 40);
}

void answersJobsBetweenRounds() {
  Caller caller(1000);
  caller.engine->submit(request(3));
  std::atomic<int> answers{0};
  caller.engine->score({1, 2, 3, 4}, [&](Score* score, std::exception_ptr) {
    answers += score != nullptr && score->argmax.size() == 3;
  });
  caller.engine->score(
      {1}, [&](Score* score, std::exception_ptr failure) { answers += score == nullptr && failure != nullptr; });
  caller.engine->profile(8, 16, 1, [&](Profile* profile, std::exception_ptr) {
    answers += profile != nullptr && profile->passSeconds.size() == 8;
  });
  while (answers < 3) std::this_thread::sleep_for(std::chrono::microseconds(100));
  CHECK(caller.engine->counters().pagesTotal > 0);
}

/// Who is told that a job is done finds it counted.
void countsBeforeItAnswers() {
  Caller caller(1000);
  MemoryImage image;
  image.tokens = {1, 2, 3, 4, 5, 6, 7, 8};
  image.keys.resize(image.tokens.size() * kPackedKeyBytes);
  std::atomic<int64_t> counted{-1};
  caller.engine->setStaticMemory(
      image, [&](bool*, const std::exception_ptr&) { counted = caller.engine->counters().staticMemoryBytes; });
  while (counted < 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
  CHECK(counted > 0);
}

/// Who asks it something while it lets go of weights does not wait for that.
void letsGoOfWeightsBesideItsCallers() {
  Inbox inbox;
  auto backend = std::make_unique<test::FakeBackend>();
  const auto next = std::make_shared<test::FakeModel>(*backend, 256, /*weights=*/2);
  std::unique_ptr<Engine> engine;
  std::atomic<bool> answered{false}, wasAnswered{false}, updated{false};
  std::thread asker;
  const auto letGo = [&](Model* old) {
    asker = std::thread([&] { engine->counters(), engine->model(), answered = true; });
    for (int i = 0; i < 20000 && !answered; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    wasAnswered = answered.load();
    delete old;
  };
  std::shared_ptr<Model> first(new test::FakeModel(*backend, 256), letGo);
  engine = std::make_unique<Engine>(std::move(backend), std::move(first), EngineOptions{}, &inbox);
  engine->updateWeights(next, nullptr, false, [&](const int32_t*, const std::exception_ptr&) { updated = true; });
  while (!updated) std::this_thread::sleep_for(std::chrono::microseconds(100));
  CHECK(wasAnswered);
  asker.join();
}

/// close() runs everything to its end, back-pressure or not, and delivers it all.
void closesWhenDone() {
  Caller caller(4);
  std::map<int32_t, Request> requests;
  for (int n = 0; n < 7; ++n) requests[caller.engine->submit(request(n))] = request(n);
  std::atomic<bool> closed{false};
  caller.engine->close([&] { closed = true; });
  bool refused = false;
  try {
    caller.engine->submit(request(1));
  } catch (const Error& error) {
    refused = error.code() == "ENGINE_CLOSED";
  }
  CHECK(refused);
  while (!closed) {
    if (!caller.read(false)) std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  while (caller.read(false)) continue;
  for (const auto& [id, r] : requests) CHECK(caller.got[id] == fakeDecode(r, 256));
}

/// Destroyed in the middle of things, many times: no hang, no leak, no race.
void canBeDestroyedAtAnyTime() {
  for (int n = 0; n < 50; ++n) {
    Caller caller(n % 2 == 0 ? 3 : 1000);
    for (int k = 0; k < n % 5; ++k) caller.engine->submit(request(n + k));
    if (n % 7 == 0) caller.engine->close([] {});
    if (n % 3 == 0) std::this_thread::sleep_for(std::chrono::microseconds(50 * n));
    caller.read(false);
  }
  CHECK(true);
}

}  // namespace
}  // namespace foretoken

int main() {
  using namespace foretoken;
  answersManyRequests();
  doesNotWaitForTheReceiver();
  deliversUnreadRoundsTogether();
  answersJobsBetweenRounds();
  countsBeforeItAnswers();
  letsGoOfWeightsBesideItsCallers();
  closesWhenDone();
  canBeDestroyedAtAnyTime();
  return test::finish("engine_thread");
}
