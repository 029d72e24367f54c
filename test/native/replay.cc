// Rounds replayed along a recorded text are those that the engine runs there with the same table, where nobody drafts
// who listens to passes.
#include "engine/replay.h"

#include "check.h"
#include "engine/core.h"
#include "fake_model.h"

namespace foretoken {
namespace {

constexpr int kContext = 256;

/// Everything that one request without the head told.
void decode(const Request& request, const Policy& policy, Outcomes& out) {
  test::FakeBackend backend;
  EngineOptions options;
  options.maxSequences = 1;
  options.maxRows = 128;
  options.runAhead = 1000;
  EngineCore core(backend, std::make_shared<test::FakeModel>(backend, kContext), options);
  core.setOutput(&out);
  core.setPolicy(nullptr, policy);
  core.submit(std::make_unique<Sequence>(1, request, core.contextLength(), test::kFakeVocabulary, true));
  while (core.step()) continue;
}

Request request(int32_t first) {
  Request r;
  for (int32_t i = 0; i < 40; ++i) r.prompt.push_back((first + i * i) % test::kFakeVocabulary);
  r.maxTokens = 200;
  r.maxLookahead = 8;
  r.prediction = test::fakeDecode(r, kContext);
  for (size_t i = 5; i < r.prediction.size(); i += 11) r.prediction[i] = (r.prediction[i] + 1) % test::kFakeVocabulary;
  return r;
}

Policy policyOf(float acceptance, float tableWeight) {
  Policy policy;
  policy.tableWeight = tableWeight;
  for (const DrafterId which : {DrafterId::suffix, DrafterId::prediction})
    policy.allowed[static_cast<int>(which)] = true;
  for (auto& drafter : policy.acceptance)
    for (auto& depth : drafter)
      for (int knot = 0; knot < kPolicyKnots; ++knot)
        depth[knot] = acceptance * static_cast<float>(knot + 1) / kPolicyKnots;
  for (int rows = 0; rows < 32; ++rows) policy.passSeconds.push_back(1 + 0.05f * static_cast<float>(rows));
  return policy;
}

void replaysWhatTheEngineDoes() {
  int64_t drafted = 0;
  for (int32_t first = 0; first < 8; ++first) {
    Request recording = request(first);
    recording.record = true;
    Outcomes recorded;
    decode(recording, policyOf(0, 0), recorded);
    std::vector<int32_t> firstDraft(201), drafts;
    int32_t position = 0, node = 0;
    for (size_t d = 0; d < recorded.recorded.size(); ++d) {
      const RecordedDraft& draft = recorded.recorded[d];
      while (position <= draft.start - 40) firstDraft[position++] = static_cast<int32_t>(d);
      drafts.insert(drafts.end(), {draft.drafter, node});
      node += draft.nodes;
    }
    while (position <= 200) firstDraft[position++] = static_cast<int32_t>(recorded.recorded.size());
    drafts.insert(drafts.end(), {0, node});
    const ReplayText text{40, firstDraft, drafts, recorded.recordedNodes, recorded.recordedConfidence};
    for (const float acceptance : {0.3f, 0.6f, 0.95f}) {
      std::vector<float> chances;  // of two policies that differ in how much a text itself says
      for (const float tableWeight : {0.0f, 10.0f}) {
        const Policy policy = policyOf(acceptance, tableWeight);
        Outcomes live, out;
        decode(request(first), policy, live);
        Replay replay(text);
        while (replay.position() < 200) replay.run(policy, 7, out);
        CHECK(out.steps.size() + 1 == live.steps.size());  // the first token comes with the prompt's pass
        for (size_t s = 0; s < std::min(out.steps.size(), live.steps.size() - 1); ++s) {
          const StepRecord &one = out.steps[s], &other = live.steps[s + 1];
          CHECK(one.tokenCount == other.tokenCount && one.accepted == other.accepted && one.drafter == other.drafter);
          CHECK(one.draftOffset == other.draftOffset && one.draftCount == other.draftCount);
          CHECK(one.expected == other.expected);
          CHECK(out.rounds[s].rows == live.rounds[other.round].rows);
          CHECK(out.rounds[s].contextTokens == live.rounds[other.round].contextTokens);
          drafted += static_cast<int64_t>(out.rounds[s].rows) - 1;
        }
        CHECK(out.draftOutcome == live.draftOutcome && out.draftConfidence == live.draftConfidence);
        CHECK(out.draftChance == live.draftChance);
        CHECK(out.draftChance != chances);
        chances = out.draftChance;
      }
    }
  }
  CHECK(drafted > 1000);
}

}  // namespace
}  // namespace foretoken

int main() {
  foretoken::replaysWhatTheEngineDoes();
  return foretoken::test::finish("replay");
}
