// The arrays of one pass, allocated once.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "backend.h"
#include "kv/pages.h"

namespace foretoken {

class PassBuilder {
 public:
  PassBuilder(int32_t maxRows, int32_t maxSequences, int32_t maxAncestors);

  /// `prompts`: as in Pass.
  void begin(bool prompts);
  /// Names a sequence's page table; valid while the table is not changed. Returns its index.
  int32_t addSequence(const PageTable& table);
  /// A row in its sequence's own pages: it attends to positions 0 .. position.
  int32_t addInPlace(int32_t sequence, int32_t token, int32_t position, int32_t slot, bool logits);
  /// A row in a side slot, below the row `parent` of the same sequence.
  int32_t addBeside(int32_t sequence, int32_t token, int32_t parent, int32_t slot, bool logits);
  const Pass& finish();

  int32_t rows() const { return static_cast<int32_t>(token_.size()); }
  int32_t slot(int32_t row) const { return slot_[row]; }
  int32_t position(int32_t row) const { return position_[row]; }
  int32_t token(int32_t row) const { return token_[row]; }
  bool beside(int32_t row) const { return ancestorBegin_[row + 1] > ancestorBegin_[row]; }
  int32_t logitRows() const { return static_cast<int32_t>(logitRow_.size()); }
  /// Sum over rows of the positions attended to.
  int64_t contextTokens() const { return contextTokens_; }
  bool ofPrompts() const { return pass_.prompts; }

 private:
  int32_t add(int32_t sequence, int32_t token, int32_t position, int32_t slot, int32_t base, bool logits);

  Pass pass_;
  std::vector<int32_t> token_, position_, slot_, sequence_, base_, ancestorBegin_, ancestors_, logitRow_;
  std::vector<const int32_t*> pages_;
  int64_t contextTokens_ = 0;
};

}  // namespace foretoken
