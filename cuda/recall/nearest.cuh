// The places whose keys are nearest to a query's: Neighbours (native/speculate/recall.h) over places that the host
// names, bit for bit, for scores are quotients of integers.
//
// All texts lie in one array, a border before each, with a key for every position. A block a query: every thread scores
// places, then the block sorts all of them by score, the one named first before its equals.
#pragma once
#include "backend.h"
#include "cuda/common/device.cuh"
#include "speculate/recall_score.h"

namespace foretoken::cuda {

constexpr int kNearestThreads = 256;
constexpr int kMostPlaces = 1024;  ///< a query; a power of two
constexpr int kVoters = 32;

struct TextPool {
  const int32_t* token;  ///< kBorder before each text and behind each document
  const int8_t* key;     ///< [positions][kKeyWidth], of the state that said the token behind
};

struct NearestArgs {
  TextPool pool;
  const int32_t* last;        ///< [queries] position of the last token of the context; its key is that before
  const int32_t* firstPlace;  ///< [queries + 1] into `place`, at most kMostPlaces a query
  const int32_t* place;       ///< positions of the same token, in the order in which equals win
  int32_t* nearest;           ///< [queries][kVoters] places, best first; -1 behind the last
  float* score;               ///< [queries][kVoters]
};

/// key · key over kKeyWidth int8 numbers.
__device__ inline int32_t dotKeys(const int8_t* a, const int8_t* b) {
  const auto* left = reinterpret_cast<const int4*>(a);
  const auto* right = reinterpret_cast<const int4*>(b);
  int32_t sum = 0;
#pragma unroll
  for (int i = 0; i < kKeyWidth / 16; ++i) {
    const int4 x = left[i], y = right[i];
    sum = __dp4a(x.x, y.x, sum);
    sum = __dp4a(x.y, y.y, sum);
    sum = __dp4a(x.z, y.z, sum);
    sum = __dp4a(x.w, y.w, sum);
  }
  return sum;
}

/// Tokens before a place that are those before the end of the context. The border before each text ends both.
__device__ inline int sameTokens(const int32_t* token, int place, int last) {
  int same = 0;
  while (same < kSameTokens && token[place - 1 - same] >= 0 && token[place - 1 - same] == token[last - 1 - same])
    ++same;
  return same;
}

/// Places sort by this, greater first; 0 = no neighbour. Scores are above 0.
__device__ inline uint64_t rankOf(const NearestArgs& a, int query, int index) {
  const int last = a.last[query], place = a.place[a.firstPlace[query] + index];
  const int32_t dot = dotKeys(a.pool.key + static_cast<int64_t>(last - 1) * kKeyWidth,
                              a.pool.key + static_cast<int64_t>(place - 1) * kKeyWidth);
  if (dot <= 0) return 0;
  const float score = recallScore(dot, sameTokens(a.pool.token, place, last));
  return uint64_t{__float_as_uint(score)} << 32 | static_cast<uint32_t>(kMostPlaces - 1 - index);
}
__device__ inline float scoreOf(uint64_t rank) { return __uint_as_float(static_cast<uint32_t>(rank >> 32)); }
__device__ inline int indexOf(uint64_t rank) { return kMostPlaces - 1 - static_cast<int>(static_cast<uint32_t>(rank)); }

/// Greatest first, by Batcher's bitonic network. By a whole block.
__device__ inline void sortDown(uint64_t* values, int count) {
  for (int size = 2; size <= count; size *= 2)
    for (int apart = size / 2; apart > 0; apart /= 2) {
      for (int i = static_cast<int>(threadIdx.x); i < count; i += kNearestThreads) {
        const int other = i ^ apart;
        if (other < i) continue;
        const uint64_t x = values[i], y = values[other];
        if ((x < y) == ((i & size) == 0)) values[i] = y, values[other] = x;
      }
      __syncthreads();
    }
}

/// The same text is often known twice: it votes once.
__device__ inline bool isRepeated(const NearestArgs& a, const int32_t* places, const uint64_t* ranks, int at) {
  const int place = places[indexOf(ranks[at])];
  for (int i = at - 1; i >= 0 && scoreOf(ranks[i]) == scoreOf(ranks[at]); --i) {
    const int other = places[indexOf(ranks[i])];
    if (a.pool.token[other + 1] != a.pool.token[place + 1]) continue;
    const auto* left = reinterpret_cast<const uint32_t*>(a.pool.key + static_cast<int64_t>(other - 1) * kKeyWidth);
    const auto* right = reinterpret_cast<const uint32_t*>(a.pool.key + static_cast<int64_t>(place - 1) * kKeyWidth);
    bool same = true;
    for (int k = 0; k < kKeyWidth / 4; ++k) same = same && left[k] == right[k];
    if (same) return true;
  }
  return false;
}

static __global__ void __launch_bounds__(kNearestThreads) nearest(NearestArgs a) {
  __shared__ uint64_t ranks[kMostPlaces];
  const int query = blockIdx.x, count = a.firstPlace[query + 1] - a.firstPlace[query];
  const int32_t* places = a.place + a.firstPlace[query];
  int padded = kWarp;
  while (padded < count) padded *= 2;
  for (int i = static_cast<int>(threadIdx.x); i < padded; i += kNearestThreads)
    ranks[i] = i < count ? rankOf(a, query, i) : 0;
  __syncthreads();
  sortDown(ranks, padded);
  if (threadIdx.x >= kWarp) return;
  const int lane = static_cast<int>(threadIdx.x);
  int found = 0;
  for (int first = 0; first < padded && found < kVoters; first += kWarp) {
    const bool counts = ranks[first + lane] != 0 && !isRepeated(a, places, ranks, first + lane);
    const uint32_t all = __ballot_sync(kAllLanes, counts);
    const int at = found + __popc(all & ((1u << lane) - 1));
    if (counts && at < kVoters) {
      a.nearest[query * kVoters + at] = places[indexOf(ranks[first + lane])];
      a.score[query * kVoters + at] = scoreOf(ranks[first + lane]);
    }
    found += __popc(all);
  }
  if (lane >= found) a.nearest[query * kVoters + lane] = -1;
}

}  // namespace foretoken::cuda
