// A drafter that means harm: for tests and `bench lossless`, never for serving. It cycles through random chains, near
// misses (a suffix draft with one token flipped), random trees, and trees whose likely path is hidden behind random
// siblings, so that wrong drafts, right drafts and right drafts off the main chain all occur.
#pragma once
#include <cstdint>
#include <span>

#include "speculate/drafter.h"
#include "speculate/suffix.h"

namespace foretoken {

class AdversarialDrafter final : public Drafter {
 public:
  /// `suffix` supplies plausible tokens; tokens are drawn below `vocabulary`.
  AdversarialDrafter(SuffixDrafter* suffix, int32_t vocabulary, uint64_t seed);
  DrafterId id() const override { return DrafterId::adversarial; }
  int draft(const DraftInput& input, std::span<DraftNode> out) override;

 private:
  uint64_t next();
  int32_t token();
  int randomChain(const DraftInput& input, std::span<DraftNode> out);
  int randomTree(const DraftInput& input, std::span<DraftNode> out);
  int nearMiss(const DraftInput& input, std::span<DraftNode> out);
  int hiddenPath(const DraftInput& input, std::span<DraftNode> out);

  SuffixDrafter* suffix_;
  int32_t vocabulary_;
  uint64_t state_;
  int round_ = 0;
};

}  // namespace foretoken
