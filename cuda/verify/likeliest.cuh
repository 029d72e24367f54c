// The likeliest tokens of rows and their log-probabilities, under the softmax of the logits as they are: what requests
// ask for, and what a draft head's slots propose. One pass over the logits.
//
// Every warp sorts out the best of its chunk of 512, and sums exponentials relative to the chunk's greatest; the last
// block of a row merges chunks, in order.
#pragma once
#include "cuda/common/reduce.cuh"
#include "cuda/common/ticket.cuh"
#include "cuda/verify/logits.cuh"
#include "cuda/verify/order.cuh"

namespace foretoken::cuda {

constexpr int kMostLikeliest = 20;
constexpr float kLog2e = 1.44269504f;

template <class Logit>
struct LikeliestArgs {
  const Logit* logits;  ///< as in VerifyArgs
  int64_t stride;
  int32_t vocabulary;
  const int32_t* logitRow;  ///< [rows]; null: row r is r
  int32_t count;            ///< tokens wanted, at most kMostLikeliest
  int32_t* token;           ///< [rows][count], likeliest first; 0 where there are no more
  float* logprob;           ///< [rows][count]; -infinity where there are no more
  const int32_t* drawn;     ///< [rows] tokens whose log-probability is wanted, or null
  float* drawnLogprob;      ///< [rows]

  // Scratch, as in VerifyArgs; `arrived` is 0 before and after.
  uint32_t* arrived;  ///< [rows]
  uint64_t* best;     ///< [rows][chunks][count] places in the order, 0 = no more
  float* sum;         ///< [rows][chunks]
};

/// 2^((x - top) log2 e), 0 where that is no number.
__device__ inline float exponentialBelow(float x, float top) { return exp2((x - top) * kLog2e); }

/// The best places of a chunk, by one warp: each lane brings its own best, the winner looks for its next.
template <class Logit>
__device__ void listBest(const Chunk<Logit>& chunk, int vocabulary, int count, uint64_t* best) {
  uint64_t taken = ~uint64_t{0};
  for (int n = 0; n < count; ++n) {
    uint64_t mine = 0;
#pragma unroll
    for (int i = 0; i < chunk.kCount; ++i) {
      const uint64_t place = chunk.token(i) < vocabulary ? placeOf(chunk.x[i], chunk.token(i)) : 0;
      mine = place < taken && place > mine ? place : mine;
    }
    taken = warpReduce(mine, Max());
    if (threadIdx.x % kWarp == 0) best[n] = taken;
  }
}

/// Log of the sum of all exponentials, relative to the greatest logit. For one warp, that adds chunks in order.
template <class Logit>
__device__ double logOfSum(const LikeliestArgs<Logit>& a, int row, float top) {
  const int chunks = ceilDiv(a.vocabulary, kChunk), lane = static_cast<int>(threadIdx.x % kWarp);
  double total = 0;
  for (int first = 0; first < chunks; first += kWarp) {
    const int64_t chunk = static_cast<int64_t>(row) * chunks + first + lane;
    const bool there = first + lane < chunks;
    const float part = there ? a.sum[chunk] * exponentialBelow(logitAt(a.best[chunk * a.count]), top) : 0;
    total += warpReduce(static_cast<double>(part), Sum());
  }
  // The greatest weighs exactly 1; less comes of infinite logits only, which then have all the probability.
  return log(total > 1 ? total : 1.0);
}

__device__ inline float logprobOf(float x, float top, double logTotal) {
  return static_cast<float>((x == top ? 0.0 : static_cast<double>(x) - static_cast<double>(top)) - logTotal);
}

/// The best of all chunks. For one warp, whose lanes go through their chunks' lists.
template <class Logit>
__device__ void mergeBest(const LikeliestArgs<Logit>& a, int row, float* top, uint64_t (&all)[kMostLikeliest]) {
  const int chunks = ceilDiv(a.vocabulary, kChunk), lane = static_cast<int>(threadIdx.x % kWarp);
  const uint64_t* lists = a.best + static_cast<int64_t>(row) * chunks * a.count;
  uint64_t taken = ~uint64_t{0};
  for (int n = 0; n < a.count; ++n) {
    uint64_t mine = 0;
    for (int chunk = lane; chunk < chunks; chunk += kWarp) {
      int at = 0;
      while (at < a.count && lists[chunk * a.count + at] >= taken) ++at;
      if (at < a.count) mine = Max()(mine, lists[chunk * a.count + at]);
    }
    taken = warpReduce(mine, Max());
    if (lane == 0) all[n] = taken;
  }
  __syncwarp();
  *top = logitAt(all[0]);
}

template <class Logit>
__global__ void __launch_bounds__(kDrawThreads, kDrawBlocks) likeliest(LikeliestArgs<Logit> a) {
  __shared__ uint64_t all[kMostLikeliest];
  const int row = blockIdx.y, chunks = ceilDiv(a.vocabulary, kChunk);
  const int chunk = blockIdx.x * kDrawWarps + threadIdx.x / kWarp, lane = static_cast<int>(threadIdx.x % kWarp);
  const Logit* const logits = a.logits + (a.logitRow ? a.logitRow[row] : row) * a.stride;
  if (chunk < chunks) {
    const int64_t at = static_cast<int64_t>(row) * chunks + chunk;
    Chunk<Logit> values;
    values.load(logits, a.vocabulary, chunk);
    listBest(values, a.vocabulary, a.count, a.best + at * a.count);
    __syncwarp();
    const float top = logitAt(a.best[at * a.count]);
    float sum = 0;
#pragma unroll
    for (int i = 0; i < values.kCount; ++i) sum += exponentialBelow(values.x[i], top);
    sum = warpReduce(sum, Sum());
    if (lane == 0) a.sum[at] = sum;
  }
  if (!isLastBlock(a.arrived + row, gridDim.x) || threadIdx.x >= kWarp) return;
  float top;
  mergeBest(a, row, &top, all);
  const double logTotal = logOfSum(a, row, top);
  if (lane < a.count) {
    const bool there = all[lane] != 0;
    a.token[row * a.count + lane] = there ? tokenAt(all[lane]) : 0;
    a.logprob[row * a.count + lane] = there ? logprobOf(logitAt(all[lane]), top, logTotal) : -INFINITY;
  }
  if (a.drawn && lane == 0)
    a.drawnLogprob[row] = logprobOf(withoutNaN(logitValue(logits[a.drawn[row]])), top, logTotal);
}

template <class Logit>
cudaError_t findLikeliest(const LikeliestArgs<Logit>& a, int rows, cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>(ceilDiv(ceilDiv(a.vocabulary, kChunk), kDrawWarps));
  return launch(likeliest<Logit>, dim3(blocks, static_cast<unsigned>(rows)), dim3(kDrawThreads), 0, stream, a);
}

}  // namespace foretoken::cuda
