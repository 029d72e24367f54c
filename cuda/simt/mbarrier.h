// mbarrier: eight bytes in shared memory that count arrivals and bytes of asynchronous copies. A phase is over when all
// arrivals and all announced bytes are there; then the parity changes and counting begins anew.
#pragma once
#include "cuda/simt/block.h"
#include "cuda/simt/shared.h"

namespace foretoken::simt {

/// Bytes from the start of dynamic shared memory, as descriptors and copies name them.
inline uint32_t sharedOffset(const void* address, const Where& where) {
  const auto offset = static_cast<const unsigned char*>(address) - dynamicSharedMemory();
  if (offset < 0 || offset >= static_cast<int64_t>(dynamicSharedBytes()))
    block->fail("an address that is not in dynamic shared memory", where);
  return static_cast<uint32_t>(offset);
}

struct Mbarrier {
  int32_t bytes;     ///< announced and not yet there; below zero where they came first
  uint8_t pending;   ///< arrivals still to come
  uint8_t arrivals;  ///< of each phase
  uint8_t parity;    ///< of the phase that goes on
  uint8_t alive;     ///< kAlive once initialised
  static constexpr uint8_t kAlive = 0x5a;

  void check() {
    if (pending != 0 || bytes != 0) return;
    pending = arrivals;
    parity ^= 1;
  }
};
static_assert(sizeof(Mbarrier) == sizeof(uint64_t));

inline Mbarrier& mbarrier(uint64_t* at, const Where& where) {
  auto& barrier = *reinterpret_cast<Mbarrier*>(at);
  if (barrier.alive != Mbarrier::kAlive) block->fail("an mbarrier that nobody initialised", where);
  return barrier;
}

inline void initMbarrier(uint64_t* at, int arrivals) {
  *reinterpret_cast<Mbarrier*>(at) = {0, static_cast<uint8_t>(arrivals), static_cast<uint8_t>(arrivals), 0,
                                      Mbarrier::kAlive};
}

inline void arriveMbarrier(uint64_t* at, int32_t bytes, const Where& where) {
  Mbarrier& barrier = mbarrier(at, where);
  if (barrier.pending == 0) block->fail("more arrivals at an mbarrier than it was made for", where);
  barrier.bytes += bytes;
  --barrier.pending;
  barrier.check();
  block->maybePoll("mbarrier.arrive", where);
}

/// Until the phase of this parity is over.
inline void waitMbarrier(uint64_t* at, uint32_t parity, const Where& where) {
  const Mbarrier& barrier = mbarrier(at, where);
  block->waitUntil([&] { return barrier.parity != parity; }, "mbarrier", where);
}

}  // namespace foretoken::simt
