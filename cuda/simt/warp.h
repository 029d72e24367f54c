// Collectives of a warp: shuffles, votes, sums. All lanes of the mask must take part; what a shuffle reads must be of
// the mask too.
#pragma once
#include "cuda/simt/block.h"

namespace foretoken::simt {

template <class T>
struct ShuffleFrame {
  T value, result;
  int source;
};

template <class T>
T shuffle(uint32_t mask, T value, int source, const char* name, const Where& where) {
  ShuffleFrame<T> frame{value, value, source};
  collective(
      mask, name, frame,
      [&](auto& frames) {
        for (auto* lane : frames) {
          if (!lane) continue;
          if (!frames[lane->source]) block->fail(std::string(name) + " reads a lane outside its mask", where);
          lane->result = frames[lane->source]->value;
        }
      },
      where);
  return frame.result;
}

struct VoteFrame {
  bool yes;
  uint32_t result;
};

inline uint32_t vote(uint32_t mask, bool yes, const char* name, const Where& where) {
  VoteFrame frame{yes, 0};
  collective(
      mask, name, frame,
      [](auto& frames) {
        uint32_t ballot = 0;
        for (int lane = 0; lane < kWarpLanes; ++lane)
          if (frames[lane] && frames[lane]->yes) ballot |= 1u << lane;
        for (auto* lane : frames)
          if (lane) lane->result = ballot;
      },
      where);
  return frame.result;
}

template <class T>
struct ReduceFrame {
  T value, result;
};

/// Integers only, as on the device: their order doesn't matter.
template <class T, class Combine>
T reduce(uint32_t mask, T value, const char* name, Combine combine, const Where& where) {
  ReduceFrame<T> frame{value, value};
  collective(
      mask, name, frame,
      [&](auto& frames) {
        const ReduceFrame<T>* first = nullptr;
        T all{};
        for (auto* lane : frames) {
          if (!lane) continue;
          all = first ? combine(all, lane->value) : lane->value;
          first = lane;
        }
        for (auto* lane : frames)
          if (lane) lane->result = all;
      },
      where);
  return frame.result;
}

template <class T>
struct MatchFrame {
  T value;
  uint32_t result;
};

/// Which lanes bring the same value.
template <class T>
uint32_t match(uint32_t mask, T value, const Where& where) {
  MatchFrame<T> frame{value, 0};
  collective(
      mask, "__match_any_sync", frame,
      [](auto& frames) {
        for (auto* lane : frames)
          for (int other = 0; lane && other < kWarpLanes; ++other)
            if (frames[other] && frames[other]->value == lane->value) lane->result |= 1u << other;
      },
      where);
  return frame.result;
}

inline int lane() { return block->self().lane; }

}  // namespace foretoken::simt

#define FORETOKEN_SIMT_HERE foretoken::simt::Where where = foretoken::simt::Where::current()

inline void __syncwarp(uint32_t mask = ~0u, FORETOKEN_SIMT_HERE) {
  foretoken::simt::vote(mask, false, "__syncwarp", where);
}
template <class T>
T __shfl_sync(uint32_t mask, T value, int source, int width = 32, FORETOKEN_SIMT_HERE) {
  const int base = foretoken::simt::lane() & ~(width - 1);
  return foretoken::simt::shuffle(mask, value, base | (source & (width - 1)), "__shfl_sync", where);
}
template <class T>
T __shfl_xor_sync(uint32_t mask, T value, int lanes, int width = 32, FORETOKEN_SIMT_HERE) {
  const int lane = foretoken::simt::lane(), source = lane ^ lanes;
  const bool later = (source & ~(width - 1)) > (lane & ~(width - 1));
  return foretoken::simt::shuffle(mask, value, later ? lane : source, "__shfl_xor_sync", where);
}
template <class T>
T __shfl_down_sync(uint32_t mask, T value, unsigned delta, int width = 32, FORETOKEN_SIMT_HERE) {
  const int lane = foretoken::simt::lane(), source = lane + static_cast<int>(delta);
  const bool inside = (lane & (width - 1)) + static_cast<int>(delta) < width;
  return foretoken::simt::shuffle(mask, value, inside ? source : lane, "__shfl_down_sync", where);
}
template <class T>
T __shfl_up_sync(uint32_t mask, T value, unsigned delta, int width = 32, FORETOKEN_SIMT_HERE) {
  const int lane = foretoken::simt::lane(), source = lane - static_cast<int>(delta);
  const bool inside = (lane & (width - 1)) >= static_cast<int>(delta);
  return foretoken::simt::shuffle(mask, value, inside ? source : lane, "__shfl_up_sync", where);
}
inline uint32_t __ballot_sync(uint32_t mask, int predicate, FORETOKEN_SIMT_HERE) {
  return foretoken::simt::vote(mask, predicate != 0, "__ballot_sync", where);
}
inline int __any_sync(uint32_t mask, int predicate, FORETOKEN_SIMT_HERE) {
  return foretoken::simt::vote(mask, predicate != 0, "__any_sync", where) != 0;
}
inline int __all_sync(uint32_t mask, int predicate, FORETOKEN_SIMT_HERE) {
  return foretoken::simt::vote(mask, predicate != 0, "__all_sync", where) == mask;
}
template <class T>
uint32_t __match_any_sync(uint32_t mask, T value, FORETOKEN_SIMT_HERE) {
  return foretoken::simt::match(mask, value, where);
}
template <class T>
T __reduce_add_sync(uint32_t mask, T value, FORETOKEN_SIMT_HERE) {
  return foretoken::simt::reduce(
      mask, value, "__reduce_add_sync", [](T a, T b) { return static_cast<T>(a + b); }, where);
}
template <class T>
T __reduce_max_sync(uint32_t mask, T value, FORETOKEN_SIMT_HERE) {
  return foretoken::simt::reduce(
      mask, value, "__reduce_max_sync", [](T a, T b) { return a < b ? b : a; }, where);
}
template <class T>
T __reduce_min_sync(uint32_t mask, T value, FORETOKEN_SIMT_HERE) {
  return foretoken::simt::reduce(
      mask, value, "__reduce_min_sync", [](T a, T b) { return b < a ? b : a; }, where);
}
