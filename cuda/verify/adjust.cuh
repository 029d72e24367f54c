// Bias and penalties of a row, as native/cpu/sample.h defines them: for each token that they concern the logit that
// they leave, sorted by the chunks of the vocabulary. The row itself stays as it is.
#pragma once
#include "cuda/common/scan.cuh"
#include "cuda/verify/logits.cuh"

namespace foretoken::cuda {

constexpr int kAdjustThreads = 256;
constexpr int32_t kBiased = 1 << 30;  ///< in Counted::count

/// f(i) for i < count, shared among the threads of the block.
template <class F>
__device__ void forAll(int count, F f) {
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) f(i);
}

/// The entry of a token, a new one where there was none.
__device__ inline Counted& entryOf(Counted* table, int size, int32_t token) {
  uint32_t at = static_cast<uint32_t>(token) * 0x9E3779B1u;
  for (;; ++at) {
    Counted& entry = table[at & static_cast<uint32_t>(size - 1)];
    const int32_t before = atomicCAS(&entry.token, 0, token + 1);
    if (before == 0 || before == token + 1) return entry;
  }
}

template <class Logit>
__device__ float adjusted(const VerifyArgs<Logit>& a, const DrawRow& r, int32_t token, int32_t count) {
  float value = logitValue(a.logits[r.logitRow * a.stride + token]);
  if (count & kBiased)
    for (int i = r.bias; i < r.bias + r.biasCount; ++i)
      if (a.biasToken[i] == token) value += a.biasValue[i];
  const int32_t occurrences = count & (kBiased - 1);
  if (occurrences == 0) return value;
  value = value > 0 ? value / r.repetitionPenalty : value * r.repetitionPenalty;
  return value - r.presencePenalty - static_cast<float>(occurrences) * r.frequencyPenalty;
}

/// Counts tokens in a table, entries by chunk, and writes them chunk by chunk. A block a row.
template <class Logit>
__global__ void __launch_bounds__(kAdjustThreads) adjust(VerifyArgs<Logit> a) {
  __shared__ int32_t begin[kMostChunks + 1];
  const DrawRow& r = a.row[blockIdx.x];
  if (r.tableSize == 0) return;
  Counted* const table = a.counted + r.table;
  const int chunks = chunksOf(a);
  forAll(r.tableSize, [&](int i) { table[i] = {0, 0}; });
  forAll(chunks + 1, [&](int i) { begin[i] = 0; });
  __syncthreads();
  const auto known = [&](int32_t token) { return static_cast<uint32_t>(token) < static_cast<uint32_t>(a.vocabulary); };
  const auto count = [&](int first, int length) {
    forAll(length, [&](int i) {
      const int32_t token = a.tokens[first + i];
      if (known(token)) atomicAdd(&entryOf(table, r.tableSize, token).count, 1);
    });
  };
  count(r.history, r.historyLength);
  count(r.history2, r.history2Length);
  forAll(r.biasCount, [&](int i) {
    const int32_t token = a.biasToken[r.bias + i];
    if (known(token)) atomicOr(&entryOf(table, r.tableSize, token).count, kBiased);
  });
  __syncthreads();
  forAll(r.tableSize, [&](int i) {
    if (table[i].token > 0) atomicAdd(&begin[(table[i].token - 1) / kChunk], 1);
  });
  __syncthreads();
  if (threadIdx.x < kWarp) warpSumsBefore(begin, chunks + 1, r.table / 2);
  __syncthreads();
  forAll(chunks + 1, [&](int c) { a.overrideBegin[blockIdx.x * static_cast<int64_t>(chunks + 1) + c] = begin[c]; });
  __syncthreads();
  forAll(r.tableSize, [&](int i) {
    const int32_t token = table[i].token - 1;
    if (token < 0) return;
    const int at = atomicAdd(&begin[token / kChunk], 1);
    a.overrideToken[at] = token;
    a.overrideValue[at] = adjusted(a, r, token, table[i].count);
  });
}

}  // namespace foretoken::cuda
