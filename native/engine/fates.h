// What becomes of the tokens that were drafted for one sequence in a round, and what the text says later of those that
// were not verified: told in outcomes, and counted in how far the text keeps what the table says. The engine and the
// replay of recorded texts do this alike.
#pragma once
#include <cmath>
#include <cstdint>
#include <span>

#include "engine/outcomes.h"
#include "speculate/open_drafts.h"
#include "speculate/plan.h"
#include "speculate/text_trust.h"

namespace foretoken {

/// One sequence after a round.
struct Emitted {
  std::span<const int32_t> text;  ///< all of it
  int32_t start;                  ///< its length before the round
  const Beliefs& beliefs;         ///< by which the round was planned
  OpenDrafts& open;
  TextTrust& trust;
};

/// What was verified of a draft.
struct Verified {
  int32_t nodes = 0, accepted = 0;
  double expected = 0;  ///< of them to be accepted, by the plan
  /// As in StepRecord.
  int32_t expectedMillionths() const { return static_cast<int32_t>(std::lround(1e6 * expected)); }
};

/// Says of every verified node what became of it, and keeps the others that may come true yet until that is known.
/// `row`: of each node, -1 = not in the pass; null = none of them is.
Verified recordDraft(const Emitted& emitted, const PlanEntry& draft, const int32_t* row, Outcomes& out);

/// Says of unverified nodes, of this round and of earlier ones, what the text says now that it has grown.
void recordUnverified(const Emitted& emitted, Outcomes& out);

}  // namespace foretoken
