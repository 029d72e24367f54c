#include "engine/outcomes.h"

#include <algorithm>
#include <utility>

#include "common/error.h"

namespace foretoken {

void Outcomes::clear() {
  rounds.clear();
  steps.clear();
  tokens.clear();
  draftConfidence.clear();
  draftChance.clear();
  draftOutcome.clear();
  logprobs.clear();
  asks.clear();
  recorded.clear();
  recordedNodes.clear();
  recordedConfidence.clear();
  finished.clear();
  errors.clear();
  begun = false;
}

void Outcomes::reserve(size_t tokenCount, size_t nodeCount) {
  rounds.reserve(tokenCount);
  steps.reserve(tokenCount);
  tokens.reserve(tokenCount);
  draftConfidence.reserve(nodeCount);
  draftChance.reserve(nodeCount);
  draftOutcome.reserve(nodeCount);
  asks.reserve(tokenCount);
}

void Outcomes::lose(const std::exception& error) {
  const auto fail = [&](int32_t sequence) {
    const auto isIt = [&](const SequenceFailure& failure) { return failure.sequence == sequence; };
    if (std::none_of(errors.begin(), errors.end(), isIt)) errors.push_back({sequence, errorCode(error), error.what()});
  };
  for (const StepRecord& step : steps) fail(step.sequence);
  for (const RecordedDraft& draft : recorded) fail(draft.sequence);
  for (const FinishedRecord& record : finished) fail(record.sequence);
  std::list<SequenceFailure> failures = std::move(errors);
  clear();
  errors = std::move(failures);
}

Outcomes::Mark Outcomes::mark() const {
  return {steps.size(), tokens.size(),   draftOutcome.size(), logprobs.size(),
          asks.size(),  recorded.size(), recordedNodes.size()};
}

void Outcomes::cut(const Mark& mark) {
  const auto shorten = [](auto& table, size_t size) { table.erase(table.begin() + size, table.end()); };
  shorten(steps, mark.steps);
  shorten(tokens, mark.tokens);
  shorten(draftConfidence, mark.drafted);
  shorten(draftChance, mark.drafted);
  shorten(draftOutcome, mark.drafted);
  shorten(logprobs, mark.logprobs);
  shorten(asks, mark.asks);
  shorten(recorded, mark.recorded);
  shorten(recordedNodes, mark.recordedNodes);
  shorten(recordedConfidence, mark.recordedNodes);
}

}  // namespace foretoken
