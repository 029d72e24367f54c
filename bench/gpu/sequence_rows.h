// Rows of one sequence, put together one by one: a pass of any kind.
#pragma once
#include <numeric>
#include <vector>

#include "backend.h"

namespace foretoken::bench {

/// Its pages are in descending order.
struct SequenceRows {
  explicit SequenceRows(int pages) : table(static_cast<size_t>(pages)) { std::iota(table.rbegin(), table.rend(), 0); }
  int32_t slotOf(int32_t position) const { return table[position / kPageSize] * kPageSize + position % kPageSize; }
  void clear() { position.clear(), slot.clear(), base.clear(), ancestors.clear(), ancestorBegin.assign(1, 0); }
  /// A row at a position, in a slot, that sees `from` positions of the pages and the slots of `path` behind them.
  void add(int32_t at, int32_t place, int32_t from, const std::vector<int32_t>& path) {
    position.push_back(at), slot.push_back(place), base.push_back(from);
    ancestors.insert(ancestors.end(), path.begin(), path.end());
    ancestorBegin.push_back(static_cast<int32_t>(ancestors.size()));
  }
  /// What was added; it refers to this.
  Pass pass(bool prompts) {
    sequence.assign(position.size(), 0), pages = table.data();
    Pass result;
    result.rows = static_cast<int>(position.size());
    result.token = sequence.data(), result.position = position.data(), result.slot = slot.data();
    result.sequence = sequence.data(), result.base = base.data(), result.pages = &pages;
    result.ancestorBegin = ancestorBegin.data(), result.ancestors = ancestors.data(), result.prompts = prompts;
    return result;
  }

  std::vector<int32_t> table, position, slot, sequence, base, ancestors, ancestorBegin{0};
  const int32_t* pages = nullptr;
};

}  // namespace foretoken::bench
