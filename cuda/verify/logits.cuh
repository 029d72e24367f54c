// A warp's 512 logits of a row in registers, with what bias and penalties make of some of them.
#pragma once
#include "cuda/common/device.cuh"
#include "cuda/verify/rows.h"

namespace foretoken::cuda {

__device__ inline float logitValue(float logit) { return logit; }
__device__ inline float logitValue(uint16_t bf16) { return __uint_as_float(uint32_t{bf16} << 16); }

/// Logits that one load of 16 bytes brings.
template <class Logit>
constexpr int kVector = 16 / sizeof(Logit);

template <class Logit>
__host__ __device__ int chunksOf(const VerifyArgs<Logit>& a) {
  return ceilDiv(a.vocabulary, kChunk);
}

/// Where the overrides of a chunk begin; the next one's begin where they end.
template <class Logit>
__device__ const int32_t* overridesOf(const VerifyArgs<Logit>& a, int row, int chunk) {
  return a.overrideBegin + static_cast<int64_t>(row) * (chunksOf(a) + 1) + chunk;
}

/// NaN counts as -infinity.
__device__ inline float withoutNaN(float x) { return x == x ? x : -INFINITY; }

/// One logit as Chunk would have it.
template <class Logit>
__device__ float logitOf(const VerifyArgs<Logit>& a, int row, int token) {
  const DrawRow& r = a.row[row];
  float value = logitValue(a.logits[r.logitRow * a.stride + token]);
  if (r.tableSize > 0) {
    const int32_t* begin = overridesOf(a, row, token / kChunk);
    for (int o = begin[0]; o < begin[1]; ++o)
      if (a.overrideToken[o] == token) value = a.overrideValue[o];
  }
  return withoutNaN(value);
}

/// The numbers that one lane holds of a chunk; lanes take turns by vectors, so that number i of all lanes comes before
/// number i + kVector.
template <class Logit>
struct Chunk {
  static constexpr int kCount = kChunk / kWarp;
  static constexpr int kVector = cuda::kVector<Logit>;
  float x[kCount];
  int first;

  __device__ int token(int i) const {
    return first + (i / kVector * kWarp + static_cast<int>(threadIdx.x % kWarp)) * kVector + i % kVector;
  }

  /// A row as it is; what is beyond the vocabulary counts as -infinity.
  __device__ void load(const Logit* row, int vocabulary, int chunk) {
    first = chunk * kChunk;
#pragma unroll
    for (int v = 0; v < kCount; v += kVector) {
      const int at = token(v);
      alignas(16) Logit vector[kVector] = {};
      if (at < vocabulary) *reinterpret_cast<uint4*>(vector) = *reinterpret_cast<const uint4*>(row + at);
#pragma unroll
      for (int i = 0; i < kVector; ++i) x[v + i] = at + i < vocabulary ? withoutNaN(logitValue(vector[i])) : -INFINITY;
    }
  }

  /// A row to be drawn from.
  __device__ void load(const VerifyArgs<Logit>& a, int row, int chunk) {
    const DrawRow& r = a.row[row];
    load(a.logits + r.logitRow * a.stride, a.vocabulary, chunk);
    if (r.tableSize > 0) replace(a, row, chunk);
  }

 private:
  __device__ void replace(const VerifyArgs<Logit>& a, int row, int chunk) {
    const int32_t* begin = overridesOf(a, row, chunk);
    for (int o = begin[0]; o < begin[1]; ++o) {
      const int at = a.overrideToken[o] - first;
      const float value = withoutNaN(a.overrideValue[o]);
      const int vector = at / kVector, mine = vector % kWarp == static_cast<int>(threadIdx.x % kWarp);
      const int index = vector / kWarp * kVector + at % kVector;
#pragma unroll
      for (int i = 0; i < kCount; ++i)
        if (mine && i == index) x[i] = value;
    }
  }
};

}  // namespace foretoken::cuda
