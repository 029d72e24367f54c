// The engine on a real (tiny) model and the CPU backend: drafted, batched, sharing prefixes, on few pages, every
// sequence gets the bits of plain decoding one at a time.
#include "engine_rig.h"

namespace foretoken {
namespace {

using test::engineOptions;
using test::kContext;

struct Loaded : test::EngineRig {
  using EngineRig::EngineRig;
  void run() {
    EngineRig::run([&](const StepRecord& step) {
      for (int32_t i = 0; i < step.draftCount; ++i) drafted += !isShadow(out.draftOutcome[step.draftOffset + i]);
      accepted += step.accepted;
    });
  }
  int64_t drafted = 0, accepted = 0;
};

Request request(int32_t n, int32_t vocabulary) {
  Request r;
  const int32_t shared = n % 3;  // prompts of one group begin alike
  for (int32_t i = 0; i < 40 + n % 17; ++i)
    r.prompt.push_back((i < 36 ? shared * 131 + i % 9 : n * 17 + i) % vocabulary);
  r.maxTokens = 60;
  r.seed = static_cast<uint64_t>(n);
  r.temperature = n % 2 == 0 ? 0.0f : 0.8f;
  r.topK = n % 4 == 1 ? 20 : 0;
  r.repetitionPenalty = n % 5 == 0 ? 1.2f : 1.0f;
  r.maxLookahead = 8;
  return r;
}

void equalsPlainDecoding(const std::string& weights) {
  constexpr int kRequests = 15;
  Loaded plain(weights, engineOptions(1));
  const int32_t vocabulary = plain.model->config().vocabulary;
  for (int32_t n = 0; n < kRequests; ++n) {
    Request r = request(n, vocabulary);
    r.speculate = false;
    plain.submit(n + 1, r);
    plain.run();
  }
  EngineOptions crowded = engineOptions(4);
  crowded.prefillChunk = 24;
  crowded.prefillChunkBeside = 7;
  const ModelConfig& config = plain.model->config();
  const size_t slot = static_cast<size_t>(4) * config.layers * config.kvHeads * config.headDim + kKeyWidth;
  const size_t page = slot * kPageSize;
  crowded.kvBytes = page * (kContext / kPageSize + kMaxDraftRows / kPageSize + 8);
  Loaded drafting(weights, crowded);
  for (int32_t n = 0; n < kRequests; ++n) {
    Request r = request(n, vocabulary);
    r.force = static_cast<int32_t>(n % 3 == 0   ? DrafterId::suffix
                                   : n % 3 == 1 ? DrafterId::recall
                                                : DrafterId::adversarial);
    drafting.submit(n + 1, r);
    if (n % 2 == 1) drafting.core->step();  // they join in the middle of things
  }
  drafting.run();
  CHECK(drafting.got == plain.got);
  CHECK(plain.drafted == 0 && drafting.drafted > 1000 && drafting.accepted > 50);
  std::printf("%s: drafted %lld, accepted %lld\n", weights.c_str(), static_cast<long long>(drafting.drafted),
              static_cast<long long>(drafting.accepted));
}

}  // namespace
}  // namespace foretoken

int main() {
  for (const char* weights : {"auto", "fp8", "nvfp4"}) foretoken::equalsPlainDecoding(weights);
  return foretoken::test::finish("engine_model");
}
