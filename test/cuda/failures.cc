// A device fails, or has no memory left, at any call of the runtime: while a model is loaded, and below an engine that
// decodes with drafts. What fails says so with a code, nothing ends the process, what was lost is not taken for what is
// there, and an engine that lives elsewhere goes on. A lack of memory passes: the same engine decodes on.
#include <optional>

#include "test/cuda/backend_rig.h"
#include "test/cuda/schedules.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;
using simt::Call;
using simt::Fault;
using simt::faults;
using Texts = std::map<int32_t, std::vector<int32_t>>;

constexpr int32_t kRequests = 3, kTokens = 10;

Request request(int32_t n, int32_t vocabulary) {
  Request r;
  for (int32_t i = 0; i < 18 + 9 * n; ++i) r.prompt.push_back((n * 31 + i % (5 + n)) % vocabulary);
  r.maxTokens = kTokens;
  r.seed = static_cast<uint64_t>(n);
  r.logprobs = n == 0 ? 2 : -1;
  if (n == 1) r.temperature = 0.8f, r.topP = 0.9f;
  constexpr DrafterId kForced[] = {DrafterId::head, DrafterId::recall, DrafterId::adversarial};
  r.force = static_cast<int32_t>(kForced[n]);
  return r;
}

const HeadRig& head() {
  static const HeadRig rig("tied-f16.gguf");
  return rig;
}

/// Prompts in pieces, so that sequences are at different points when something fails; in fp8, so that they meet
/// products of all kinds.
EngineRig engineOn(std::unique_ptr<Backend> backend) {
  static Texted sink;
  EngineOptions options = engineOptions(kRequests);
  options.prefillChunk = 24, options.prefillChunkBeside = 7;
  return {"fp8", options,
          [](EngineOptions& engine, const Model& target, Backend& packing) {
            engine.head = std::make_shared<const HeadWeights>(head().source(), target, packing);
            engine.textSink = &sink;
          },
          std::move(backend)};
}

struct Served {
  Texts texts;
  std::map<int32_t, std::string> errors;
};

/// All requests together. Once one has failed, the next one is ended by its caller.
Served serve(EngineRig& engine) {
  Served served;
  for (int32_t n = 0; n < kRequests; ++n) engine.submit(n, request(n, engine.model->config().vocabulary));
  for (bool worked = true; worked;) {
    worked = engine.core->step();
    for (const StepRecord& step : engine.out.steps)
      for (int32_t t = 0; t < step.tokenCount; ++t)
        served.texts[step.sequence].push_back(engine.out.tokens[step.tokenOffset + t]);
    if (served.errors.empty() && !engine.out.errors.empty()) {
      const int32_t next = (engine.out.errors.front().sequence + 1) % kRequests;
      engine.core->finish(next, static_cast<int32_t>(served.texts[next].size()));
    }
    for (const auto& error : engine.out.errors) served.errors[error.sequence] = error.code;
    engine.out.clear();
  }
  for (int32_t n = 0; n < kRequests; ++n) engine.core->finish(n, kTokens);
  return served;
}

const Texts& expected() {
  static const Texts texts = [] {
    EngineRig engine = engineOn(cudaBackend());
    const Served served = serve(engine);
    CHECK(served.errors.empty() && served.texts.size() == kRequests);
    return served.texts;
  }();
  return texts;
}

/// Whoever failed did so with this code, and all others have what they should, as far as they came.
void checkServed(const Served& served, const std::string& code) {
  for (const auto& [id, found] : served.errors) CHECK(found == code);
  for (const auto& [id, text] : served.texts) {
    const auto& whole = expected().at(id);
    CHECK(text.size() <= whole.size() && std::equal(text.begin(), text.end(), whole.begin()));
    CHECK(text.size() == whole.size() || !served.errors.empty());
  }
}

/// What loading ends with; empty where nothing is in the way.
std::string loadError() {
  try {
    engineOn(cudaBackend());
  } catch (const Error& error) {
    return error.code();
  }
  return "";
}

/// Calls body(fault) for faults at one call after the other, until it says that one was not met.
void forFaults(std::optional<Call> of, cudaError_t error, int64_t stride, const std::function<bool(Fault)>& body) {
  if (longRun()) stride = std::max<int64_t>(1, stride / 8);
  int64_t after = 0;
  while (body({of, after, error})) after += stride;
  CHECK(after > 0);
}

void testLoading() {
  forFaults(Call::allocate, cudaErrorMemoryAllocation, 24, [](Fault fault) {
    faults.arm(fault);
    const std::string code = loadError();
    const bool met = faults.mend();
    CHECK(code == (met ? "OUT_OF_MEMORY" : ""));
    CHECK(loadError().empty());
    return met;
  });
  forFaults({}, cudaErrorIllegalAddress, 120, [](Fault fault) {
    faults.arm(fault);
    const std::string code = loadError();
    CHECK(code == "CUDA_ERROR" || code.empty());
    CHECK(code.empty() || loadError() == "CUDA_ERROR");  // a lost device stays lost
    return faults.mend();
  });
  CHECK(loadError().empty());
}

/// The device is lost below an engine that decodes.
void testLost() {
  const std::pair<Call, int64_t> ways[] = {
      {Call::allocate, 16}, {Call::copy, 64}, {Call::launch, 250}, {Call::wait, 40}, {Call::other, 400}};
  for (const auto& [of, stride] : ways)
    forFaults(of, cudaErrorIllegalAddress, stride, [](Fault fault) {
      EngineRig engine = engineOn(cudaBackend());
      faults.arm(fault);
      checkServed(serve(engine), "CUDA_ERROR");
      return faults.mend();
    });
}

/// Memory is lacking once below an engine that decodes: some requests end, and when they are asked again all is well.
void testLackOfMemory() {
  forFaults(Call::allocate, cudaErrorMemoryAllocation, 5, [](Fault fault) {
    EngineRig engine = engineOn(cudaBackend());
    faults.arm(fault);
    checkServed(serve(engine), "OUT_OF_MEMORY");
    const bool met = faults.mend();
    const Served again = serve(engine);
    CHECK(again.errors.empty() && again.texts == expected());
    return met;
  });
}

/// What is computed elsewhere does not notice.
void testElsewhere() {
  EngineRig elsewhere = engineOn(createCpuBackend({2, ""}));
  const Texts there = serve(elsewhere).texts;
  EngineRig engine = engineOn(cudaBackend());
  faults.arm({Call::wait, 3, cudaErrorIllegalAddress});
  CHECK(serve(engine).errors.size() > 0);
  const Served meanwhile = serve(elsewhere);
  CHECK(meanwhile.errors.empty() && meanwhile.texts == there);
  CHECK(faults.mend());
}

}  // namespace

int main() {
  expected();
  testLoading();
  testLost();
  testLackOfMemory();
  testElsewhere();
  return finish("failures");
}
