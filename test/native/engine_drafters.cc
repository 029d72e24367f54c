// Sequences are asked for their drafts at the same time: in which order, and on which threads, changes nothing of what
// they draft.
#include <algorithm>
#include <functional>
#include <thread>
#include <vector>

#include "check.h"
#include "engine/core.h"
#include "fake_model.h"

namespace foretoken {
namespace {

constexpr int kContext = 600, kSequences = 8, kWaves = 3, kTokens = 80;

using Job = std::function<void(int64_t, int64_t)>;
using Spread = void (*)(int64_t, const Job&);

class SpreadingBackend final : public test::FakeBackend {
 public:
  explicit SpreadingBackend(Spread how) : how_(how) {}
  void spread(int64_t items, const Job& job) override {
    most = std::max(most, items);
    how_(items, job);
  }
  int64_t most = 0;

 private:
  Spread how_;
};

/// All of one tenant: a wave drafts from what the waves before have said, and praises it.
Request request(int32_t id) {
  Request r;
  for (int32_t i = 0; i < 40; ++i) r.prompt.push_back((id % 3 + i % 7) % test::kFakeVocabulary);
  r.maxTokens = kTokens;
  r.force = static_cast<int32_t>(DrafterId::blend);
  return r;
}

struct Drafted {
  std::vector<int32_t> tokens, outcome;
  std::vector<float> confidence;
  bool operator==(const Drafted&) const = default;
};

Drafted decode(Spread how) {
  SpreadingBackend backend(how);
  const auto model = std::make_shared<test::FakeModel>(backend, kContext);
  EngineOptions options;
  options.maxSequences = kSequences;
  options.maxRows = 512;
  options.runAhead = 1000;
  EngineCore core(backend, model, options);
  Outcomes out;
  core.setOutput(&out);
  for (int32_t id = 0; id < kWaves * kSequences; ++id) {
    core.submit(std::make_unique<Sequence>(id, request(id), core.contextLength(), test::kFakeVocabulary, true));
    if (id % kSequences != kSequences - 1) continue;
    while (core.step()) continue;
    for (int32_t done = id - kSequences + 1; done <= id; ++done) core.finish(done, kTokens);
  }
  CHECK(core.counters().indexBytes > 0);
  CHECK(backend.most == kSequences && out.errors.empty());
  CHECK(std::any_of(out.draftOutcome.begin(), out.draftOutcome.end(),
                    [](int32_t node) { return outcomeOf(node) == NodeOutcome::accepted; }));
  return {out.tokens, out.draftOutcome, out.draftConfidence};
}

void inTurn(int64_t items, const Job& job) { job(0, items); }

void backwards(int64_t items, const Job& job) {
  for (int64_t i = items; i-- > 0;) job(i, i + 1);
}

void atOnce(int64_t items, const Job& job) {
  std::vector<std::thread> threads;
  for (int64_t i = 0; i < items; ++i) threads.emplace_back([&job, i] { job(i, i + 1); });
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace foretoken

int main() {
  using namespace foretoken;
  const Drafted expected = decode(inTurn);
  CHECK(decode(backwards) == expected);
  CHECK(decode(atOnce) == expected);
  return test::finish("engine_drafters");
}
