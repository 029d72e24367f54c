// What a head can draft, laid out for one target: where tokens are, and output rows that are not the target tables'
// own, because the head drafts other tokens there or adds something to them.
#pragma once
#include <vector>

#include "learn/learned_head.h"

namespace foretoken::learn {

class DraftRows {
 public:
  DraftRows(const HeadRows& head, const train::TargetTables& target);

  /// The draft index of a token; the size of the vocabulary where it has none.
  int32_t place(int32_t token) const { return place_[token]; }
  /// Of logits that the tables' rows gave, those of this head's rows: made in `out`, or as they are where none differs.
  const train::SlotLogits& correct(train::Ops& ops, int64_t width, const train::SlotLogits& slots,
                                   train::SlotLogits& out) const;

 private:
  std::vector<int32_t> place_;
  std::vector<int32_t> others_;  ///< draft indices with rows of their own
  train::Floats row_;            ///< [others, width]
};

}  // namespace foretoken::learn
