// The matrix product, once for all formats and instruction sets. Included by gemm_*.cc after they have defined
//   Vector   the path: registers of Vector::kLanes output rows (a panel has kVectors of them) and what can be done with
//   them
// A codec says how a block of a format expands and how it is scaled, in terms of Vector. A tile is one panel times up
// to Vector::kTile input rows.
#pragma once
#include <utility>

#include "cpu/epilogue-inl.h"
#include "cpu/kernels.h"
#include "cpu/prepare-inl.h"

namespace foretoken {
namespace {

/// Calls f.operator()<T>(row) for tiles of at most `max` rows, as equal as they can be.
template <int max, class F>
inline void forTiles(int count, F&& f) {
  const int tiles = (count + max - 1) / max;
  for (int i = 0; i < tiles; ++i) {
    const int row = static_cast<int>(int64_t{count} * i / tiles);
    const int size = static_cast<int>(int64_t{count} * (i + 1) / tiles) - row;
    [&]<int... T>(std::integer_sequence<int, T...>) {
      ((size == T + 1 ? f.template operator()<T + 1>(row) : void()), ...);
    }
    (std::make_integer_sequence<int, max>());
  }
}

/// Weights that stay in the second-level cache while tile after tile of rows passes over them.
constexpr size_t kGroupBytes = size_t{128} << 10;

/// Calls f.operator()<T>(panel, row) for every panel of [first, last) and every tile of rows.
template <int max, class F>
inline void forPanelsAndTiles(const Product& p, int64_t first, int64_t last, F&& f) {
  const int64_t group = p.layout.panelBytes < kGroupBytes ? kGroupBytes / p.layout.panelBytes : 1;
  for (int64_t begin = first; begin < last; begin += group) {
    const int64_t end = begin + group < last ? begin + group : last;
    forTiles<max>(p.count, [&]<int T>(int row) {
      for (int64_t panel = begin; panel < end; ++panel) f.template operator()<T>(panel, row);
    });
  }
}

// --- codecs of integer formats ---------------------------------------------------------------------------------------
// kGroups  scales per block, each over 32 / kGroups columns     kOffset  what Vector adds to a code to make it unsigned
// kMinimum whether blocks have a minimum                         codes    eight columns (pair of quads v) of vector n
// scale    of group g, vector n                                  finish   factor of the sum over all blocks

template <class Vector>
struct Nibbles {
  static constexpr int kGroups = 1, kBytes = 4;
  static constexpr bool kMinimum = false;
  static void codes(const uint8_t* block, int v, int n, typename Vector::Bytes& low, typename Vector::Bytes& high) {
    Vector::nibbles(block + v * 64 + n * 4 * Vector::kRows, low, high);
  }
  static float finish(const uint8_t*) { return 1.0f; }
};

template <class Vector>
struct Q4_0 : Nibbles<Vector> {
  static constexpr int kOffset = 8;
  static auto scale(const uint8_t* block, int, int n) { return Vector::halves(block + 256 + n * 2 * Vector::kRows); }
};

template <class Vector>
struct Q4_1 : Nibbles<Vector> {
  static constexpr int kOffset = 0;
  static constexpr bool kMinimum = true;
  static auto scale(const uint8_t* block, int, int n) { return Vector::halves(block + 256 + n * 2 * Vector::kRows); }
  static auto minimum(const uint8_t* block, int n) { return Vector::halves(block + 288 + n * 2 * Vector::kRows); }
};

/// Codes count halves and are offset by 12, so that they are bytes from 0 to 24.
template <class Vector>
struct E2m1 : Nibbles<Vector> {
  static constexpr int kOffset = 12;
  static void codes(const uint8_t* block, int v, int n, typename Vector::Bytes& low, typename Vector::Bytes& high) {
    Nibbles<Vector>::codes(block, v, n, low, high);
    low = Vector::e2m1(low);
    high = Vector::e2m1(high);
  }
};

template <class Vector>
struct Mxfp4 : E2m1<Vector> {
  static auto scale(const uint8_t* block, int, int n) { return Vector::e8m0(block + 256 + n * Vector::kRows); }
  static float finish(const uint8_t*) { return 0.5f; }
};

template <class Vector>
struct Nvfp4 : E2m1<Vector> {
  static constexpr int kGroups = 2;
  static auto scale(const uint8_t* block, int g, int n) {
    return Vector::e4m3Scales(block + 256 + g * kPanelRows + n * Vector::kRows);
  }
  static float finish(const uint8_t* header) {
    float global;
    __builtin_memcpy(&global, header, sizeof(global));
    return global * 0.5f;
  }
};

/// Signed bytes; the path decides how it multiplies them.
template <class Vector>
struct Q8_0 {
  static constexpr int kGroups = 1, kBytes = 8, kOffset = 128;
  static constexpr bool kMinimum = false;
  static void codes(const uint8_t* block, int v, int n, typename Vector::Bytes& low, typename Vector::Bytes& high) {
    low = Vector::bytes(block + v * 128 + n * 4 * Vector::kRows);
    high = Vector::bytes(block + v * 128 + 64 + n * 4 * Vector::kRows);
  }
  static auto scale(const uint8_t* block, int, int n) { return Vector::halves(block + 512 + n * 2 * Vector::kRows); }
  static float finish(const uint8_t*) { return 1.0f; }
};

// --- integer formats
// ---------------------------------------------------------------------------------------------------

/// acc += block b of the weights times T rows, for N vectors of output rows from vector `first` on.
template <class Vector, class Codec, int T, int N>
inline __attribute__((always_inline)) void integerBlock(const uint8_t* block, int first, int64_t b,
                                                        const IntegerRow (&x)[T], typename Vector::Float (&acc)[T][N]) {
  using Dot = typename Vector::template Dot<Codec>;
  typename Vector::Float sum[T][N];
#pragma GCC unroll 2
  for (int g = 0; g < Codec::kGroups; ++g) {
    typename Dot::Sum dot[T][N];
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t)
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) dot[t][n] = Dot::start(x[t].words + 2 * b + g);
#pragma GCC unroll 4
    for (int v = g * 4 / Codec::kGroups; v < (g + 1) * 4 / Codec::kGroups; ++v) {
      typename Vector::Bytes w[N][2];
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) Codec::codes(block, v, first + n, w[n][0], w[n][1]);
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t)
#pragma GCC unroll 2
        for (int i = 0; i < 2; ++i) {
          const auto quad = Vector::quad(x[t].codes + b * kBlockCols + v * 8 + i * 4);
#pragma GCC unroll 2
          for (int n = 0; n < N; ++n) dot[t][n] = Dot::add(dot[t][n], w[n][i], quad);
        }
    }
#pragma GCC unroll 2
    for (int n = 0; n < N; ++n) {
      const auto scale = Codec::scale(block, g, first + n);
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) {
        const auto value = Dot::value(dot[t][n]);
        if constexpr (Codec::kMinimum)
          sum[t][n] = Vector::fma(
              value, scale, Vector::mul(Codec::minimum(block, first + n), Vector::spread(x[t].words + 2 * b + 1)));
        else
          sum[t][n] = g == 0 ? Vector::mul(value, scale) : Vector::fma(value, scale, sum[t][n]);
      }
    }
  }
#pragma GCC unroll 2
  for (int n = 0; n < N; ++n) {
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t) acc[t][n] = Vector::fma(sum[t][n], Vector::broadcast(x[t].scales[b]), acc[t][n]);
  }
}

template <class Vector, class Codec, int T>
void integerTile(const Product& p, int64_t panel, int row) {
  constexpr int kVectors = Vector::kVectors;
  // Both vectors together share the loads of x; with many rows their sums would not fit the registers.
  constexpr int N = T * kVectors <= Vector::kSums ? kVectors : 1;
  const uint8_t* block = p.weights + kHeaderBytes + panel * p.layout.panelBytes;
  IntegerRow x[T];
  for (int t = 0; t < T; ++t) x[t] = IntegerRow(p.rows + (row + t) * p.rowBytes, p.layout.blocks);
  typename Vector::Float acc[kVectors / N][T][N];
  for (auto& part : acc)
    for (auto& line : part)
      for (auto& sum : line) sum = Vector::broadcast(0.0f);
  for (int64_t b = 0; b < p.layout.blocks; ++b, block += p.layout.blockBytes)
#pragma GCC unroll 2
    for (int part = 0; part < kVectors / N; ++part) integerBlock<Vector, Codec, T, N>(block, part * N, b, x, acc[part]);
  const auto factor = Vector::broadcast(Codec::finish(p.weights));
  for (int t = 0; t < T; ++t) {
    float sums[kPanelRows];
    for (int n = 0; n < kVectors; ++n)
      Vector::store(sums + n * Vector::kRows, Vector::mul(acc[n / N][t][n % N], factor));
    finish(p, panel, row + t, sums);
  }
}

// --- codecs of float formats
// ------------------------------------------------------------------------------------------- expand   four columns
// (quad q) of vector n, as fp32

template <class Vector>
struct F32 {
  static void expand(const uint8_t* block, int q, int n, typename Vector::Float (&w)[4]) {
    for (int c = 0; c < 4; ++c)
      w[c] = Vector::load(reinterpret_cast<const float*>(block) + (q * 4 + c) * kPanelRows + n * Vector::kRows);
  }
};

template <class Vector>
struct F16 {
  static void expand(const uint8_t* block, int q, int n, typename Vector::Float (&w)[4]) {
    for (int c = 0; c < 4; ++c) w[c] = Vector::halves(block + ((q * 4 + c) * kPanelRows + n * Vector::kRows) * 2);
  }
};

template <class Vector>
struct Bf16 {
  static void expand(const uint8_t* block, int q, int n, typename Vector::Float (&w)[4]) {
    Vector::bf16Pairs(block + (q * 2 * kPanelRows + n * Vector::kRows) * 4, w[0], w[1]);
    Vector::bf16Pairs(block + ((q * 2 + 1) * kPanelRows + n * Vector::kRows) * 4, w[2], w[3]);
  }
};

template <class Vector>
struct Fp8 {
  static void expand(const uint8_t* block, int q, int n, typename Vector::Float (&w)[4]) {
    Vector::e4m3Quads(block + (q * kPanelRows + n * Vector::kRows) * 4, w);
  }
};

// --- float formats
// -----------------------------------------------------------------------------------------------------

constexpr int kChains = 4;

/// (c0 + c1) + (c2 + c3), times the row scales of fp8, and out.
template <class Vector, Format format>
void floatFinish(const Product& p, int64_t panel, int row, const float (*chains)[kPanelRows]) {
  const float* scales = reinterpret_cast<const float*>(p.weights + kHeaderBytes + panel * p.layout.panelBytes +
                                                       p.layout.blocks * p.layout.blockBytes);
  float sums[kPanelRows];
  for (int n = 0; n < Vector::kVectors; ++n) {
    const int i = n * Vector::kRows;
    auto sum = Vector::add(Vector::add(Vector::load(chains[0] + i), Vector::load(chains[1] + i)),
                           Vector::add(Vector::load(chains[2] + i), Vector::load(chains[3] + i)));
    if constexpr (format == Format::fp8)
      sum = Vector::mul(Vector::mul(sum, Vector::broadcast(Vector::kFp8Unscale)), Vector::load(scales + i));
    Vector::store(sums + i, sum);
  }
  finish(p, panel, row, sums);
}

/// One to three rows: expanded weights go straight into the sums.
template <class Vector, class Codec, Format format, int T>
void floatFused(const Product& p, int64_t panel, int row) {
  constexpr int kVectors = Vector::kVectors;
  constexpr int N = T == 1 ? kVectors : 1;
  const uint8_t* weights = p.weights + kHeaderBytes + panel * p.layout.panelBytes;
  float chains[T][kChains][kPanelRows];
  for (int part = 0; part < kVectors / N; ++part) {
    typename Vector::Float acc[T][N][kChains];
    for (auto& lines : acc)
      for (auto& line : lines)
        for (auto& sum : line) sum = Vector::broadcast(0.0f);
    const uint8_t* block = weights;
    for (int64_t b = 0; b < p.layout.blocks; ++b, block += p.layout.blockBytes) {
#pragma GCC unroll 2
      for (int q = 0; q < kBlockCols / 4; ++q) {
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) {
          typename Vector::Float w[kChains];
          Codec::expand(block, q, part * N + n, w);
#pragma GCC unroll 4
          for (int t = 0; t < T; ++t) {
            const float* x = reinterpret_cast<const float*>(p.rows + (row + t) * p.rowBytes) + b * kBlockCols + q * 4;
#pragma GCC unroll 4
            for (int c = 0; c < kChains; ++c) acc[t][n][c] = Vector::fma(w[c], Vector::broadcast(x[c]), acc[t][n][c]);
          }
        }
      }
    }
    for (int t = 0; t < T; ++t)
      for (int c = 0; c < kChains; ++c)
        for (int n = 0; n < N; ++n) Vector::store(chains[t][c] + (part * N + n) * Vector::kRows, acc[t][n][c]);
  }
  for (int t = 0; t < T; ++t) floatFinish<Vector, format>(p, panel, row + t, chains[t]);
}

/// Columns of a slab that are expanded together: small enough for the first-level cache with the rows of a tile beside
/// them.
constexpr int64_t kSlabBlocks = 4;
constexpr int64_t kSlabQuads = kSlabBlocks * kBlockCols / 4;

/// chains += a slab of expanded weights [chain][quad][16] times T rows.
template <class Vector, int T>
void floatTile(const float* slab, int64_t quads, const uint8_t* rows, size_t rowBytes, int64_t firstCol,
               float (*chains)[kChains][kPanelRows]) {
  constexpr int kVectors = Vector::kVectors;
  const float* x[T];
  for (int t = 0; t < T; ++t) x[t] = reinterpret_cast<const float*>(rows + t * rowBytes) + firstCol;
  for (int c = 0; c < kChains; ++c) {
    const float* w = slab + c * kSlabQuads * kPanelRows;
    typename Vector::Float acc[T][kVectors];
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t)
#pragma GCC unroll 2
      for (int n = 0; n < kVectors; ++n) acc[t][n] = Vector::load(chains[t][c] + n * Vector::kRows);
    for (int64_t q = 0; q < quads; ++q) {
      typename Vector::Float wide[kVectors];
#pragma GCC unroll 2
      for (int n = 0; n < kVectors; ++n) wide[n] = Vector::load(w + q * kPanelRows + n * Vector::kRows);
#pragma GCC unroll 16
      for (int t = 0; t < T; ++t) {
        const auto value = Vector::broadcast(x[t][q * 4 + c]);
#pragma GCC unroll 2
        for (int n = 0; n < kVectors; ++n) acc[t][n] = Vector::fma(wide[n], value, acc[t][n]);
      }
    }
#pragma GCC unroll 16
    for (int t = 0; t < T; ++t)
#pragma GCC unroll 2
      for (int n = 0; n < kVectors; ++n) Vector::store(chains[t][c] + n * Vector::kRows, acc[t][n]);
  }
}

/// Four rows or more: a slab of columns is expanded once for all of them.
template <class Vector, class Codec, Format format>
void floatPanel(const Product& p, int64_t panel, uint8_t* scratch) {
  const uint8_t* weights = p.weights + kHeaderBytes + panel * p.layout.panelBytes;
  float* slab = reinterpret_cast<float*>(scratch);
  auto* chains = reinterpret_cast<float(*)[kChains][kPanelRows]>(slab + kChains * kSlabQuads * kPanelRows);
  __builtin_memset(chains, 0, p.count * sizeof(*chains));
  for (int64_t first = 0; first < p.layout.blocks; first += kSlabBlocks) {
    const int64_t blocks = p.layout.blocks - first < kSlabBlocks ? p.layout.blocks - first : kSlabBlocks;
    for (int64_t q = 0; q < blocks * kBlockCols / 4; ++q) {
      const uint8_t* block = weights + (first + q / 8) * p.layout.blockBytes;
      for (int n = 0; n < Vector::kVectors; ++n) {
        typename Vector::Float w[kChains];
        Codec::expand(block, static_cast<int>(q % 8), n, w);
        for (int c = 0; c < kChains; ++c)
          Vector::store(slab + (c * kSlabQuads + q) * kPanelRows + n * Vector::kRows, w[c]);
      }
    }
    forTiles<Vector::kFloatTile>(p.count, [&]<int T>(int row) {
      floatTile<Vector, T>(slab, blocks * kBlockCols / 4, p.rows + row * p.rowBytes, p.rowBytes, first * kBlockCols,
                           chains + row);
    });
  }
  for (int row = 0; row < p.count; ++row) floatFinish<Vector, format>(p, panel, row, chains[row]);
}

inline size_t scratchBytes(int rows) {
  return (kChains * kSlabQuads * kPanelRows + static_cast<size_t>(rows) * kChains * kPanelRows) * sizeof(float);
}

template <class Vector, class Codec, Format format>
void multiplyFloat(const Product& p, int64_t first, int64_t last, uint8_t* scratch) {
  for (int64_t panel = first; panel < last; ++panel) {
    if (p.count <= 3)
      forTiles<3>(p.count, [&]<int T>(int row) { floatFused<Vector, Codec, format, T>(p, panel, row); });
    else
      floatPanel<Vector, Codec, format>(p, panel, scratch);
  }
}

template <class Vector, class Codec>
void multiplyInteger(const Product& p, int64_t first, int64_t last) {
  forPanelsAndTiles<Vector::kTile>(
      p, first, last, [&]<int T>(int64_t panel, int row) { integerTile<Vector, Codec, T>(p, panel, row); });
}

template <class Vector>
void multiply(const Product& p, int64_t first, int64_t last, uint8_t* scratch) {
  switch (p.format) {
    case Format::f32: return multiplyFloat<Vector, F32<Vector>, Format::f32>(p, first, last, scratch);
    case Format::f16: return multiplyFloat<Vector, F16<Vector>, Format::f16>(p, first, last, scratch);
    case Format::bf16: return Vector::multiplyBf16(p, first, last, scratch);
    case Format::fp8: return Vector::multiplyFp8(p, first, last, scratch);
    case Format::nvfp4: return multiplyInteger<Vector, Nvfp4<Vector>>(p, first, last);
    case Format::mxfp4: return multiplyInteger<Vector, Mxfp4<Vector>>(p, first, last);
    case Format::q8_0: return multiplyInteger<Vector, Q8_0<Vector>>(p, first, last);
    case Format::q4_0: return multiplyInteger<Vector, Q4_0<Vector>>(p, first, last);
    case Format::q4_1: return multiplyInteger<Vector, Q4_1<Vector>>(p, first, last);
  }
}

template <class Vector>
void prepare(Format format, const float* in, int64_t cols, const float* norm, float eps, uint8_t* out) {
  if (isInteger(format)) return prepareInteger<Vector>(format, in, cols, norm, eps, out);
  if (format == Format::f32 || format == Format::f16) return prepareFloat(in, cols, norm, eps, out);
  Vector::prepareBf16(format, in, cols, norm, eps, out);
}

}  // namespace
}  // namespace foretoken
