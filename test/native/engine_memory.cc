// No memory for what would be remembered: the text is not, the request ends as it would have, and nobody else notices.
#include <climits>
#include <map>

#include "check.h"
#include "engine/core.h"
#include "fake_model.h"
#include "starving.h"

namespace foretoken {
namespace {

constexpr int kContext = 6000, kPrompt = 5000, kTokens = 300;
constexpr size_t kLarge = 16 << 10;  ///< bytes; smaller allocations succeed

Request request(int32_t n) {
  Request r;
  for (int32_t i = 0; i < (n % 2 == 0 ? kPrompt : 40); ++i) r.prompt.push_back((n + i * i) % test::kFakeVocabulary);
  r.maxTokens = kTokens;
  r.session = "s";
  r.force = static_cast<int32_t>(DrafterId::suffix);
  return r;
}

/// One text ends while memory for `left` large pieces is there, and another one is being decoded.
void remembersWhatItCan(int left) {
  test::FakeBackend backend;
  const auto model = std::make_shared<test::FakeModel>(backend, kContext);
  EngineOptions options;
  options.maxSequences = 2;
  options.maxRows = 512;
  options.runAhead = 1000;
  EngineCore core(backend, model, options);
  Outcomes out;
  core.setOutput(&out);
  const auto submit = [&](int32_t id) {
    core.submit(std::make_unique<Sequence>(id, request(id), core.contextLength(), test::kFakeVocabulary, true));
  };
  submit(2), submit(3);
  while (out.finished.empty()) core.step();
  test::starve(left, INT_MAX, kLarge);
  core.finish(out.finished.front().sequence, kTokens);
  CHECK(test::feed() || left > 0);
  submit(4);
  while (core.step()) continue;
  std::map<int32_t, std::vector<int32_t>> got;
  for (const StepRecord& step : out.steps)
    for (int32_t i = 0; i < step.tokenCount; ++i) got[step.sequence].push_back(out.tokens[step.tokenOffset + i]);
  for (const int32_t id : {2, 3, 4}) CHECK(got[id] == test::fakeDecode(request(id), kContext));
  for (const int32_t id : {2, 3, 4}) core.finish(id, kTokens);
  core.forget(nullptr, nullptr);
  CHECK(core.counters().indexBytes == 0 && core.counters().pagesUsed == 0 && out.errors.empty());
}

}  // namespace
}  // namespace foretoken

int main() {
  for (int left = 0; left < 50; left += 3) foretoken::remembersWhatItCan(left);
  return foretoken::test::finish("engine_memory");
}
