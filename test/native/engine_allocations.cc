// Once sequences run, a round allocates nothing: with drafts of every kind, with a head, with heads of two tenants in
// one round, sampled and with penalties. Who waits for its turn has allocated next to nothing.
#include "allocation_meter.h"
#include "engine_rig.h"
#include "head_rig.h"

namespace foretoken {
namespace {

using test::HeadRig;

constexpr int kSequences = 3;
/// Rounds after which every workspace has had its largest size, and those that are then watched.
constexpr int kWarm = 14, kWatched = 10;

Policy policy() {
  Policy result;
  result.rowBudget = 64;
  for (int rows = 1; rows <= 64; ++rows) result.passSeconds.push_back(1.0f + 0.001f * static_cast<float>(rows));
  for (const DrafterId which : {DrafterId::suffix, DrafterId::recall, DrafterId::prediction, DrafterId::head}) {
    result.allowed[static_cast<int>(which)] = true;
    for (auto& depth : result.acceptance[static_cast<int>(which)]) depth.fill(0.6f);
  }
  result.askEvery.fill(1);
  return result;
}

Request request(int32_t n, int force, int32_t vocabulary) {
  Request r;
  for (int32_t i = 0; i < 40; ++i) r.prompt.push_back((i % 9 + 11 * n) % vocabulary);
  r.prediction = r.prompt;
  r.tenant = n % 2 == 0 ? "a" : "b";
  r.maxTokens = 400;
  r.temperature = n % 3 == 0 ? 0.0f : 0.9f;
  r.topK = n % 3 == 2 ? 20 : 0;
  r.repetitionPenalty = n % 3 == 1 ? 1.1f : 1.0f;
  r.logprobs = n % 3 == 1 ? 3 : -1;
  r.force = force;
  return r;
}

void testRounds(const HeadRig& rig, int force) {
  test::EngineRig engine("auto", test::engineOptions(kSequences),
                         [&](EngineOptions& options, const Model& target, Backend& packing) {
                           options.head = std::make_shared<const HeadWeights>(rig.source(), target, packing);
                         });
  engine.out.reserve(1 << 14, 1 << 16);
  engine.out.logprobs.reserve(1 << 14);  // grows with what requests ask for, and stays
  engine.core->setPolicy(nullptr, policy());
  const std::string tenant = "b";
  engine.core->setHead(&tenant, std::make_shared<const HeadWeights>(rig.source(), *engine.model, *engine.backend));
  for (int32_t n = 0; n < kSequences; ++n) engine.submit(n + 1, request(n, force, engine.model->config().vocabulary));
  for (int i = 0; i < kWarm; ++i) CHECK(engine.core->step());
  const int64_t asked = engine.core->counters().headDrafts;
  engine.out.clear();
  const size_t bytes = test::bytesAllocatedBy([&] {
    for (int i = 0; i < kWatched; ++i) engine.core->step();
  });
  CHECK(bytes == 0);
  CHECK(engine.core->counters().active == kSequences && engine.out.rounds.size() == kWatched);
  CHECK(!engine.out.draftOutcome.empty());
  const bool ofHead = force < 0 || force == static_cast<int>(DrafterId::head);
  CHECK((engine.core->counters().headDrafts - asked == int64_t{kSequences} * kWatched) == ofHead);
  if (bytes != 0) std::printf("forced %d: %zu bytes in %d rounds\n", force, bytes, kWatched);
}

/// A queue of requests costs its requests: what decodes them is made when their turn comes.
void testWaiting() {
  constexpr int kMost = 4096;
  test::EngineRig engine("auto", test::engineOptions(1));
  const int32_t vocabulary = engine.model->config().vocabulary;
  const auto make = [&](int32_t id) {
    return std::make_unique<Sequence>(id, request(0, -1, vocabulary), 8192, vocabulary, true);
  };
  engine.core->submit(make(1));
  engine.core->step();
  const int64_t ofOne = engine.core->counters().indexBytes;
  CHECK(ofOne > 0);
  const size_t bytes = test::bytesAllocatedBy([&] {
    for (int32_t id = 2; id < 12; ++id) engine.core->submit(make(id));
  });
  CHECK(bytes < size_t{10} * kMost);
  CHECK(engine.core->counters().waiting == 10 && engine.core->counters().indexBytes == ofOne);
  if (bytes >= size_t{10} * kMost) std::printf("ten that wait: %zu bytes\n", bytes);
}

}  // namespace
}  // namespace foretoken

int main() {
  using namespace foretoken;
  const test::HeadRig rig("tied-f16.gguf");
  testRounds(rig, -1);
  for (const DrafterId which : {DrafterId::head, DrafterId::suffix, DrafterId::recall, DrafterId::adversarial})
    testRounds(rig, static_cast<int>(which));
  testWaiting();
  return test::finish("engine_allocations");
}
