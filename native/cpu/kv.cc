#include "cpu/kv.h"

#include <cstring>
#include <limits>
#include <string>

#include "common/error.h"

namespace foretoken {
namespace {

int roundUp(int value, int unit) { return (value + unit - 1) / unit * unit; }

size_t headElements(const KvShape& s) { return static_cast<size_t>(kPageSize) * (s.headDim + roundUp(s.headDim, 32)); }

size_t keyValueBytes(const KvShape& s) {
  return static_cast<size_t>(s.pages) * s.layers * s.kvHeads * headElements(s) * sizeof(uint16_t);
}

void checkShape(const KvShape& s) {
  if (s.headDim < 32 || s.headDim > 256 || s.headDim % 16 != 0)
    throw Error("UNSUPPORTED_HEAD_DIM",
                "head dimension " + std::to_string(s.headDim) + " is not a multiple of 16 between 32 and 256");
  if (s.format != KvFormat::bf16)
    throw Error("UNSUPPORTED_KV_FORMAT", "the CPU keeps keys and values in bf16 alone: load with backend 'cuda'");
  if (s.layers < 1 || s.kvHeads < 1 || s.pages < 1 || s.sideBytes < 0)
    throw Error("INVALID_ARGUMENT", "a KV pool needs at least one layer, head and page");
  // In double: the product of sizes out of a file may overflow 64 bits.
  const double all = static_cast<double>(s.pages) * s.layers * s.kvHeads * headElements(s) * sizeof(uint16_t) +
                     static_cast<double>(s.pages) * kPageSize * s.sideBytes;
  if (s.pages > std::numeric_limits<int32_t>::max() / kPageSize || all > 1e15)
    throw Error("OUT_OF_MEMORY", "a KV pool of " + std::to_string(s.pages) + " pages cannot be addressed");
}

}  // namespace

size_t KvPool::bytes(const KvShape& s) {
  checkShape(s);
  return keyValueBytes(s) + static_cast<size_t>(s.pages) * kPageSize * s.sideBytes;
}

KvPool::KvPool(const KvShape& shape) : shape_(shape) {
  checkShape(shape);
  valueStride_ = roundUp(shape.headDim, 32);
  headStride_ = headElements(shape);
  layerStride_ = headStride_ * shape.kvHeads;
  pageStride_ = layerStride_ * shape.layers;

  keysAndValues_ = Memory(keyValueBytes(shape), "the KV pool");
  sides_ = Memory(static_cast<size_t>(shape.pages) * kPageSize * shape.sideBytes, "the KV pool's side bytes");
}

KvLayer KvPool::layer(int index) const {
  return {reinterpret_cast<uint16_t*>(keysAndValues_.data()) + index * layerStride_,
          pageStride_,
          headStride_,
          static_cast<size_t>(kPageSize) * shape_.headDim,
          shape_.headDim,
          valueStride_};
}

void KvPool::copyLayers(std::span<const int32_t> from, std::span<const int32_t> to, int layerBegin, int layerEnd) {
  for (int l = layerBegin; l < layerEnd; ++l) {
    const KvLayer kv = layer(l);
    for (int head = 0; head < shape_.kvHeads; ++head) {
      for (size_t i = 0; i < from.size(); ++i) {
        const uint16_t* source = keyPage(kv, head, from[i] / kPageSize) + from[i] % kPageSize * 2;
        uint16_t* target = keyPage(kv, head, to[i] / kPageSize) + to[i] % kPageSize * 2;
        for (int d = 0; d < shape_.headDim / 2; ++d) std::memcpy(target + d * 32, source + d * 32, 4);
        std::memmove(valueOf(kv, head, to[i]), valueOf(kv, head, from[i]), valueStride_ * sizeof(uint16_t));
      }
    }
  }
}

void KvPool::copySides(std::span<const int32_t> from, std::span<const int32_t> to) {
  if (shape_.sideBytes == 0) return;
  for (size_t i = 0; i < from.size(); ++i) std::memmove(side(to[i]), side(from[i]), shape_.sideBytes);
}

}  // namespace foretoken
