// Rounds of one sequence as the planner would have run them along a text whose drafts are known at every position
// (Recorder, or made up): for simulating policies without a model. Who drafts and what is verified is decided, and what
// becomes of it is counted, by the code that does so in the engine. The head, which is asked by other rules, takes no
// part.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "engine/fates.h"
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
  /// From the text's second token on: the first one comes with the prompt's pass. The text has to outlive it.
  explicit Replay(const ReplayText& text);
  /// At most `rounds` rounds more; appends what they would have told, without seconds. Throws Error where the text does
  /// not hold the drafts that it lists.
  void run(const Policy& policy, int32_t rounds, Outcomes& out);
  /// Tokens of the answer that have come.
  int32_t position() const { return position_; }

 private:
  void load(const Beliefs& beliefs);
  Verified record(const Beliefs& beliefs, int chosen, Outcomes& out);

  const ReplayText text_;
  const std::vector<int32_t> said_;  ///< stands for the text
  int32_t position_;
  Planner planner_;
  OpenDrafts open_;
  TextTrust trust_;
  std::vector<DraftNode> nodes_;
  std::vector<float> survival_;
  std::vector<uint8_t> selected_;
  std::vector<PlanEntry> entries_;
};

}  // namespace foretoken
