// Where masses of many tokens, added in order, reach a number: a search by buckets, by a whole block.
#pragma once
#include "cuda/common/reduce.cuh"
#include "cuda/common/scan.cuh"
#include "cuda/verify/rows.h"

namespace foretoken::cuda {

/// The first bucket by whose end `need` is reached; kBuckets where none is. `before` = what the buckets before it hold.
/// For one warp.
template <class T>
__device__ int bucketReaching(const T* buckets, T need, T* before) {
  constexpr int kEach = kBuckets / kWarp;
  const int first = static_cast<int>(threadIdx.x % kWarp) * kEach;
  T mine = 0;
  for (int i = 0; i < kEach; ++i) mine += buckets[first + i];
  T sum = warpScan(mine) - mine;
  int found = kBuckets;
  for (int b = first; b < first + kEach && found == kBuckets; ++b) {
    if (sum + buckets[b] >= need)
      found = b;
    else
      sum += buckets[b];
  }
  const uint32_t reached = __ballot_sync(kAllLanes, found < kBuckets);
  const int source = reached != 0 ? __ffs(static_cast<int>(reached)) - 1 : kWarp - 1;
  *before = __shfl_sync(kAllLanes, sum, source);
  return __shfl_sync(kAllLanes, found, source);
}

/// Adds up what the threads of a block bring one by one: each(add).
template <class Each>
__device__ unsigned long long blockSum(Each each) {
  __shared__ unsigned long long scratch[kDrawWarps];
  unsigned long long mine = 0;
  each([&](unsigned long long value) { mine += value; });
  return blockReduce(mine, scratch, kDrawWarps, Sum());
}

/// each(f) calls f(place, mass) for every member of a set, each in one thread of the block. The place at which their
/// masses, added from the greatest place down, reach `need`.
template <class Each>
__device__ uint64_t placeReaching(Each each, unsigned long long need) {
  __shared__ unsigned long long mass[kBuckets];
  __shared__ uint32_t count[kBuckets];
  __shared__ unsigned long long lowest, highest, left;
  __shared__ int found;
  if (threadIdx.x == 0) lowest = ~0ull, highest = 0, left = need;
  __syncthreads();
  each([&](uint64_t place, uint64_t) {
    atomicMin(&lowest, static_cast<unsigned long long>(place));
    atomicMax(&highest, static_cast<unsigned long long>(place));
  });
  __syncthreads();
  for (;;) {
    const unsigned long long low = lowest, high = highest;
    if (low >= high) return low;
    const int bits = 64 - __clzll(static_cast<long long>(high - low)), shift = bits > 8 ? bits - 8 : 0;
    for (int b = static_cast<int>(threadIdx.x); b < kBuckets; b += kDrawThreads) mass[b] = 0, count[b] = 0;
    __syncthreads();
    each([&](uint64_t place, uint64_t value) {
      if (place < low || place > high) return;
      atomicAdd(&mass[(high - place) >> shift], static_cast<unsigned long long>(value));
      atomicAdd(&count[(high - place) >> shift], 1u);
    });
    __syncthreads();
    if (threadIdx.x < kWarp) {
      unsigned long long before;
      const int bucket = bucketReaching(mass, left, &before);
      if (threadIdx.x == 0) {
        found = bucket;
        left -= before;
        highest = high - (static_cast<unsigned long long>(bucket) << shift);
        lowest = Max()(low, highest - ((1ull << shift) - 1));
      }
    }
    __syncthreads();
    if (found == kBuckets) return low;
    const bool several = count[found] > 1;
    __syncthreads();
    if (several) continue;
    each([&](uint64_t place, uint64_t) {
      if (place >= lowest && place <= highest) left = place;
    });
    __syncthreads();
    return left;
  }
}

}  // namespace foretoken::cuda
