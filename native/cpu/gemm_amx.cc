// bf16 and fp8 on CPUs that multiply tiles (AMX-BF16): sixteen input rows times a block of a panel are one instruction.
// All other formats take the path below (avx512fp16): their scales, one for 32 columns, would take every product out of
// the tiles again, which is no faster.
//
//   inputs   rounded to bf16; fp8: each four columns in the order 0, 2, 1, 3
//   weights  a block as bf16 [16 pairs of columns][16 outputs][2]: so bf16 is packed (layout.h), fp8 is expanded to it
//   sums     [16 rows][16 outputs] in fp32, block after block, as tdpbf16ps adds: in a block, even and odd columns of
//            the pairs are two chains of fused multiply-adds, whose total is added. A row's bits do not depend on the
//            others'
#if !defined(FORETOKEN_EMULATED_AVX512)
#include <immintrin.h>

#define FORETOKEN_VECTOR_AVX512
#endif
#include "cpu/amx-inl.h"
#include "cpu/epilogue-inl.h"
#include "cpu/prepare-inl.h"
#include "cpu/tiles-inl.h"

namespace foretoken {
namespace {

constexpr int kTileRows = 16;
constexpr size_t kTileBytes = 1024;
/// Blocks that all rows go through before the next ones, where rows fill several tiles: expanded for two panels, they
/// fit the first-level cache.
constexpr int64_t kTileSlab = 16;

// Tile registers: sums of two panels, for sixteen rows and for the rows left over; inputs likewise; weights of two
// panels.
constexpr int kSums = 0, kRestSums = 2, kInputs = 4, kRestInputs = 5, kWeights = 6;

TileShapes shapesFor(int rows) {
  TileShapes shapes;
  const int rest = rows % kTileRows ? rows % kTileRows : kTileRows;
  for (int panel = 0; panel < 2; ++panel) {
    shapes.set(kSums + panel, kTileRows, 64);
    shapes.set(kRestSums + panel, rest, 64);
    shapes.set(kWeights + panel, kTileRows, 64);
  }
  shapes.set(kInputs, kTileRows, 64);
  shapes.set(kRestInputs, rest, 64);
  return shapes;
}

struct Bf16Blocks {
  static constexpr bool kExpanded = false;
};

/// The bytes of the bf16 of the magnitudes 0 to 7, multiples of 2^-9.
struct SmallBytes {
  alignas(64) uint8_t low[64] = {0x00, 0x00, 0x80, 0xc0, 0x00, 0x20, 0x40, 0x60};
  alignas(64) uint8_t high[64] = {0x00, 0x3b, 0x3b, 0x3b, 0x3c, 0x3c, 0x3c, 0x3c};
};
constexpr SmallBytes kSmallBytes;

struct Fp8Blocks {
  static constexpr bool kExpanded = true;

  /// Each bit of the bf16 of a normal e4m3 is one of its bits or the opposite of one, for the 120 that its exponent
  /// gains is a multiple of eight: a byte is the code times a matrix of bits. Magnitudes below eight come from a table.
  static void widen(__m512i codes, __m512i& low, __m512i& high) {
    low = _mm512_gf2p8affine_epi64_epi8(codes, _mm512_set1_epi64(0x0000000001020408), 0);
    high = _mm512_gf2p8affine_epi64_epi8(codes, _mm512_set1_epi64(0x1020404040404080), 0x3c);
    const __mmask64 small = _mm512_testn_epi8_mask(codes, _mm512_set1_epi8(0x78));
    if (__builtin_expect(small != 0, 0)) {
      const __m512i sign = _mm512_and_si512(codes, _mm512_set1_epi8(static_cast<char>(0x80)));
      low = _mm512_mask_permutexvar_epi8(low, small, codes, _mm512_load_si512(kSmallBytes.low));
      high = _mm512_mask_permutexvar_epi8(high, small, codes, _mm512_load_si512(kSmallBytes.high));
      high = _mm512_or_si512(high, sign);
    }
  }
  /// Columns 0, 2 and columns 1, 3 of each four. Asks for what lies ahead on the way.
  static void expand(const uint8_t* block, const Ahead& ahead, uint8_t* tile) {
    const __m512i lowHalf = _mm512_set1_epi16(0x00ff);
    constexpr int kSelect = 0xca;  // the second where the first has ones, else the third
#pragma GCC unroll 8
    for (int q = 0; q < kBlockCols / 4; ++q) {
      prefetchPiece(ahead, kBlockCols / 4, q);
      __m512i low, high;
      widen(_mm512_loadu_si512(block + q * 64), low, high);
      const __m512i even = _mm512_ternarylogic_epi32(lowHalf, low, _mm512_slli_epi16(high, 8), kSelect);
      const __m512i odd = _mm512_ternarylogic_epi32(lowHalf, _mm512_srli_epi16(low, 8), high, kSelect);
      _mm512_store_si512(tile + q * 128, even);
      _mm512_store_si512(tile + q * 128 + 64, odd);
    }
  }
};

/// What a thread works with, 64-byte aligned.
struct TileScratch {
  uint8_t* codes;  ///< [2 panels][kTileSlab] tiles of expanded weights
  float* sums;     ///< [2 panels][rows in whole tiles][16]

  static size_t codeBytes() { return 2 * kTileSlab * kTileBytes; }
  static size_t sumBytes(int rows) { return (static_cast<size_t>(rows) + kTileRows - 1) / kTileRows * kTileBytes; }
  static size_t bytes(int rows) { return codeBytes() + 2 * sumBytes(rows); }

  explicit TileScratch(uint8_t* memory) : codes(memory), sums(reinterpret_cast<float*>(memory + codeBytes())) {}
};

/// Blocks [first, first + count) of P panels. Whoever multiplies first expands them on the way, so that arithmetic,
/// tile products and reads of memory go side by side.
template <class Blocks, int P>
struct Slab {
  static constexpr int64_t kAhead = Blocks::kExpanded ? 2 : 0;
  const uint8_t* packed;
  uint8_t* expanded;
  size_t panelBytes, blockBytes;
  int64_t first, count;

  Slab(const Product& p, int64_t panel, int64_t begin, int64_t end, const TileScratch& s)
      : packed(p.weights + kHeaderBytes + panel * p.layout.panelBytes + begin * p.layout.blockBytes),
        expanded(s.codes),
        panelBytes(p.layout.panelBytes),
        blockBytes(p.layout.blockBytes),
        first(begin),
        count(end - begin) {
    for (int64_t b = 0; b < kAhead; ++b) read(b);
  }
  const uint8_t* block(int panel, int64_t b) const { return packed + panel * panelBytes + b * blockBytes; }
  uint8_t* room(int panel, int64_t b) const { return expanded + (panel * kTileSlab + b % kTileSlab) * kTileBytes; }
  const uint8_t* tile(int panel, int64_t b) const { return Blocks::kExpanded ? room(panel, b) : block(panel, b); }
  void read(int64_t b) const {
    if (b >= count) return;
    for (int panel = 0; panel < P; ++panel) {
      const uint8_t* const from = block(panel, b);
      if constexpr (Blocks::kExpanded)
        Blocks::expand(from, Ahead(from, kTileRows), room(panel, b));
      else
        for (int piece = 0; piece < kPieces; ++piece)
          prefetchPiece(Ahead(from, kTileRows), static_cast<int>(blockBytes / 64), piece);
    }
  }
};

/// sums of P panels (+)= a slab times the rows of one tile, in the registers S and X.
template <class Blocks, int P, int S, int X>
void multiplySlab(const Product& p, const Slab<Blocks, P>& slab, int row, const TileScratch& s) {
  const size_t stride = floatRowBytes(p.layout.cols), panelSums = TileScratch::sumBytes(p.count) / sizeof(float);
  const uint8_t* x = floatRow(p, row) + slab.first * 64;
  float* sums = s.sums + row * kPanelRows;
  if (slab.first == 0) {
    clearTile<S>();
    clearTile<S + 1>();
  } else {
    loadTile<S>(sums, 64);
    if constexpr (P == 2) loadTile<S + 1>(sums + panelSums, 64);
  }
  for (int64_t b = 0; b < slab.count; ++b) {
    if (row == 0) slab.read(b + slab.kAhead);
    loadTile<X>(x + b * 64, stride);
    loadTile<kWeights>(slab.tile(0, b), 64);
    multiplyTiles<S, X, kWeights>();
    if constexpr (P == 2) {
      loadTile<kWeights + 1>(slab.tile(1, b), 64);
      multiplyTiles<S + 1, X, kWeights + 1>();
    }
  }
  storeTile<S>(sums, 64);
  if constexpr (P == 2) storeTile<S + 1>(sums + panelSums, 64);
}

/// fp8: sums times the row scales behind the panel's blocks.
void scaleOutputs(const Product& p, int64_t panel, float* sums) {
  const uint8_t* tail = p.weights + kHeaderBytes + panel * p.layout.panelBytes + p.layout.blocks * p.layout.blockBytes;
  const V16 scales = load(reinterpret_cast<const float*>(tail));
  for (int row = 0; row < p.count; ++row, sums += kPanelRows) store(sums, mul(load(sums), scales));
}

template <class Blocks, int P>
void multiplyPanels(const Product& p, int64_t panel, const TileScratch& s) {
  const int64_t blocks = p.layout.blocks, slabs = p.count > kTileRows ? (blocks + kTileSlab - 1) / kTileSlab : 1;
  for (int64_t i = 0; i < slabs; ++i) {
    const Slab<Blocks, P> slab(p, panel, blocks * i / slabs, blocks * (i + 1) / slabs, s);
    int row = 0;
    for (; row + kTileRows <= p.count; row += kTileRows) multiplySlab<Blocks, P, kSums, kInputs>(p, slab, row, s);
    if (row < p.count) multiplySlab<Blocks, P, kRestSums, kRestInputs>(p, slab, row, s);
  }
  for (int k = 0; k < P; ++k) {
    float* sums = s.sums + k * TileScratch::sumBytes(p.count) / sizeof(float);
    if constexpr (Blocks::kExpanded) scaleOutputs(p, panel + k, sums);
    finish(p, panel + k, 0, p.count, sums);
  }
}

/// Two panels share the loads of inputs where inputs are many; few rows read one straight stream of weights.
template <class Blocks>
void multiplyTiled(const Product& p, int64_t first, int64_t last, uint8_t* scratch) {
  const TileScratch s(scratch);
  configureTiles(shapesFor(p.count));
  if (p.count > kTileRows)
    for (; first + 2 <= last; first += 2) multiplyPanels<Blocks, 2>(p, first, s);
  for (; first < last; ++first) multiplyPanels<Blocks, 1>(p, first, s);
  releaseTiles();
}

void multiplyByTiles(const Product& p, int64_t first, int64_t last, uint8_t* scratch) {
  if (p.format == Format::bf16) return multiplyTiled<Bf16Blocks>(p, first, last, scratch);
  if (p.format == Format::fp8) return multiplyTiled<Fp8Blocks>(p, first, last, scratch);
  avx512fp16Kernels().multiply(p, first, last, scratch);
}

void prepareForTiles(Format format, const float* in, int64_t cols, const float* norm, float eps, uint8_t* rows,
                     int64_t row) {
  if (format != Format::fp8) return avx512fp16Kernels().prepare(format, in, cols, norm, eps, rows, row);
  uint16_t* values = reinterpret_cast<uint16_t*>(rows + row * floatRowBytes(cols));
  forNormalised(in, cols, norm, eps, [&](int64_t k, V16 x) {
    const V16 ordered{_mm512_shuffle_ps(x.x, x.x, 0xd8)};
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(values + k), _mm512_cvtepi32_epi16(packPairs(ordered, ordered).x));
  });
}

size_t scratchWithTiles(int rows) {
  const size_t others = avx512fp16Kernels().scratchBytes(rows), tiles = TileScratch::bytes(rows);
  return others > tiles ? others : tiles;
}

/// Tile products on registers alone.
int64_t peakTiles(int64_t rounds) {
  configureTiles(shapesFor(kTileRows));
  for (int64_t i = 0; i < rounds; ++i) {
    multiplyTiles<kSums, kInputs, kWeights>();
    multiplyTiles<kSums + 1, kInputs, kWeights + 1>();
  }
  releaseTiles();
  return rounds * 2 * kTileRows * kPanelRows * kBlockCols;
}

}  // namespace

const Kernels& amxKernels() {
  static const Kernels table = [] {
    Kernels k = avx512fp16Kernels();
    k.prepare = prepareForTiles;
    k.scratchBytes = scratchWithTiles;
    k.multiply = multiplyByTiles;
    k.peakBf16 = peakTiles;
    return k;
  }();
  return table;
}

}  // namespace foretoken
