// cp.async: copies from global to shared memory that a thread issues, commits in groups and waits for. Until the wait
// the target is poison where the copy is late.
#pragma once
#include <utility>

#include "cuda/simt/block.h"
#include "cuda/simt/shared.h"

namespace foretoken::simt {

/// `bytes` are filled: the first `valid` of them from `from`, zeros behind.
inline void copyAsync(void* to, const void* from, int bytes, int valid, const Where& where) {
  if (reinterpret_cast<uintptr_t>(to) % bytes != 0 || reinterpret_cast<uintptr_t>(from) % bytes != 0)
    block->fail("cp.async between addresses that are no multiple of its size", where);
  auto copy = [=] {
    std::memcpy(to, from, static_cast<size_t>(valid));
    std::memset(static_cast<unsigned char*>(to) + valid, 0, static_cast<size_t>(bytes - valid));
  };
  if (block->atOnce()) return copy();
  std::memset(to, kPoison, static_cast<size_t>(bytes));
  block->self().openCopies.push_back(copy);
}

inline void commitCopies() {
  Thread& self = block->self();
  self.copyGroups.push_back(std::exchange(self.openCopies, {}));
}

/// Until at most `left` of the thread's groups are under way.
inline void waitForCopies(int left) {
  auto& groups = block->self().copyGroups;
  while (static_cast<int>(groups.size()) > left) {
    for (const auto& copy : groups.front()) copy();
    groups.erase(groups.begin());
  }
}

}  // namespace foretoken::simt
