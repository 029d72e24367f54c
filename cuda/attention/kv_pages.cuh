// Pages of keys and values, and the two formats that they are kept in.
//
// A page holds sixteen positions, which is what one matrix instruction (m16n8k16) contracts over. Keys and values of a
// head lie in blocks of 16 positions x 16 dimensions, each in the order of that instruction's second operand: what the
// 32 lanes load of a block, 16 bytes each (8 in fp8), is contiguous and needs no shuffle. Memory order is
// [page][layer][head]{ keys, values, exponents }, so that a page of positions is one contiguous piece.
#pragma once
#include "backend.h"
#include "cuda/common/device.cuh"
#include "cuda/common/mma.cuh"
#include "quant/float_codecs.h"

namespace foretoken::cuda {

constexpr int kBlockDims = 16;  ///< dimensions of a block; its other side is a page's positions

/// Where element (n, k) of a 16 x 16 block lies: `n` is the side that becomes columns of the product (positions of
/// keys, dimensions of values), `k` the one that is summed over.
__host__ __device__ constexpr int elementIndex(int n, int k) {
  const int lane = n % 8 * 4 + k % 8 / 2;
  return lane * 8 + n / 8 * 4 + k / 8 * 2 + k % 2;
}

/// Keys and values as bf16.
struct Bf16Kv {
  using Element = uint16_t;
  using Share = uint4;  ///< a lane's eight elements of a block
  static constexpr bool kScaled = false;
  /// The share as four registers of two bf16.
  static __device__ void expand(Share share, uint32_t (&out)[4]) {
    out[0] = share.x, out[1] = share.y, out[2] = share.z, out[3] = share.w;
  }
  static __device__ uint32_t pair(Element low, Element high) { return low | uint32_t{high} << 16; }
  static __device__ Element encode(float value) { return fromFloat(Bf16{}, value); }
};

/// e4m3 with a power of two for each vector of a position and head, so that multiplying by it rounds nothing.
struct Fp8Kv {
  using Element = uint8_t;
  using Share = uint2;
  static constexpr bool kScaled = true;
  static __device__ uint32_t pair(Element low, Element high) {
    return packPair(Bf16{}, e4m3ToFloat(low), e4m3ToFloat(high));  // exact
  }
  static __device__ uint32_t pairOf(uint32_t codes) {
    return pair(static_cast<Element>(codes), static_cast<Element>(codes >> 8));
  }
  static __device__ void expand(Share share, uint32_t (&out)[4]) {
    out[0] = pairOf(share.x), out[1] = pairOf(share.x >> 16), out[2] = pairOf(share.y), out[3] = pairOf(share.y >> 16);
  }
  static __device__ Element encode(float value) { return floatToE4m3(value); }
};

/// 2^exponent for exponents of normal numbers.
__host__ __device__ constexpr float powerOfTwo(int exponent) {
  return bitsFloat(static_cast<uint32_t>(exponent + 127) << 23);
}

/// The least exponent (not below -100) for which `largest` is within e4m3's range after division by its power of two.
__host__ __device__ constexpr int exponentFor(float largest) {
  const int exponent = static_cast<int>(floatBits(largest) >> 23) - 127 - 8;  // largest / 2^exponent is in [256, 512)
  const int least = exponent < -100 ? -100 : exponent;
  return largest > 448.0f * powerOfTwo(least) ? least + 1 : least;
}

/// Keys and values of one layer.
struct KvPages {
  uint8_t* base;                  ///< page 0, head 0
  size_t pageStride, headStride;  ///< bytes
  int headDim, kvHeads;
  bool operator==(const KvPages&) const = default;

  __host__ __device__ uint8_t* head(int page, int kvHead) const {
    return base + page * pageStride + kvHead * headStride;
  }
  template <class Codec>
  __device__ typename Codec::Element* keys(int page, int kvHead) const {
    return reinterpret_cast<typename Codec::Element*>(head(page, kvHead));
  }
  template <class Codec>
  __device__ typename Codec::Element* values(int page, int kvHead) const {
    return keys<Codec>(page, kvHead) + kPageSize * headDim;
  }
  /// Exponents of sixteen keys, then of sixteen values; where the codec has any.
  template <class Codec>
  __device__ int8_t* exponents(int page, int kvHead) const {
    return reinterpret_cast<int8_t*>(values<Codec>(page, kvHead) + kPageSize * headDim);
  }
};

/// Bytes that a page takes for one head.
template <class Codec>
__host__ __device__ constexpr size_t pageHeadBytes(int headDim) {
  return 2 * sizeof(typename Codec::Element) * kPageSize * headDim + (Codec::kScaled ? 2 * kPageSize : 0);
}

}  // namespace foretoken::cuda
