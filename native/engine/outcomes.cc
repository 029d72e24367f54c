#include "engine/outcomes.h"

#include <algorithm>

namespace foretoken {

bool Outcomes::isUrgent() const {
  return !finished.empty() || !errors.empty() ||
         std::any_of(rounds.begin(), rounds.end(), [](const RoundRecord& round) { return round.prefillRows > 0; });
}

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
