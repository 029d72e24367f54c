#include "learn/draft_rows.h"

#include <algorithm>

namespace foretoken::learn {

DraftRows::DraftRows(const HeadRows& head, const train::TargetTables& target)
    : place_(train::placesOf(head.draft, static_cast<int64_t>(target.place.size()))) {
  const std::vector<int32_t>& moved = head.delta.place;
  std::vector<int32_t> tokens;
  for (int32_t p = 0; p < static_cast<int32_t>(head.draft.size()); ++p) {
    if (head.draft[p] == target.draft[p] && !std::binary_search(moved.begin(), moved.end(), p)) continue;
    others_.push_back(p);
    tokens.push_back(head.draft[p]);
  }
  if (others_.empty()) return;
  row_ = target.rowsOf(tokens);
  const size_t width = row_.size() / others_.size();
  for (size_t i = 0, d = 0; i < others_.size() && d < moved.size(); ++i) {
    if (others_[i] != moved[d]) continue;
    for (size_t c = 0; c < width; ++c) row_[i * width + c] += head.delta.row[d * width + c];
    ++d;
  }
}

const train::SlotLogits& DraftRows::correct(train::Ops& ops, int64_t width, const train::SlotLogits& slots,
                                            train::SlotLogits& out) const {
  if (others_.empty()) return slots;
  out = slots;
  const auto rows = static_cast<int64_t>(slots.state.size()) / width, others = static_cast<int64_t>(others_.size());
  const auto vocabulary = static_cast<int64_t>(slots.logits.size()) / rows;
  train::Floats logits(rows * others);
  ops.linear(slots.state.data(), row_.data(), rows, width, others, logits.data());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < others; ++i) out.logits[r * vocabulary + others_[i]] = logits[r * others + i];
  return out;
}

}  // namespace foretoken::learn
