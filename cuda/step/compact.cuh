// An accepted branch moves to its place: keys and values of slots, all layers. What is kept of a position in the side
// bytes lies in host memory and is copied there.
#pragma once
#include "cuda/attention/kv_pages.cuh"

namespace foretoken::cuda {

constexpr int kCompactThreads = 128;

struct CompactArgs {
  KvPages kv;          ///< of layer 0
  size_t layerStride;  ///< bytes
  const int32_t* from;
  const int32_t* to;
  int count;
};

/// Copies slots in the given order; one that was written earlier in the list is read as written, because a thread takes
/// the same dimensions of all slots. Grid: (KV heads, layers).
template <class Codec>
__global__ void __launch_bounds__(kCompactThreads) compact(CompactArgs a) {
  KvPages kv = a.kv;
  kv.base += blockIdx.y * a.layerStride;
  const int head = blockIdx.x;
  for (int d = threadIdx.x; d < kv.headDim; d += blockDim.x) {
    const int block = d / kBlockDims * kBlockDims * kPageSize, inside = d % kBlockDims;
    for (int i = 0; i < a.count; ++i) {
      const int from = a.from[i], to = a.to[i];
      const auto *keys = kv.keys<Codec>(from / kPageSize, head), *values = kv.values<Codec>(from / kPageSize, head);
      kv.keys<Codec>(to / kPageSize, head)[block + elementIndex(to % kPageSize, inside)] =
          keys[block + elementIndex(from % kPageSize, inside)];
      kv.values<Codec>(to / kPageSize, head)[block + elementIndex(inside, to % kPageSize)] =
          values[block + elementIndex(inside, from % kPageSize)];
    }
  }
  if constexpr (Codec::kScaled) {
    if (threadIdx.x >= 2) return;  // one takes the keys' exponents, one the values'
    for (int i = 0; i < a.count; ++i) {
      const int from = a.from[i], to = a.to[i], part = static_cast<int>(threadIdx.x) * kPageSize;
      kv.exponents<Codec>(to / kPageSize, head)[part + to % kPageSize] =
          kv.exponents<Codec>(from / kPageSize, head)[part + from % kPageSize];
    }
  }
}

}  // namespace foretoken::cuda
