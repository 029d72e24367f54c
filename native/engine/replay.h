// Rounds of one sequence as the planner would have run them along a text whose drafts are known at every position
// (Recorder, or made up): for simulating policies without a model. Who drafts and what is verified is decided by the
// code that decides it in the engine. The head, which is asked by other rules, takes no part.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "engine/outcomes.h"
#include "speculate/plan.h"

namespace foretoken {

/// A text of which all drafts are known, laid out as lib/native.ts says (NativeReplayText).
struct ReplayText {
  int32_t promptTokens;
  std::span<const int32_t> firstDraft;  ///< [tokens + 1]
  std::span<const int32_t> drafts;      ///< [drafts + 1][drafter, first node]
  std::span<const uint8_t> nodes;
  std::span<const float> confidence;
  int32_t tokens() const { return static_cast<int32_t>(firstDraft.size()) - 1; }
};

class Replay {
 public:
  Replay();
  /// At most `rounds` rounds from `position` (tokens of the answer before it) on; appends what they would have told,
  /// without seconds, and returns where the next one begins. What comes later decides labels of unverified tokens at
  /// once. Throws Error where a text does not hold the drafts that it lists.
  int32_t run(const Policy& policy, const ReplayText& text, int32_t position, int32_t rounds, Outcomes& out);

 private:
  void load(const ReplayText& text, int32_t position, const Beliefs& beliefs);
  int32_t record(const ReplayText& text, int32_t position, int count, int chosen, Outcomes& out);

  Planner planner_;
  std::vector<DraftNode> nodes_;
  std::vector<float> survival_;
  std::vector<uint8_t> selected_, right_;
  std::vector<PlanEntry> entries_;
};

}  // namespace foretoken
