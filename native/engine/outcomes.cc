#include "engine/outcomes.h"

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
