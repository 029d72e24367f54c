// The token of a row, drawn from its logits in passes over them that keep nothing but sums. A row is split into blocks
// of 4096 tokens, whatever the number of rows; the last block of a row to finish a pass draws its conclusion.
//
//   findTop   the greatest logit; greedy rows are done
//   weigh     the mass of each chunk of 512 tokens; rows without top-k and top-p draw: the first token whose running
//   sum
//             of mass is above noise * total. Otherwise mass and number of tokens by buckets of likelihood, which say
//             in which buckets the cuts lie
//   findCut   the tokens of these buckets, and among them the exact cuts
//   weigh     again, what is kept; the others draw
//
// Chunks whose greatest logit is below what a pass looks for are not read.
#pragma once
#include "common/philox.h"
#include "cuda/common/reduce.cuh"
#include "cuda/common/scan.cuh"
#include "cuda/common/ticket.cuh"
#include "cuda/verify/logits.cuh"
#include "cuda/verify/order.cuh"
#include "cuda/verify/select.cuh"

namespace foretoken::cuda {

__device__ inline bool cutsTopK(const DrawRow& r, int vocabulary) { return r.topK > 0 && r.topK < vocabulary; }
__device__ inline bool cutsTopP(const DrawRow& r) { return r.topP < 1; }

/// The first place in the order that a warp's chunk has.
template <class Logit>
__device__ uint64_t topOf(const Chunk<Logit>& chunk) {
  float most = chunk.x[0];
#pragma unroll
  for (int i = 1; i < chunk.kCount; ++i) most = chunk.x[i] > most ? chunk.x[i] : most;
  int first = 0;
#pragma unroll
  for (int i = chunk.kCount - 1; i >= 0; --i)
    if (chunk.x[i] == most) first = i;
  return warpReduce(placeOf(most, chunk.token(first)), Max());
}

/// How far below the top (in binary logarithms) buckets must reach: as far as tokens have mass, but no further than the
/// k-th greatest top of a chunk, and not to where all tokens together have less than top-p may leave.
template <class Logit>
__device__ float rangeOf(const VerifyArgs<Logit>& a, const DrawRow& r, const DrawState& s, const uint64_t* tops) {
  __shared__ float range;
  const int chunks = chunksOf(a);
  if (threadIdx.x == 0) {
    range = kMassBits + 1;
    if (!cutsTopK(r, a.vocabulary)) range = fminf(range, log2f(static_cast<float>(a.vocabulary) / (1 - r.topP)) + 2);
  }
  __syncthreads();
  if (!cutsTopK(r, a.vocabulary) || r.topK > chunks) return range;
  for (int c = static_cast<int>(threadIdx.x); c < chunks; c += kDrawThreads) {
    int before = 0;
    for (int other = 0; other < chunks; ++other) before += tops[other] > tops[c];
    if (before == r.topK - 1) range = fminf(range, (s.top - logitAt(tops[c])) * s.factor);
  }
  __syncthreads();
  return range;
}

/// What the passes to come need to know of a row, or its token where the top alone decides.
template <class Logit>
__device__ void beginRow(const VerifyArgs<Logit>& a, int row) {
  __shared__ uint64_t scratch[kDrawWarps];
  __shared__ DrawState s;
  const DrawRow& r = a.row[row];
  const int chunks = chunksOf(a);
  const uint64_t* tops = a.chunkTop + static_cast<int64_t>(row) * chunks;
  uint64_t first = 0;
  for (int c = static_cast<int>(threadIdx.x); c < chunks; c += kDrawThreads) first = Max()(first, tops[c]);
  first = blockReduce(first, scratch, kDrawWarps, Max());
  const float top = logitAt(first);
  const bool alone = !(r.temperature > 0) || top == INFINITY || top == -INFINITY;
  if (alone && threadIdx.x == 0) a.drawn[row] = top == -INFINITY ? 0 : tokenAt(first);
  if (threadIdx.x == 0) {
    s = {};
    s.top = top;
    s.factor = fminf(1.44269504f / r.temperature, 1e30f);  // a vanishing temperature must not overflow
    s.drawn = alone;
    s.cutting = !alone && (cutsTopK(r, a.vocabulary) || cutsTopP(r));
  }
  __syncthreads();
  if (s.cutting) {
    const float range = rangeOf(a, r, s, tops);
    for (int b = static_cast<int>(threadIdx.x); b < kBuckets; b += kDrawThreads)
      a.bucketCount[row * kBuckets + b] = 0, a.bucketMass[row * kBuckets + b] = 0;
    if (threadIdx.x == 0) s.range = range, s.bucketsPerBit = range > 0 ? kBuckets / range : 0;
  }
  if (threadIdx.x == 0) a.state[row] = s;
}

template <class Logit>
__global__ void __launch_bounds__(kDrawThreads, kDrawBlocks) findTop(VerifyArgs<Logit> a) {
  const int row = blockIdx.y, chunk = blockIdx.x * kDrawWarps + threadIdx.x / kWarp, chunks = chunksOf(a);
  if (chunk < chunks) {
    Chunk<Logit> values;
    values.load(a, row, chunk);
    const uint64_t top = topOf(values);
    if (threadIdx.x % kWarp == 0) a.chunkTop[static_cast<int64_t>(row) * chunks + chunk] = top;
  }
  if (isLastBlock(a.arrived + row, gridDim.x)) beginRow(a, row);
}

/// Where a block counts its tokens: mass in two halves, because shared memory adds 32 bits at a time.
struct Histogram {
  uint32_t count[kBuckets], low[kBuckets], high[kBuckets];

  __device__ void clear() {
    for (int b = static_cast<int>(threadIdx.x); b < kBuckets; b += kDrawThreads) count[b] = low[b] = high[b] = 0;
  }
  __device__ void add(int bucket, uint64_t mass) {
    atomicAdd(&count[bucket], 1u);
    atomicAdd(&low[bucket], static_cast<uint32_t>(mass) & ((1u << kMassHalf) - 1));
    atomicAdd(&high[bucket], static_cast<uint32_t>(mass >> kMassHalf));
  }
  __device__ void addTo(uint32_t* counts, unsigned long long* masses) const {
    for (int b = static_cast<int>(threadIdx.x); b < kBuckets; b += kDrawThreads) {
      if (count[b] == 0) continue;
      atomicAdd(&counts[b], count[b]);
      atomicAdd(&masses[b], (static_cast<unsigned long long>(high[b]) << kMassHalf) + low[b]);
    }
  }
};

/// Mass in the buckets before one.
__device__ inline unsigned long long massBefore(const unsigned long long* mass, int bucket) {
  unsigned long long sum = 0;
  for (int b = static_cast<int>(threadIdx.x % kWarp); b < bucket; b += kWarp) sum += mass[b];
  return warpReduce(sum, Sum());
}

/// In which buckets the cuts lie. For one warp.
template <class Logit>
__device__ void locateCuts(const VerifyArgs<Logit>& a, int row, unsigned long long total) {
  const DrawRow& r = a.row[row];
  DrawState s = a.state[row];
  const uint32_t* count = a.bucketCount + row * kBuckets;
  const unsigned long long* mass = a.bucketMass + row * kBuckets;
  unsigned long long most = total;  // of what top-k leaves, s.massOutside at least
  s.kBucket = s.pFirst = s.pLast = -1;
  s.massOutside = total;
  if (cutsTopK(r, a.vocabulary)) {
    uint32_t before;
    const int bucket = bucketReaching(count, static_cast<uint32_t>(r.topK), &before);
    if (bucket < kBuckets) {
      s.kBucket = bucket;
      s.kNeed = r.topK - static_cast<int32_t>(before);
      s.massOutside = massBefore(mass, bucket);
      most = s.massOutside + mass[bucket];
    }
  }
  if (cutsTopP(r)) {
    unsigned long long before, ignored;
    const int bucket = bucketReaching(mass, massToReach(r.topP, s.massOutside), &before);
    if (bucket < kBuckets) {
      s.pFirst = bucket;
      s.massBefore = before;
      s.pLast = bucketReaching(mass, massToReach(r.topP, most), &ignored);
    }
  }
  if (threadIdx.x % kWarp == 0) a.state[row] = s;
}

/// The first token whose running sum of mass is above noise * total. For one warp; sums: of the chunks.
template <class Logit>
__device__ void draw(const VerifyArgs<Logit>& a, int row, const Kept& kept, const unsigned long long* sums,
                     unsigned long long total) {
  const DrawRow& r = a.row[row];
  const DrawState s = a.state[row];
  const int lane = static_cast<int>(threadIdx.x % kWarp), chunks = chunksOf(a);
  const uint64_t noise = positionBits(r.seed, r.position) << 11;
  uint64_t target = static_cast<uint64_t>(static_cast<unsigned __int128>(noise) * total >> 64);
  int chunk = 0;
  for (int first = 0; first < chunks; first += kWarp) {
    const unsigned long long mine = first + lane < chunks ? sums[first + lane] : 0, through = warpScan(mine);
    const uint32_t above = __ballot_sync(kAllLanes, through > target);
    if (above != 0) {
      const int lanes = __ffs(static_cast<int>(above)) - 1;
      target -= __shfl_sync(kAllLanes, through - mine, lanes);
      chunk = first + lanes;
      break;
    }
    target -= __shfl_sync(kAllLanes, through, kWarp - 1);
  }
  Chunk<Logit> values;
  values.load(a, row, chunk);
#pragma unroll
  for (int v = 0; v < values.kCount; v += values.kVector) {
    uint64_t mine = 0;
#pragma unroll
    for (int i = v; i < v + values.kVector; ++i)
      mine += kept.massOf(placeOf(values.x[i], values.token(i)), weightOf(values.x[i], s));
    const uint64_t through = warpScan(mine);
    if (target >= through - mine && target < through) {
      uint64_t sum = through - mine;
      int token = -1;
#pragma unroll
      for (int i = v; i < v + values.kVector; ++i) {
        sum += kept.massOf(placeOf(values.x[i], values.token(i)), weightOf(values.x[i], s));
        if (token < 0 && sum > target) token = values.token(i);
      }
      a.drawn[row] = token;
    }
    const uint64_t all = __shfl_sync(kAllLanes, through, kWarp - 1);
    target = target < all ? ~uint64_t{0} : target - all;
  }
}

/// `again`: after the cuts are known.
template <class Logit>
__global__ void __launch_bounds__(kDrawThreads, kDrawBlocks) weigh(VerifyArgs<Logit> a, bool again) {
  __shared__ Histogram histogram;
  const int row = blockIdx.y, chunk = blockIdx.x * kDrawWarps + threadIdx.x / kWarp, chunks = chunksOf(a);
  const DrawState s = a.state[row];
  if (s.drawn || (again && !s.cutting)) return;
  const bool counting = s.cutting && !again;
  if (counting) histogram.clear();
  __syncthreads();
  const Kept kept{s.cut, counting ? 0.0f : fminf(a.row[row].minP, 1.0f)};
  unsigned long long* const sums = a.chunkMass + static_cast<int64_t>(row) * chunks;
  if (chunk < chunks) {
    const uint64_t top = a.chunkTop[static_cast<int64_t>(row) * chunks + chunk];
    unsigned long long sum = 0;
    if (top >= kept.cut && weightOf(logitAt(top), s).distance < kMassBits + 1) {
      Chunk<Logit> values;
      values.load(a, row, chunk);
#pragma unroll
      for (int i = 0; i < values.kCount; ++i) {
        const Weight w = weightOf(values.x[i], s);
        const uint64_t mass = kept.massOf(placeOf(values.x[i], values.token(i)), w);
        sum += mass;
        if (counting && mass > 0 && w.distance <= s.range) histogram.add(bucketOf(w.distance, s), mass);
      }
    }
    sum = warpReduce(sum, Sum());
    if (threadIdx.x % kWarp == 0) sums[chunk] = sum;
  }
  __syncthreads();
  if (counting) histogram.addTo(a.bucketCount + row * kBuckets, a.bucketMass + row * kBuckets);
  if (!isLastBlock(a.arrived + row, gridDim.x) || threadIdx.x >= kWarp) return;
  unsigned long long total = 0;
  for (int c = static_cast<int>(threadIdx.x); c < chunks; c += kWarp) total += sums[c];
  total = warpReduce(total, Sum());
  if (counting)
    locateCuts(a, row, total);
  else
    draw(a, row, kept, sums, total);
}

/// Whether a token may be one of those at which a cut lies.
__device__ inline bool nearCut(float logit, const DrawState& s) {
  const Weight w = weightOf(logit, s);
  if (!(w.distance <= s.range) || w.mass() == 0) return false;
  const int bucket = bucketOf(w.distance, s);
  return bucket == s.kBucket || (bucket >= s.pFirst && bucket <= s.pLast);
}

/// Whether a chunk of this top has such tokens, perhaps.
__device__ inline bool reaches(uint64_t top, const DrawState& s) {
  const float distance = weightOf(logitAt(top), s).distance;
  return distance <= s.range && bucketOf(distance, s) <= Max()(s.kBucket, s.pLast);
}

/// The tokens near the cuts of one row: those that findCut listed or, where they are too many, all of the row anew.
template <class Logit>
struct Candidates {
  const VerifyArgs<Logit>& a;
  const DrawState& s;
  int row;

  /// f(place, bucket, mass), by all threads of the block.
  template <class F>
  __device__ void forEach(F f) const {
    const auto one = [&](uint64_t place) {
      const Weight w = weightOf(logitAt(place), s);
      f(place, bucketOf(w.distance, s), w.mass());
    };
    if (s.listed <= kListed) {
      for (uint32_t i = threadIdx.x; i < s.listed; i += kDrawThreads)
        one(a.list[static_cast<int64_t>(row) * kListed + i]);
      return;
    }
    for (int token = static_cast<int>(threadIdx.x); token < a.vocabulary; token += kDrawThreads) {
      const float logit = logitOf(a, row, token);
      if (nearCut(logit, s)) one(placeOf(logit, token));
    }
  }
};

/// The exact cut of a row.
template <class Logit>
__device__ void finishCut(const VerifyArgs<Logit>& a, int row) {
  __shared__ DrawState s;
  if (threadIdx.x == 0) s = a.state[row];
  __syncthreads();
  const Candidates<Logit> candidates{a, s, row};
  uint64_t cut = 0;
  unsigned long long whole = s.massOutside;
  if (s.kBucket >= 0) {
    const auto each = [&](auto f) {
      candidates.forEach([&](uint64_t place, int bucket, uint64_t) {
        if (bucket == s.kBucket) f(place, 1);
      });
    };
    cut = placeReaching(each, s.kNeed);
    whole += blockSum([&](auto add) {
      candidates.forEach([&](uint64_t place, int bucket, uint64_t mass) {
        if (bucket == s.kBucket && place >= cut) add(mass);
      });
    });
  }
  if (s.pFirst >= 0) {
    const auto each = [&](auto f) {
      candidates.forEach([&](uint64_t place, int bucket, uint64_t mass) {
        if (bucket >= s.pFirst && bucket <= s.pLast) f(place, mass);
      });
    };
    cut = Max()(cut, placeReaching(each, massToReach(a.row[row].topP, whole) - s.massBefore));
  }
  if (threadIdx.x == 0) a.state[row].cut = cut;
}

template <class Logit>
__global__ void __launch_bounds__(kDrawThreads, kDrawBlocks) findCut(VerifyArgs<Logit> a) {
  const int row = blockIdx.y, chunk = blockIdx.x * kDrawWarps + threadIdx.x / kWarp, chunks = chunksOf(a);
  const DrawState s = a.state[row];
  if (!s.cutting || (s.kBucket < 0 && s.pFirst < 0)) return;
  if (chunk < chunks) {
    const uint64_t top = a.chunkTop[static_cast<int64_t>(row) * chunks + chunk];
    if (reaches(top, s)) {
      Chunk<Logit> values;
      values.load(a, row, chunk);
#pragma unroll
      for (int i = 0; i < values.kCount; ++i) {
        if (!nearCut(values.x[i], s)) continue;
        const uint32_t at = atomicAdd(&a.state[row].listed, 1u);
        if (at < kListed) a.list[static_cast<int64_t>(row) * kListed + at] = placeOf(values.x[i], values.token(i));
      }
    }
  }
  if (isLastBlock(a.arrived + row, gridDim.x)) finishCut(a, row);
}

}  // namespace foretoken::cuda
