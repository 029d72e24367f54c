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

/// Exchanges rows and columns of sixteen times sixteen words.
inline void transpose(__m512i (&v)[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(v[i], v[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(v[i], v[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; ++j) {
      v[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + j + 2]);
      v[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + j + 2]);
    }
  // Lane l of v[4 g + c] now has column 4 l + c of rows 4 g .. 4 g + 3.
  for (int c = 0; c < 4; ++c) {
    const __m512i a = _mm512_shuffle_i32x4(v[c], v[4 + c], 0x88), b = _mm512_shuffle_i32x4(v[c], v[4 + c], 0xdd);
    const __m512i d = _mm512_shuffle_i32x4(v[8 + c], v[12 + c], 0x88);
    const __m512i e = _mm512_shuffle_i32x4(v[8 + c], v[12 + c], 0xdd);
    t[c] = _mm512_shuffle_i32x4(a, d, 0x88), t[8 + c] = _mm512_shuffle_i32x4(a, d, 0xdd);
    t[4 + c] = _mm512_shuffle_i32x4(b, e, 0x88), t[12 + c] = _mm512_shuffle_i32x4(b, e, 0xdd);
  }
  for (int i = 0; i < 16; ++i) v[i] = t[i];
}

/// Sixteen pairs of neighbours.
inline __m512i neighbours(const float* x) {
  return (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + kLanes), _mm512_loadu_ps(x));
}

/// Packs whole groups of 32 pairs of a full tile whose rows lie without gaps; returns how many pairs it did.
inline int64_t packRows(const float* from, int64_t rowStride, int64_t pairs, int64_t tile, Pair* out) {
  constexpr int64_t kGroup = 32;
  const int64_t done = pairs / kGroup * kGroup;
  for (int64_t q = 0; q < done; q += kGroup)
    for (int64_t i = 0; i < tile; i += 8) {
      __m512i v[16];  // eight rows, sixteen pairs of each, then sixteen more
      for (int64_t r = 0; r < 8; ++r)
        for (int64_t half = 0; half < 2; ++half)
          v[8 * half + r] = neighbours(from + (i + r) * rowStride + 2 * q + 2 * kLanes * half);
      transpose(v);
      for (int64_t k = 0; k < 16; ++k) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + (q + k) * tile + i), _mm512_castsi512_si256(v[k]));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + (q + 16 + k) * tile + i),
                            _mm512_extracti64x4_epi64(v[k], 1));
      }
    }
  return done;
}

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

inline int64_t packRows(const float*, int64_t, int64_t, int64_t, Pair*) { return 0; }

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
  const int64_t packed = rows == tile ? packRows(from, m.rowStride, m.columns / 2, tile, out) : 0;
  for (int64_t begin = packed; begin < pairs; begin += kPackPairs)
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
