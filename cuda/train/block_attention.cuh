// Attention of a draft head's blocks in training, forward and backward. Block a stands at an anchor: a row of the
// context. The query of its slot s sees the n rows of its sequence up to the anchor, then the block's own rows 0..s;
// by these numbers j, for each query head:
//
//     t_j = q k_j log2(e) / sqrt(d)        L = log2 sum 2^t_j          p_j = 2^(t_j - L)        out = sum p_j v_j
//     g_j = p_j (dout v_j - dout out)      dq = sum g_j k_j / sqrt(d)
//     dk_j = sum over queries of g_j q / sqrt(d)                       dv_j = sum over queries of p_j dout
//
// What the context's keys and values are made of does not learn: gradients end at the block's own. Queries go through
// keys in tiles of 32, a warp a query, a lane a key, and a launch takes some tiles: what a query has by then waits in
// memory. Which tiles are one launch changes no bit.
#pragma once
#include <vector>

#include "cuda/common/exp2.cuh"
#include "cuda/common/half.cuh"
#include "cuda/common/reduce.cuh"
#include "train/formulas.h"

namespace foretoken::cuda {

constexpr int kKeyTile = kWarp;
/// Numbers of a head at most: each lane has every 32nd of them.
constexpr int kMostHeadWidth = 256;
constexpr int kHeadParts = kMostHeadWidth / kWarp;
/// Slots of a block at most: a warp each.
constexpr int kMostSlots = 16;

struct BlockAttention {
  int anchors, slots, queryHeads, keyHeads, width;  ///< width: of a head
  int context;                                      ///< rows of it; rows of blocks follow in `key` and `value`
  const int32_t *begin, *anchor;  ///< [anchors] rows of the context: the sequence's first, the anchor's
  const float* q;                 ///< [anchors][slots][query heads][width]
  const float *key, *value;       ///< [context + anchors * slots][key heads][width]
  float* out;                     ///< as q
  float *most, *sum;              ///< [anchors][slots][query heads]; in the end L is in `most`

  __host__ __device__ int group() const { return queryHeads / keyHeads; }
};
struct BlockAttentionGradient {
  const float* dout;     ///< as q
  float* dq;             ///< as q
  float *dkey, *dvalue;  ///< [anchors * slots][key heads][width] of the blocks' own rows
};

/// What a warp works on: the query of a slot.
struct BlockQuery {
  int anchor, slot, head, contextKeys;
  int64_t at, state;  ///< of its numbers in q, of its sums

  __device__ BlockQuery(const BlockAttention& a, int anchorOf, int slotOf, int headOf)
      : anchor(anchorOf), slot(slotOf), head(headOf), contextKeys(a.anchor[anchorOf] - a.begin[anchorOf] + 1) {
    state = (static_cast<int64_t>(anchor) * a.slots + slot) * a.queryHeads + head;
    at = state * a.width;
  }
  __device__ int keys(const BlockAttention& a) const { return contextKeys + a.slots; }
  __device__ bool sees(int j) const { return j <= contextKeys + slot; }
};

/// Where key j of a block lies in `key` and `value`.
__device__ inline int64_t keyAt(const BlockAttention& a, const BlockQuery& q, int j) {
  const int row = j < q.contextKeys ? a.begin[q.anchor] + j : a.context + q.anchor * a.slots + (j - q.contextKeys);
  return (static_cast<int64_t>(row) * a.keyHeads + q.head / a.group()) * a.width;
}

/// f(part, d) for the numbers d of a head that are this lane's.
template <class F>
__device__ void overHead(int width, F f) {
#pragma unroll
  for (int part = 0; part < kHeadParts; ++part) {
    const int d = part * kWarp + static_cast<int>(threadIdx.x % kWarp);
    if (d < width) f(part, d);
  }
}
/// Sum of f(d) over the numbers of a head, by a warp.
template <class F>
__device__ float headSum(int width, F f) {
  float sum = 0;
  overHead(width, [&](int, int d) { sum += f(d); });
  return warpReduce(sum, Sum());
}

/// Keys, values and what is multiplied by them in shared memory. Rows are one number longer than a head, so that lanes
/// with a row each meet no bank twice.
struct KeyTiles {
  float *key, *value, *x;  ///< [kKeyTile], [kKeyTile], [a row a warp and operand]
  int stride;

  __device__ KeyTiles(float* shared, int width) : key(shared), stride(width + 1) {
    value = key + kKeyTile * stride;
    x = value + kKeyTile * stride;
  }
  static size_t bytes(const BlockAttention& a, int operands) {
    return sizeof(float) * static_cast<size_t>(2 * kKeyTile + a.slots * operands) * static_cast<size_t>(a.width + 1);
  }
  /// Row `row` of x, by a warp.
  __device__ float* put(int row, const float* from, int width) const {
    float* const to = x + row * stride;
    overHead(width, [&](int, int d) { to[d] = from[d]; });
    __syncwarp();
    return to;
  }
  /// This lane's row of `tile` times x.
  __device__ float product(const float* tile, const float* operand) const {
    const float* const row = tile + threadIdx.x % kWarp * stride;
    float sum = 0;
    for (int d = 0; d < stride - 1; ++d) sum += row[d] * operand[d];
    return sum;
  }
};

/// visit(first key, keys) for each tile of keys [firstKey, endKey) while it lies in shared memory. By all threads.
template <class Visit>
__device__ void overKeyTiles(const BlockAttention& a, const BlockQuery& q, const KeyTiles& tiles, int firstKey,
                             int endKey, Visit visit) {
  const int end = endKey < q.keys(a) ? endKey : q.keys(a);
  for (int first = firstKey; first < end; first += kKeyTile) {
    const int count = end - first < kKeyTile ? end - first : kKeyTile;
    for (int i = static_cast<int>(threadIdx.x); i < count * a.width; i += static_cast<int>(blockDim.x)) {
      const int j = i / a.width, d = i % a.width;
      const int64_t from = keyAt(a, q, first + j) + d;
      tiles.key[j * tiles.stride + d] = a.key[from];
      tiles.value[j * tiles.stride + d] = a.value[from];
    }
    __syncthreads();
    visit(first, count);
    __syncthreads();
  }
}

/// The factor of scores, as logarithms to base 2.
__device__ inline float scoreFactor(int width) { return 1.44269504f / sqrtf(static_cast<float>(width)); }

/// Keys [firstKey, endKey) of every block, counted as above; the launch with a block's last key finishes it. Grid:
/// (query heads, anchors); a warp a slot.
static __global__ void __launch_bounds__(kMostSlots* kWarp, 1)
    attendBlocks(BlockAttention a, int firstKey, int endKey, uint16_t* rounded) {
  const auto warp = static_cast<int>(threadIdx.x / kWarp), lane = static_cast<int>(threadIdx.x % kWarp);
  const BlockQuery query(a, static_cast<int>(blockIdx.y), warp, static_cast<int>(blockIdx.x));
  if (firstKey >= query.keys(a)) return;
  const KeyTiles tiles(dynamicShared<float>(), a.width);
  const float* const q = tiles.put(warp, a.q + query.at, a.width);
  float most = firstKey > 0 ? a.most[query.state] : -INFINITY, sum = firstKey > 0 ? a.sum[query.state] : 0.0f;
  float out[kHeadParts] = {};
  if (firstKey > 0) overHead(a.width, [&](int part, int d) { out[part] = a.out[query.at + d]; });
  overKeyTiles(a, query, tiles, firstKey, endKey, [&](int first, int count) {
    const bool seen = lane < count && query.sees(first + lane);
    const float score = seen ? tiles.product(tiles.key, q) * scoreFactor(a.width) : -INFINITY;
    const float above = warpReduce(score > most ? score : most, Max());
    const float keep = exp2(most - above), weight = exp2(score - above);
    most = above;
    sum = sum * keep + warpReduce(weight, Sum());
    for (float& x : out) x *= keep;
    for (int j = 0; j < count; ++j) {
      const float p = __shfl_sync(kAllLanes, weight, j);
      overHead(a.width, [&](int part, int d) { out[part] += p * tiles.value[j * tiles.stride + d]; });
    }
  });
  const bool done = endKey >= query.keys(a);
  overHead(a.width, [&](int part, int d) {
    const float x = done ? out[part] / sum : out[part];
    a.out[query.at + d] = x;
    if (done) rounded[query.at + d] = fromFloat(Bf16(), x);
  });
  if (lane != 0) return;
  a.most[query.state] = done ? most + log2f(sum) : most;
  a.sum[query.state] = sum;
}

/// The gradient of queries, likewise by keys [firstKey, endKey).
static __global__ void __launch_bounds__(kMostSlots* kWarp, 1)
    attendBlocksBack(BlockAttention a, BlockAttentionGradient g, int firstKey, int endKey) {
  const auto warp = static_cast<int>(threadIdx.x / kWarp), lane = static_cast<int>(threadIdx.x % kWarp);
  const BlockQuery query(a, static_cast<int>(blockIdx.y), warp, static_cast<int>(blockIdx.x));
  if (firstKey >= query.keys(a)) return;
  const KeyTiles tiles(dynamicShared<float>(), a.width);
  const float* const q = tiles.put(warp, a.q + query.at, a.width);
  const float* const dout = tiles.put(a.slots + warp, g.dout + query.at, a.width);
  const float along = headSum(a.width, [&](int d) { return dout[d] * a.out[query.at + d]; });
  const float logSum = a.most[query.state], factor = scoreFactor(a.width);
  const float inverseRoot = 1.0f / sqrtf(static_cast<float>(a.width));
  float dq[kHeadParts] = {};
  if (firstKey > 0) overHead(a.width, [&](int part, int d) { dq[part] = g.dq[query.at + d]; });
  overKeyTiles(a, query, tiles, firstKey, endKey, [&](int first, int count) {
    float gradient = 0;
    if (lane < count && query.sees(first + lane)) {
      const float p = exp2(tiles.product(tiles.key, q) * factor - logSum);
      gradient = formula::scoreGradient(p, tiles.product(tiles.value, dout), along) * inverseRoot;
    }
    for (int j = 0; j < count; ++j) {
      const float ofKey = __shfl_sync(kAllLanes, gradient, j);
      overHead(a.width, [&](int part, int d) { dq[part] += ofKey * tiles.key[j * tiles.stride + d]; });
    }
  });
  overHead(a.width, [&](int part, int d) { g.dq[query.at + d] = dq[part]; });
}

/// The gradient of blocks' own keys and values: those of slot j, by the queries of slots j and later of all heads that
/// share them, in order. Grid: (key heads, anchors); a warp a slot.
static __global__ void __launch_bounds__(kMostSlots* kWarp, 1) ownKeysBack(BlockAttention a, BlockAttentionGradient g) {
  const auto slot = static_cast<int>(threadIdx.x / kWarp), anchor = static_cast<int>(blockIdx.y);
  const int keyHead = static_cast<int>(blockIdx.x);
  const float inverseRoot = 1.0f / sqrtf(static_cast<float>(a.width));
  float dkey[kHeadParts] = {}, dvalue[kHeadParts] = {};
  for (int head = keyHead * a.group(); head < (keyHead + 1) * a.group(); ++head)
    for (int s = slot; s < a.slots; ++s) {
      const BlockQuery query(a, anchor, s, head);
      const int64_t own = keyAt(a, query, query.contextKeys + slot);
      const float *const q = a.q + query.at, *const dout = g.dout + query.at;
      const float product = headSum(a.width, [&](int d) { return q[d] * a.key[own + d]; });
      const float p = exp2(product * scoreFactor(a.width) - a.most[query.state]);
      const float dp = headSum(a.width, [&](int d) { return dout[d] * a.value[own + d]; });
      const float along = headSum(a.width, [&](int d) { return dout[d] * a.out[query.at + d]; });
      const float gradient = formula::scoreGradient(p, dp, along) * inverseRoot;
      overHead(a.width, [&](int part, int d) {
        dkey[part] += gradient * q[d];
        dvalue[part] += p * dout[d];
      });
    }
  const int64_t to = ((static_cast<int64_t>(anchor) * a.slots + slot) * a.keyHeads + keyHead) * a.width;
  overHead(a.width, [&](int part, int d) { g.dkey[to + d] = dkey[part], g.dvalue[to + d] = dvalue[part]; });
}

/// Numbers of keys times queries that a multiprocessor surely goes through in 100 µs: three words of shared memory for
/// each, 32 words a clock.
constexpr int64_t kNumbersPerAttentionSlice = int64_t{1'000'000};

/// Where the launches begin that take the keys of blocks, the longest of which sees `keys`: each a multiple of tiles.
inline std::vector<int> planBlockAttention(const BlockAttention& a, int keys, int processors) {
  const int64_t perKey = int64_t{ceilDiv(a.anchors * a.queryHeads, processors)} * a.slots * a.width;
  const int64_t tiles = kNumbersPerAttentionSlice / (perKey * kKeyTile);
  const int step = kKeyTile * static_cast<int>(tiles < 1 ? 1 : tiles < 1024 ? tiles : 1024);
  std::vector<int> first;
  for (int key = 0; key < keys; key += step) first.push_back(key);
  first.push_back((keys + step - 1) / step * step);
  return first;
}

}  // namespace foretoken::cuda
