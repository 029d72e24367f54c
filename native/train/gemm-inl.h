// Matrix products out = a b on bf16 pairs, written once over sixteen lanes. Included by one file per instruction set,
// which defines the vector type first.
//
// a is packed into panels of kTileRows rows, b into panels of kTileColumns columns, both rounded to bf16 and in the
// order in which a tile reads them; a tile then sums all of its products in registers. Element by element that is one
// chain of fused multiply-adds, the odd column of each pair before the even one (as vdpbf16ps does it), so neither
// blocking nor threads can change a bit.
#pragma once
#include <algorithm>

#include "cpu/vector_math-inl.h"
#include "quant/float_codecs.h"
#include "train/kernels.h"

namespace foretoken::train {
namespace {

#if defined(FORETOKEN_VECTOR_AVX512)

constexpr int kTileRows = 8, kTileVectors = 3;
using Pair = uint32_t;  ///< two bf16: the even one in the low half

inline Pair makePair(float even, float odd) { return floatToBf16(even) | uint32_t{floatToBf16(odd)} << 16; }
/// Pairs [i, i + 16) of a row of `tile` pairs.
inline void packSixteen(const float* even, const float* odd, Pair* row, int64_t, int64_t i) {
  storePairs(reinterpret_cast<uint16_t*>(row + i), packPairs(load(even), load(odd)));
}
inline void setPair(Pair* row, int64_t i, int64_t, Pair pair) { row[i] = pair; }

/// sum[r][v] += the products of a row of pairs of a with one of b.
inline void multiplyPair(Part (&sum)[kTileRows][kTileVectors], const Pair* a, const Pair* b) {
  __m512bh columns[kTileVectors];
  for (int v = 0; v < kTileVectors; ++v) columns[v] = (__m512bh)_mm512_loadu_si512(b + v * kLanes);
  for (int r = 0; r < kTileRows; ++r) {
    const __m512bh row = (__m512bh)_mm512_set1_epi32(static_cast<int>(a[r]));
    for (int v = 0; v < kTileVectors; ++v) sum[r][v] = _mm512_dpbf16_ps(sum[r][v], row, columns[v]);
  }
}

#else

constexpr int kTileRows = 4, kTileVectors = 1;
struct Pair {
  float odd, even;  ///< fp32 values of bf16, in the order of summation
};

#if defined(FORETOKEN_TRAIN_UNROUNDED)
inline float rounded(float x) { return x; }  // for tests, which then see the mathematics alone
#else
inline float rounded(float x) { return bf16ToFloat(floatToBf16(x)); }
#endif
inline Pair makePair(float even, float odd) { return {rounded(odd), rounded(even)}; }
/// A row of `tile` pairs is a row of odd values and one of even values.
inline void setPair(Pair* row, int64_t i, int64_t tile, Pair pair) {
  reinterpret_cast<float*>(row)[i] = pair.odd;
  reinterpret_cast<float*>(row)[tile + i] = pair.even;
}
inline void packSixteen(const float* even, const float* odd, Pair* row, int64_t tile, int64_t i) {
  for (int64_t l = 0; l < kLanes; ++l) setPair(row, i + l, tile, makePair(even[l], odd[l]));
}

inline void multiplyPair(Part (&sum)[kTileRows][kTileVectors * kParts], const Pair* a, const Pair* b) {
  const float* left = reinterpret_cast<const float*>(a);
  const float* right = reinterpret_cast<const float*>(b);
  for (int half = 0; half < 2; ++half) {
    Part columns[kTileVectors * kParts];
    for (int v = 0; v < kTileVectors * kParts; ++v)
      columns[v] = loadPart(right + half * kTileVectors * kLanes + v * kPartLanes);
    for (int r = 0; r < kTileRows; ++r) {
      const Part row = broadcastPart(left + half * kTileRows + r);
      for (int v = 0; v < kTileVectors * kParts; ++v) fmaInto(sum[r][v], row, columns[v]);
    }
  }
}

#endif

constexpr int kTileColumns = kTileVectors * kLanes;
/// Pairs packed row by row before moving on, so that the part of a panel being written stays in the first cache.
constexpr int64_t kPackPairs = 64;

/// Packs rows [first, first + tile) of m, padded with zeros, as [pairs of columns][tile].
inline void pack(MatrixView m, int64_t first, int64_t tile, void* panel) {
  Pair* out = static_cast<Pair*>(panel);
  const int64_t pairs = (m.columns + 1) / 2, rows = std::min(tile, m.rows - first);
  const float* from = m.data + first * m.rowStride;
  const auto at = [&](int64_t i, int64_t k) {
    return i < rows && k < m.columns ? from[i * m.rowStride + k * m.columnStride] : 0.0f;
  };
  if (m.rowStride == 1 && rows == tile && tile % kLanes == 0 && m.columns % 2 == 0) {
    for (int64_t q = 0; q < pairs; ++q)
      for (int64_t i = 0; i < tile; i += kLanes) {
        const float* even = from + 2 * q * m.columnStride + i;
        packSixteen(even, even + m.columnStride, out + q * tile, tile, i);
      }
    return;
  }
  const auto put = [&](int64_t i, int64_t q) {
    setPair(out + q * tile, i, tile, makePair(at(i, 2 * q), at(i, 2 * q + 1)));
  };
  if (m.rowStride == 1) {
    for (int64_t q = 0; q < pairs; ++q)
      for (int64_t i = 0; i < tile; ++i) put(i, q);
    return;
  }
  for (int64_t begin = 0; begin < pairs; begin += kPackPairs)
    for (int64_t i = 0; i < tile; ++i)
      for (int64_t q = begin; q < std::min(pairs, begin + kPackPairs); ++q) put(i, q);
}

/// out [rows, columns] (+)= the product of a panel of a and one of b.
inline void multiplyTile(const void* a, const void* b, int64_t pairs, float* out, int64_t stride, int64_t rows,
                         int64_t columns, bool accumulate) {
  const Pair* left = static_cast<const Pair*>(a);
  const Pair* right = static_cast<const Pair*>(b);
  constexpr int kSums = kTileVectors * kParts;
  Part sum[kTileRows][kSums];
  for (auto& row : sum)
    for (Part& s : row) s = zeroPart();
  for (int64_t q = 0; q < pairs; ++q) multiplyPair(sum, left + q * kTileRows, right + q * kTileColumns);
  float tile[kTileRows][kTileColumns];
  for (int r = 0; r < kTileRows; ++r)
    for (int v = 0; v < kSums; ++v) storePart(tile[r] + v * kPartLanes, sum[r][v]);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      out[r * stride + c] = accumulate ? out[r * stride + c] + tile[r][c] : tile[r][c];
}

}  // namespace
}  // namespace foretoken::train
