// Where products have other bits in passes of prompts, a position's bits are still those of its request alone: in
// pieces of any size, among others, drafted, shared, preempted, computed again on new weights. Under any backend.
#pragma once
#include <cstring>

#include "engine_rig.h"
#include "head_rig.h"

namespace foretoken::test {

constexpr const char* kPhasesModel = "tied-f16.gguf";

/// Where this is tested, and with how much.
struct PhasesSetting {
  std::function<std::unique_ptr<Backend>()> backend;
  std::string weights;
  int32_t requests, prompt, answer, context;  ///< prompts of so many tokens and some more
};

/// Hidden states of all positions: the same bits whenever they are computed.
struct States final : CaptureSink {
  void verified(int32_t sequence, int32_t position, int32_t, std::span<const float* const> hidden) override {
    std::vector<float> row(hidden[0], hidden[0] + width);
    const auto [at, isNew] = seen[sequence].try_emplace(position, row);
    CHECK(sameBits(at->second, row));
    again += !isNew;
  }
  static bool sameBits(const std::vector<float>& a, const std::vector<float>& b) {
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
  }
  int width = 0;
  std::map<int32_t, std::map<int32_t, std::vector<float>>> seen;
  int64_t again = 0;  ///< rows that were computed once more
};

/// Before an engine that writes to them.
struct WithStates {
  States states;
};

struct PhasesEngine : WithStates, EngineRig {
  PhasesEngine(const PhasesSetting& setting, EngineOptions options)
      : PhasesEngine(setting, options, setting.backend()) {}
  PhasesEngine(const PhasesSetting& setting, EngineOptions options, std::unique_ptr<Backend> backend)
      : EngineRig(
            setting.weights, within(setting, options),
            [this](EngineOptions& engine, const Model& target, Backend& packing) {
              engine.head = std::make_shared<const HeadWeights>(head().source(), target, packing);
              states.width = target.config().width;
              engine.captureLayers = {target.config().layers};
              engine.captureSink = &states;
            },
            std::move(backend)) {}
  static const HeadRig& head() {
    static const HeadRig rig(kPhasesModel);
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

 private:
  static EngineOptions within(const PhasesSetting& setting, EngineOptions options) {
    options.contextLength = setting.context;
    return options;
  }
};

class PhasesRig {
 public:
  explicit PhasesRig(PhasesSetting setting) : setting_(std::move(setting)), plain_(setting_, engineOptions(1)) {
    addTurns(plain_, requests_);
  }

  /// Passes of prompts make other states: what is tested here can be seen. `uniform` has one kind of product.
  void testDifference(std::unique_ptr<Backend> uniform, const std::string& weights) {
    PhasesSetting other = setting_;
    other.weights = weights;
    PhasesEngine one(other, engineOptions(1), std::move(uniform));
    CHECK(plain_.backend->promptsDiffer() && !one.backend->promptsDiffer());
    std::vector<Request> requests;
    addTurns(one, requests);
    int same = 0;
    for (const auto& [id, rows] : plain_.states.seen)
      for (const auto& [position, row] : rows)
        if (one.states.seen[id].contains(position)) same += States::sameBits(row, one.states.seen[id][position]);
    CHECK(same == 0);
  }

  /// Few pages: some are preempted.
  void testCrowded(int32_t chunk, int32_t chunkBeside, bool fewPages) {
    EngineOptions options = engineOptions(4);
    options.prefillChunk = chunk;
    options.prefillChunkBeside = chunkBeside;
    options.kvBytes = fewPages ? kvBytes(0) : kvBytes(100);
    PhasesEngine engine(setting_, options);
    for (const int32_t turn : {0, 1}) {
      runTurn(engine, turn);
      CHECK(engine.cached > 0);
    }
    checkPlain(engine);
    CHECK(static_cast<int32_t>(engine.got.size()) == 2 * setting_.requests && !engine.drafts.empty());
    CHECK((engine.states.again > 0) == fewPages);
  }

  /// The turn after a text finds whole pages of its prompt, none of its answer; what drafters keep of those positions
  /// is what they would have after a miss.
  void testHits(DrafterId drafter) {
    PhasesEngine hit(setting_, engineOptions(1)), miss(setting_, engineOptions(1));
    runTurnsOfOne(hit, drafter, true), runTurnsOfOne(miss, drafter, false);
    CHECK(!hit.drafts.empty() && hit.drafts == miss.drafts && hit.confidences == miss.confidences);
  }

  /// Everything that runs is computed again, prompts as prompts and answers as answers.
  void testRestart(int steps) {
    EngineOptions options = engineOptions(4);
    options.prefillChunk = 24;
    PhasesEngine engine(setting_, options);
    for (int32_t n = 0; n < setting_.requests; ++n) {
      Request r = requests_[n];
      r.force = static_cast<int32_t>(DrafterId::recall);
      engine.submit(n + 1, r);
    }
    for (int restart = 0; restart < 2; ++restart) {
      for (int i = 0; i < steps; ++i) engine.core->step();
      ModelOptions same;
      same.weights = setting_.weights;
      same.maxRows = options.maxRows;
      same.maxLogitRows = options.maxSequences + kMaxDraftRows;
      std::shared_ptr<Model> model = loadModel(fixture(std::string("models/") + kPhasesModel), *engine.backend, same);
      const auto head = std::make_shared<const HeadWeights>(PhasesEngine::head().source(), *model, *engine.backend);
      engine.core->updateWeights(std::move(model), /*restart=*/true, head);
    }
    engine.run();
    checkPlain(engine);
    CHECK(static_cast<int32_t>(engine.got.size()) == setting_.requests && engine.states.again > setting_.prompt);
  }

  /// A sequence that is preempted finds pages which hold its own tokens, but as another one's prompt: they are not what
  /// it has generated.
  void testAnswerIsAnothersPrompt() {
    const int32_t shared = kPageSize + 4;
    Request younger = requests_[0];
    younger.prompt.resize(shared);
    younger.maxTokens = setting_.context * 3 / 4;
    PhasesEngine alone(setting_, engineOptions(1));
    alone.submit(2, younger);
    alone.run();
    Request older = younger;
    older.prompt.insert(older.prompt.end(), alone.got[2].begin(), alone.got[2].begin() + 2 * kPageSize - 4);
    older.maxTokens = setting_.context;
    older.seed += 1, older.temperature = 0.9f;
    EngineOptions options = engineOptions(2);
    options.kvBytes = kvBytes(2);
    PhasesEngine both(setting_, options);
    both.submit(1, older);
    both.submit(2, younger);
    both.run();
    CHECK(both.got[2] == alone.got[2]);
    for (const auto& [position, row] : both.states.seen[2])
      CHECK(States::sameBits(row, alone.states.seen[2].at(position)));
    CHECK(both.states.again > 0);  // the younger one was preempted
  }

 private:
  Request request(int32_t n) const {
    const int32_t vocabulary = plain_.model->config().vocabulary;
    Request r;
    const int32_t alike = n % 3;  // prompts of one group begin alike
    for (int32_t i = 0; i < setting_.prompt + n % 17; ++i)
      r.prompt.push_back((i < setting_.prompt - 4 ? alike * 131 + i % 9 : n * 17 + i) % vocabulary);
    r.maxTokens = setting_.answer;
    r.seed = static_cast<uint64_t>(n);
    r.temperature = n % 2 == 0 ? 0.0f : 0.8f;
    r.maxLookahead = 1 + n % 8;
    return r;
  }

  /// All that was said and some more.
  Request nextTurn(const Request& before, const std::vector<int32_t>& answer) const {
    Request r = before;
    r.prompt.insert(r.prompt.end(), answer.begin(), answer.end());
    r.prompt.insert(r.prompt.end(), before.prompt.begin() + 3, before.prompt.begin() + 8);
    r.maxTokens = setting_.answer / 2;
    ++r.seed;
    return r;
  }

  /// Plainly decoded, one at a time, nothing shared: all requests, then a turn after each. Ids count from 1.
  void addTurns(PhasesEngine& engine, std::vector<Request>& requests) const {
    for (int32_t n = 0; n < 2 * setting_.requests; ++n) {
      Request r = n < setting_.requests
                      ? request(n)
                      : nextTurn(requests[n - setting_.requests], engine.got[n - setting_.requests + 1]);
      requests.push_back(r);
      r.speculate = false;
      r.tenant = "alone " + std::to_string(n);
      engine.submit(n + 1, r);
      engine.run();
      CHECK(engine.cached == 0);
      engine.finish(n + 1);
    }
  }

  /// A turn's requests together, each drafted for by another one.
  void runTurn(PhasesEngine& engine, int32_t turn) const {
    const DrafterId drafters[] = {DrafterId::head, DrafterId::recall, DrafterId::adversarial, DrafterId::suffix};
    const int32_t first = turn * setting_.requests;
    for (int32_t n = 0; n < setting_.requests; ++n) {
      Request r = requests_[first + n];
      r.force = static_cast<int32_t>(drafters[n % 4]);
      r.speculate = n % 5 != 4;
      engine.submit(first + n + 1, r);
      if (n % 2 == 1) engine.core->step();  // they join in the middle of things
    }
    engine.run();
    for (int32_t n = 0; n < setting_.requests; ++n) engine.finish(first + n + 1);
  }

  void runTurnsOfOne(PhasesEngine& engine, DrafterId drafter, bool hit) const {
    for (const int32_t id : {1, setting_.requests + 1}) {
      Request r = requests_[id - 1];
      r.force = static_cast<int32_t>(drafter);
      r.learned = false;
      if (!hit) r.tenant = std::to_string(id);
      engine.drafts.clear(), engine.confidences.clear();
      engine.submit(id, r);
      engine.run();
      engine.finish(id);
    }
    const auto prompt = static_cast<int64_t>(requests_[0].prompt.size());
    CHECK(engine.cached == (hit ? prompt / kPageSize * kPageSize : 0));
    checkPlain(engine);
  }

  /// Texts and states of all sequences are those of plain decoding.
  void checkPlain(const PhasesEngine& engine) const {
    for (const auto& [id, tokens] : engine.got) CHECK(tokens == plain_.got.at(id));
    for (const auto& [id, rows] : engine.states.seen)
      for (const auto& [position, row] : rows) CHECK(States::sameBits(row, plain_.states.seen.at(id).at(position)));
  }

  /// Pages for one sequence of full length, `spare` more, and scratch.
  size_t kvBytes(int spare) const {
    const HeadRig& rig = PhasesEngine::head();
    const ModelConfig& config = rig.target.config();
    const size_t layers = config.layers + rig.shape.layers;
    const size_t side = kHeadFeatures + rig.shape.fused * rig.shape.width * 2;
    const size_t page = (4 * layers * config.kvHeads * config.headDim + side) * kPageSize;
    return page * (setting_.context / kPageSize + kMaxDraftRows / kPageSize + spare);
  }

  const PhasesSetting setting_;
  PhasesEngine plain_;
  std::vector<Request> requests_;
};

}  // namespace foretoken::test
