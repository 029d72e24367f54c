// Counts of what callers got. It lives on the receiver's side and sees batches as they arrive, so that what was decoded
// past a cut is never counted, whatever the engine thread has done meanwhile.
#pragma once
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "engine/outcomes.h"

namespace foretoken {

class Ledger {
 public:
  struct Counts {
    int64_t tokens = 0, promptTokens = 0, cachedPromptTokens = 0;
    int64_t drafted = 0, accepted = 0,
            rejected = 0;  ///< drafted nodes that were verified; those never reached are in drafted alone
  };

  void open(int32_t sequence, int32_t promptTokens);
  /// A sequence that was opened has not come to be.
  void abandon(int32_t sequence);
  void observe(const Outcomes& batch);
  /// The caller got `count` tokens of the sequence in all: rounds up to there can no longer be cut.
  void consumed(int32_t sequence, int32_t count);
  /// Takes back what came after the first `keep` tokens and closes the account. Unknown sequences are ignored.
  void finish(int32_t sequence, int32_t keep);

  const Counts& counts() const { return counts_; }
  /// Sequences that have not ended yet.
  int32_t running() const { return running_; }

 private:
  struct Step {
    int32_t begin, tokens, drafted, accepted, rejected;
  };
  struct Account {
    int32_t promptTokens = 0, emitted = 0;
    bool ended = false, closed = false;
    std::vector<Step> steps;  ///< those that a cut can still reach
  };
  void add(const Step& step, int sign, int32_t tokens, int32_t accepted);

  std::unordered_map<int32_t, Account> accounts_;
  Counts counts_;
  int32_t running_ = 0;
};

}  // namespace foretoken
