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
  finished.reserve(64);
}

}  // namespace foretoken
