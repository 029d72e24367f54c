// What a head can draft, laid out for one target: where tokens are, and output rows that are not the target tables'
// own, because the head drafts other tokens there or adds something to them.
#pragma once
#include <vector>

#include "train/block_head.h"

namespace foretoken::learn {

class DraftRows {
 public:
  DraftRows(const train::HeadNumbers& head, const train::TargetTables& target);

  /// The draft index of a token; the size of the vocabulary where it has none.
  int32_t place(int32_t token) const { return place_[token]; }
  /// Logits that the tables' rows gave become those of this head's rows.
  void correct(train::Ops& ops, int64_t width, train::SlotLogits& slots) const;

 private:
  std::vector<int32_t> place_;
  std::vector<int32_t> others_;  ///< draft indices with rows of their own
  train::Floats row_;            ///< [others, width]
};

}  // namespace foretoken::learn
