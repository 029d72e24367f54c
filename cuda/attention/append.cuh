// What precedes attention: queries and keys are rotated, queries scaled, keys and values written to the rows' slots.
//
//   angle(i) = position * frequency[i],  (a, b) -> (a cos - b sin, b cos + a sin) for the pair i of a head,
//   q' = bf16(q * log2(e) / sqrt(headDim)),  k' and v' as the pages' format has them.
//
// Values are kept finite, so that a weight of 0 takes whatever stands in a slot out of a sum.
#pragma once
#include "cuda/attention/kv_pages.cuh"
#include "cuda/common/reduce.cuh"
#include "cuda/step/pass_view.cuh"

namespace foretoken::cuda {

constexpr int kMaxHeadDim = 256;
constexpr int kAppendWarps = 4;
constexpr int kLanePairs = kMaxHeadDim / 2 / 32;  ///< pairs of dimensions that a lane holds of a head

struct AppendArgs {
  const int32_t* pass;
  const float* in;    ///< [rows][stride]: queries, then keys, then values; without queries where heads is 0
  uint16_t* queries;  ///< [rows][heads][headDim] bf16
  KvPages kv;
  int heads;
  bool interleaved;
  float scale;
  bool operator==(const AppendArgs&) const = default;
};

/// The dimensions of pair `i`.
struct Pair {
  int first, second;
  __device__ Pair(int i, int headDim, bool interleaved)
      : first(interleaved ? 2 * i : i), second(interleaved ? 2 * i + 1 : i + headDim / 2) {}
};

/// A head of one row, a few pairs in each lane.
struct HeadInLanes {
  float first[kLanePairs], second[kLanePairs];

  __device__ void load(const float* head, int headDim, bool interleaved, int lane) {
#pragma unroll
    for (int j = 0; j < kLanePairs; ++j) {
      const int i = lane + 32 * j;
      const Pair pair(i, headDim, interleaved);
      first[j] = i < headDim / 2 ? head[pair.first] : 0.0f;
      second[j] = i < headDim / 2 ? head[pair.second] : 0.0f;
    }
  }
  __device__ void rotate(const float2* rotary, int headDim, int lane) {
#pragma unroll
    for (int j = 0; j < kLanePairs; ++j) {
      const int i = lane + 32 * j;
      if (i >= headDim / 2) break;
      const float2 turn = rotary[i];
      const float x = first[j], y = second[j];
      first[j] = fmaf(x, turn.x, -(y * turn.y));
      second[j] = fmaf(y, turn.x, x * turn.y);
    }
  }
  /// Within the finite range of bf16; NaN goes to its lower end.
  __device__ void keepFinite() {
    constexpr float kMost = 3.38953139e38f;
#pragma unroll
    for (int j = 0; j < kLanePairs; ++j) {
      first[j] = fminf(fmaxf(first[j], -kMost), kMost);
      second[j] = fminf(fmaxf(second[j], -kMost), kMost);
    }
  }
  __device__ float largest() const {
    float most = 0;
#pragma unroll
    for (int j = 0; j < kLanePairs; ++j) most = fmaxf(most, fmaxf(fabsf(first[j]), fabsf(second[j])));
    return warpReduce(most, Max{});
  }
  /// Calls store(dimension, value) for what this lane holds.
  template <class Store>
  __device__ void each(int headDim, bool interleaved, int lane, Store store) const {
#pragma unroll
    for (int j = 0; j < kLanePairs; ++j) {
      const int i = lane + 32 * j;
      if (i >= headDim / 2) break;
      const Pair pair(i, headDim, interleaved);
      store(pair.first, first[j]);
      store(pair.second, second[j]);
    }
  }
};

/// Stores a key or value of one slot.
template <class Codec>
__device__ void writeVector(HeadInLanes x, const AppendArgs& a, int kvHead, int slot, bool isKey, int lane) {
  const int page = slot / kPageSize, position = slot % kPageSize;
  x.keepFinite();
  float factor = 1.0f;
  if constexpr (Codec::kScaled) {
    const int exponent = exponentFor(x.largest());
    factor = powerOfTwo(-exponent);
    if (lane == 0)
      a.kv.exponents<Codec>(page, kvHead)[isKey ? position : kPageSize + position] = static_cast<int8_t>(exponent);
  }
  typename Codec::Element* const out = isKey ? a.kv.keys<Codec>(page, kvHead) : a.kv.values<Codec>(page, kvHead);
  x.each(a.kv.headDim, a.interleaved, lane, [&](int d, float value) {
    const int block = d / kBlockDims * kBlockDims * kPageSize, inside = d % kBlockDims;
    out[block + (isKey ? elementIndex(position, inside) : elementIndex(inside, position))] =
        Codec::encode(value * factor);
  });
}

/// Grid: (row, head / kAppendWarps); a warp takes one head of one row, counted queries, keys, values.
template <class Codec>
__global__ void __launch_bounds__(kAppendWarps * 32) append(AppendArgs a) {
  const PassView pass(a.pass);
  const int row = blockIdx.x, lane = threadIdx.x % 32, headDim = a.kv.headDim;
  const int head = static_cast<int>(blockIdx.y * kAppendWarps + threadIdx.x / 32), all = a.heads + 2 * a.kv.kvHeads;
  if (row >= pass.rows() || head >= all) return;
  HeadInLanes x;
  x.load(a.in + (static_cast<size_t>(row) * all + head) * headDim, headDim, a.interleaved, lane);
  if (head < a.heads + a.kv.kvHeads) x.rotate(pass.rotary(row, headDim), headDim, lane);
  if (head < a.heads) {
    uint16_t* const out = a.queries + (static_cast<size_t>(row) * a.heads + head) * headDim;
    x.each(headDim, a.interleaved, lane, [&](int d, float value) { out[d] = fromFloat(Bf16{}, value * a.scale); });
  } else {
    const int slot = pass.at(pass.header().slot)[row];
    const bool isKey = head < a.heads + a.kv.kvHeads;
    writeVector<Codec>(x, a, isKey ? head - a.heads : head - a.heads - a.kv.kvHeads, slot, isKey, lane);
  }
}

}  // namespace foretoken::cuda
