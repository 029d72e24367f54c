// Where products have other bits in passes of prompts, a position's bits are still those of its request alone: in
// pieces of any size, among others, drafted, shared, preempted, computed again on new weights.
#include <cstring>
#include <numeric>

#include "engine_rig.h"
#include "head_rig.h"
#include "two_phase_backend.h"

namespace foretoken {
namespace {

using test::engineOptions;
using test::HeadRig;
using test::kContext;
using test::TwoPhaseBackend;

constexpr const char* kModel = "tied-f16.gguf";
constexpr int32_t kRequests = 9;

/// Hidden states of all positions: the same bits whenever they are computed.
struct States final : CaptureSink {
  void verified(int32_t sequence, int32_t position, int32_t, std::span<const float* const> hidden) override {
    std::vector<float> row(hidden[0], hidden[0] + width);
    const auto [at, isNew] = seen[sequence].try_emplace(position, row);
    CHECK(std::memcmp(at->second.data(), row.data(), width * sizeof(float)) == 0);
    again += !isNew;
  }
  int width = 0;
  std::map<int32_t, std::map<int32_t, std::vector<float>>> seen;
  int64_t again = 0;  ///< rows that were computed once more
};

std::unique_ptr<Backend> twoPhases() { return std::make_unique<TwoPhaseBackend>(createCpuBackend({2, ""})); }

/// Before an engine that writes to them.
struct WithStates {
  States states;
};

struct Loaded : WithStates, test::EngineRig {
  explicit Loaded(EngineOptions options, std::unique_ptr<Backend> backend = twoPhases())
      : EngineRig(
            "auto", std::move(options),
            [this](EngineOptions& engine, const Model& target, Backend& packing) {
              engine.head = std::make_shared<const HeadWeights>(head().source(), target, packing);
              states.width = target.config().width;
              engine.captureLayers = {target.config().layers};
              engine.captureSink = &states;
            },
            std::move(backend)) {}
  static const HeadRig& head() {
    static const HeadRig rig(kModel);
    return rig;
  }
  void run() {
    EngineRig::run([&](const StepRecord& step) {
      for (int32_t i = step.draftOffset; i < step.draftOffset + step.draftCount; ++i) {
        drafts.push_back(out.draftOutcome[i]);
        confidences.push_back(out.draftConfidence[i]);
      }
    });
  }
  void finish(int32_t id) { core->finish(id, static_cast<int32_t>(got[id].size())); }

  std::vector<int32_t> drafts;
  std::vector<float> confidences;
};

/// Pages for one sequence of full length and some more.
size_t kvBytes(int spare) {
  const HeadRig& rig = Loaded::head();
  const ModelConfig& config = rig.target.config();
  const size_t layers = config.layers + rig.shape.layers;
  const size_t side = kHeadFeatures + rig.shape.fused * rig.shape.width * 2;
  const size_t page = (4 * layers * config.kvHeads * config.headDim + side) * kPageSize;
  return page * (kContext / kPageSize + kMaxDraftRows / kPageSize + spare);
}

Request request(int32_t n, int32_t vocabulary) {
  Request r;
  const int32_t shared = n % 3;  // prompts of one group begin alike
  for (int32_t i = 0; i < 40 + n % 17; ++i)
    r.prompt.push_back((i < 36 ? shared * 131 + i % 9 : n * 17 + i) % vocabulary);
  r.maxTokens = 60;
  r.seed = static_cast<uint64_t>(n);
  r.temperature = n % 2 == 0 ? 0.0f : 0.8f;
  r.maxLookahead = 1 + n % 8;
  return r;
}

/// All that was said and some more.
Request nextTurn(const Request& before, const std::vector<int32_t>& answer) {
  Request r = before;
  r.prompt.insert(r.prompt.end(), answer.begin(), answer.end());
  r.prompt.insert(r.prompt.end(), before.prompt.begin() + 3, before.prompt.begin() + 8);
  r.maxTokens = 40;
  ++r.seed;
  return r;
}

/// Plainly decoded, one at a time, nothing shared: all requests, then a turn after each. Ids count from 1.
struct Plain {
  explicit Plain(std::unique_ptr<Backend> backend = twoPhases()) : engine(engineOptions(1), std::move(backend)) {
    for (int32_t n = 0; n < kRequests; ++n) add(request(n, engine.model->config().vocabulary));
    for (int32_t n = 0; n < kRequests; ++n) add(nextTurn(requests[n], engine.got[n + 1]));
  }
  void add(Request r) {
    requests.push_back(r);
    const auto id = static_cast<int32_t>(requests.size());
    r.speculate = false;
    r.tenant = "alone " + std::to_string(id);
    engine.submit(id, r);
    engine.run();
    CHECK(engine.cached == 0);
    engine.finish(id);
  }
  Loaded engine;
  std::vector<Request> requests;
};

const Plain& plain() {
  static const Plain result;
  return result;
}

/// Texts and states of all sequences are those of plain decoding.
void checkPlain(const Loaded& engine) {
  for (const auto& [id, tokens] : engine.got) CHECK(tokens == plain().engine.got.at(id));
  for (const auto& [id, rows] : engine.states.seen)
    for (const auto& [position, row] : rows) {
      const std::vector<float>& expected = plain().engine.states.seen.at(id).at(position);
      CHECK(std::memcmp(row.data(), expected.data(), row.size() * sizeof(float)) == 0);
    }
}

/// Passes of prompts make other texts: what is tested here can be seen.
void testDifference() {
  const Plain one(createCpuBackend({2, ""}));
  int same = 0;
  for (int32_t id = 1; id <= kRequests; ++id) same += one.engine.got.at(id) == plain().engine.got.at(id);
  CHECK(same < kRequests / 3);
}

/// A turn's requests together, each drafted for by another one.
void runTurn(Loaded& engine, int32_t turn) {
  const DrafterId drafters[] = {DrafterId::suffix, DrafterId::recall, DrafterId::adversarial, DrafterId::head};
  for (int32_t n = 0; n < kRequests; ++n) {
    Request r = plain().requests[turn * kRequests + n];
    r.force = static_cast<int32_t>(drafters[n % 4]);
    r.speculate = n % 5 != 4;
    engine.submit(turn * kRequests + n + 1, r);
    if (n % 2 == 1) engine.core->step();  // they join in the middle of things
  }
  engine.run();
  for (int32_t n = 0; n < kRequests; ++n) engine.finish(turn * kRequests + n + 1);
}

void testCrowded(int32_t chunk, int32_t chunkBeside, int spare) {
  EngineOptions options = engineOptions(4);
  options.prefillChunk = chunk;
  options.prefillChunkBeside = chunkBeside;
  options.kvBytes = kvBytes(spare);
  Loaded engine(options);
  for (const int32_t turn : {0, 1}) {
    runTurn(engine, turn);
    CHECK(engine.cached > 0);
  }
  checkPlain(engine);
  CHECK(engine.got.size() == 2 * kRequests && !engine.drafts.empty());
  CHECK((engine.states.again > 0) == (spare < 10));  // some were preempted where pages are few
}

/// The turn after a text finds whole pages of its prompt, none of its answer; what drafters keep of those positions is
/// what they would have after a miss.
void testHits(DrafterId drafter) {
  const auto turns = [&](Loaded& engine, bool hit) {
    for (const int32_t id : {1, kRequests + 1}) {
      Request r = plain().requests[id - 1];
      r.force = static_cast<int32_t>(drafter);
      r.learned = false;
      if (!hit) r.tenant = std::to_string(id);
      engine.drafts.clear(), engine.confidences.clear();
      engine.submit(id, r);
      engine.run();
      engine.finish(id);
    }
    const auto prompt = static_cast<int64_t>(plain().requests[0].prompt.size());
    CHECK(engine.cached == (hit ? prompt / kPageSize * kPageSize : 0));
    checkPlain(engine);
  };
  Loaded hit(engineOptions(1)), miss(engineOptions(1));
  turns(hit, true), turns(miss, false);
  CHECK(!hit.drafts.empty() && hit.drafts == miss.drafts && hit.confidences == miss.confidences);
}

/// Everything that runs is computed again, prompts as prompts and answers as answers.
void testRestart() {
  EngineOptions options = engineOptions(4);
  options.prefillChunk = 24;
  Loaded engine(options);
  for (int32_t n = 0; n < kRequests; ++n) {
    Request r = plain().requests[n];
    r.force = static_cast<int32_t>(DrafterId::recall);
    engine.submit(n + 1, r);
  }
  for (const int steps : {9, 14}) {
    for (int i = 0; i < steps; ++i) engine.core->step();
    ModelOptions same;
    same.maxRows = options.maxRows;
    same.maxLogitRows = options.maxSequences + kMaxDraftRows;
    std::shared_ptr<Model> model = loadModel(test::fixture(std::string("models/") + kModel), *engine.backend, same);
    const auto head = std::make_shared<const HeadWeights>(Loaded::head().source(), *model, *engine.backend);
    engine.core->updateWeights(std::move(model), /*restart=*/true, head);
  }
  engine.run();
  checkPlain(engine);
  CHECK(engine.got.size() == kRequests && engine.states.again > 50);
}

/// A sequence that is preempted finds pages which hold its own tokens, but as another one's prompt: they are not what
/// it has generated.
void testAnswerIsAnothersPrompt() {
  constexpr int32_t kFirst = 20, kTaken = 28;
  const int32_t vocabulary = plain().engine.model->config().vocabulary;
  Request younger = request(4, vocabulary), older;
  younger.prompt.resize(kFirst);
  younger.maxTokens = 150;
  Loaded alone(engineOptions(1));
  alone.submit(2, younger);
  alone.run();
  older = younger;
  older.prompt.insert(older.prompt.end(), alone.got[2].begin(), alone.got[2].begin() + kTaken);
  older.maxTokens = kContext;
  older.seed += 1, older.temperature = 0.9f;

  EngineOptions options = engineOptions(2);
  options.kvBytes = kvBytes(2);
  Loaded both(options);
  both.submit(1, older);
  both.submit(2, younger);
  both.run();
  CHECK(both.got[2] == alone.got[2]);
  for (const auto& [position, row] : both.states.seen[2]) CHECK(row == alone.states.seen[2].at(position));
  CHECK(both.states.again > kFirst);  // the younger one was preempted
}

}  // namespace
}  // namespace foretoken

int main() {
  using namespace foretoken;
  testDifference();
  testCrowded(1, 1, 0);
  testCrowded(24, 7, 2);
  testCrowded(24, 7, 100);
  testCrowded(64, 64, 2);
  for (const DrafterId drafter : {DrafterId::recall, DrafterId::head}) testHits(drafter);
  testRestart();
  testAnswerIsAnothersPrompt();
  return test::finish("engine_phases");
}
