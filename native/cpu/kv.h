// The CPU's paged pool of keys and values: bf16, every layer, one mapping.
//
// Memory order is [page][layer][kvHead]{ K, V }, so that a page of positions is one contiguous piece, the positions a
// sequence has used lie in few huge pages, and a pool that is not full has touched little memory. Within a page and
// head:
//   K  [headDim / 2][16 positions][2]   one vector load holds dimensions 2i, 2i + 1 of sixteen positions: scores of a
//   whole
//                                       page at once, by broadcasting the query
//   V  [16 positions][valueStride]      headDim rounded up to 32; of each 32 dimensions, d and d + 16 share a 32-bit
//   word, so
//                                       that splitting the words gives sixteen consecutive dimensions twice
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "backend.h"
#include "common/memory.h"

namespace foretoken {

/// Keys and values of one layer, as kernels see them. Plain numbers, usable from any instruction set.
struct KvLayer {
  uint16_t* base;      ///< page 0, head 0
  size_t pageStride;   ///< elements from page to page
  size_t headStride;   ///< elements from head to head; K comes first
  size_t valueOffset;  ///< elements from K to V
  int headDim, valueStride;
};
/// K of all sixteen positions of `page`.
inline uint16_t* keyPage(const KvLayer& kv, int head, int page) {
  return kv.base + page * kv.pageStride + head * kv.headStride;
}
/// V of one slot, [valueStride].
inline uint16_t* valueOf(const KvLayer& kv, int head, int slot) {
  return kv.base + slot / kPageSize * kv.pageStride + head * kv.headStride + kv.valueOffset +
         static_cast<size_t>(slot % kPageSize) * kv.valueStride;
}

class KvPool {
 public:
  /// Maps the pool, zeroed. Errors: UNSUPPORTED_HEAD_DIM (headDim must be a multiple of 16 within 32..256),
  /// OUT_OF_MEMORY when the pool does not fit in the memory this process may still use.
  explicit KvPool(const KvShape& shape);

  const KvShape& shape() const { return shape_; }
  KvLayer layer(int index) const;
  /// Bytes that `shape` takes, side bytes included. Errors: as the constructor, but for memory that there is not.
  static size_t bytes(const KvShape& shape);

  /// Copies K and V of slots in the given order (a slot written earlier in the list is read as written) for the pages'
  /// layers [layerBegin, layerEnd): threads may take different layers.
  void copyLayers(std::span<const int32_t> from, std::span<const int32_t> to, int layerBegin, int layerEnd);
  /// Copies the side bytes of slots, in order.
  void copySides(std::span<const int32_t> from, std::span<const int32_t> to);
  /// [sideBytes] of a slot, zero at first; null when sideBytes is 0.
  uint8_t* side(int32_t slot) const {
    return sides_.data() ? sides_.data() + static_cast<size_t>(slot) * shape_.sideBytes : nullptr;
  }

 private:
  KvShape shape_;
  int valueStride_;
  size_t headStride_, layerStride_, pageStride_;  // elements
  Memory keysAndValues_, sides_;
};

}  // namespace foretoken
