// The matrix product, once for all formats and instruction sets. Included by gemm_*.cc after they have defined
//   Vector   the path: registers of Vector::kLanes output rows (a panel has kVectors of them) and what can be done with
//   them
// A codec says how a block of a format expands and how it is scaled, in terms of Vector. A tile is one panel times up
// to Vector::kTile input rows.
#pragma once
#include "cpu/epilogue-inl.h"
#include "cpu/heads-inl.h"
#include "cpu/kernels.h"
#include "cpu/prepare-inl.h"
#include "cpu/tiles-inl.h"

namespace foretoken {
namespace {

// Where a vector is a register, loops over tiles and vectors must dissolve; elsewhere that would only take compile
// time.
#if defined(FORETOKEN_VECTOR_NEON) || defined(FORETOKEN_VECTOR_AVX2) || \
    (defined(FORETOKEN_VECTOR_AVX512) && !defined(FORETOKEN_EMULATED_AVX512))
#define FORETOKEN_INLINE inline __attribute__((always_inline))
constexpr int kUnroll = 16;
#else
#define FORETOKEN_INLINE inline
constexpr int kUnroll = 1;
#endif

// --- codecs of integer formats ---
// An object is one block.
//   kGroups   scales a block has, each over 32 / kGroups columns
//   kOffset   what Vector adds to a code to make it unsigned
//   kMinimum  whether blocks have minima
//   kWide     whether scales may be of 2^100 and more
//   kLines    cache lines it lies in
//   codes     eight columns (pair of quads v) of vector n
//   scale     of group g, vector n
//   finish    factor of the sum over all blocks; not there where that is 1

template <class Vector>
struct Nibbles {
  static constexpr int kGroups = 1, kBytes = 4, kLines = 5;
  static constexpr bool kMinimum = false, kWide = false;
  const uint8_t* block;

  void codes(int v, int n, typename Vector::Bytes& low, typename Vector::Bytes& high) const {
    Vector::nibbles(block + v * 64 + n * 4 * Vector::kRows, low, high);
  }
  auto halves(int line, int n) const {
    return Vector::halves(block + 256 + 2 * (line * kPanelRows + n * Vector::kRows));
  }
};

template <class Vector>
struct Q4_0 : Nibbles<Vector> {
  static constexpr int kOffset = 8;
  auto scale(int, int n) const { return this->halves(0, n); }
};

template <class Vector>
struct Q4_1 : Nibbles<Vector> {
  static constexpr int kOffset = 0;
  static constexpr bool kMinimum = true;
  auto scale(int, int n) const { return this->halves(0, n); }
  auto minimum(int n) const { return this->halves(1, n); }
};

/// Codes count halves and are offset by 12, so that they are bytes from 0 to 24.
template <class Vector>
struct E2m1 : Nibbles<Vector> {
  static constexpr int kOffset = 12;
  void codes(int v, int n, typename Vector::Bytes& low, typename Vector::Bytes& high) const {
    Vector::e2m1(this->block + v * 64 + n * 4 * Vector::kRows, low, high);
  }
};

template <class Vector>
struct Mxfp4 : E2m1<Vector> {
  static constexpr bool kWide = true;
  auto scale(int, int n) const { return Vector::e8m0(this->block + 256 + n * Vector::kRows); }
  static float finish(const uint8_t*) { return 0.5f; }
};

template <class Vector>
struct Nvfp4 : E2m1<Vector> {
  static constexpr int kGroups = 2;
  auto scale(int g, int n) const { return Vector::e4m3Scales(this->block + 256 + g * kPanelRows + n * Vector::kRows); }
  static float finish(const uint8_t* header) {
    float global;
    __builtin_memcpy(&global, header, sizeof(global));
    return global * 0.5f;
  }
};

/// Signed bytes; the path decides how it multiplies them.
template <class Vector>
struct Q8_0 {
  static constexpr int kGroups = 1, kBytes = 8, kOffset = 128, kLines = 9;
  static constexpr bool kMinimum = false, kWide = false;
  const uint8_t* block;

  void codes(int v, int n, typename Vector::Bytes& low, typename Vector::Bytes& high) const {
    low = Vector::bytes(block + v * 128 + n * 4 * Vector::kRows);
    high = Vector::bytes(block + v * 128 + 64 + n * 4 * Vector::kRows);
  }
  auto scale(int, int n) const { return Vector::halves(block + 512 + n * 2 * Vector::kRows); }
};

// --- integer formats ---

/// A block whose codes have been expanded once for several steps over rows.
template <class Vector>
struct Expanded {
  typename Vector::Bytes w[4][Vector::kVectors][2];

  template <class Codec>
  FORETOKEN_INLINE explicit Expanded(const Codec& codec) {
#pragma GCC unroll kUnroll
    for (int v = 0; v < 4; ++v)
#pragma GCC unroll kUnroll
      for (int n = 0; n < Vector::kVectors; ++n) codec.codes(v, n, w[v][n][0], w[v][n][1]);
  }
  FORETOKEN_INLINE void codes(int v, int n, typename Vector::Bytes& low, typename Vector::Bytes& high) const {
    low = w[v][n][0];
    high = w[v][n][1];
  }
};

/// sum[t] = a block of the weights times a block of S rows: groups in order, each by its scale. On the way it asks for
/// what lies ahead, unless that is null.
template <class Vector, class Codec, int S, class Codes>
FORETOKEN_INLINE void integerRows(const Codes& block, const Ahead* ahead, const InputBlock* x,
                                  const typename Vector::Factor (&factor)[Codec::kGroups][Vector::kVectors],
                                  typename Vector::Float (&sum)[S][Vector::kVectors]) {
  using Dot = typename Vector::template Dot<Codec::kBytes, Codec::kOffset>;
  constexpr int N = Vector::kVectors;
#pragma GCC unroll kUnroll
  for (int g = 0; g < Codec::kGroups; ++g) {
    typename Dot::Sum dot[S][N];
#pragma GCC unroll kUnroll
    for (int t = 0; t < S; ++t)
#pragma GCC unroll kUnroll
      for (int n = 0; n < N; ++n) dot[t][n] = Dot::start(x[t].words + g);
#pragma GCC unroll kUnroll
    for (int v = g * 4 / Codec::kGroups; v < (g + 1) * 4 / Codec::kGroups; ++v) {
      typename Vector::Bytes w[N][2];
#pragma GCC unroll kUnroll
      for (int n = 0; n < N; ++n) block.codes(v, n, w[n][0], w[n][1]);
#pragma GCC unroll kUnroll
      for (int i = 0; i < 2; ++i) {
        if (ahead) prefetchPiece(*ahead, Codec::kLines, v * 2 + i);
#pragma GCC unroll kUnroll
        for (int t = 0; t < S; ++t) {
          const auto quad = Vector::quad(x[t].codes + v * 8 + i * 4);
#pragma GCC unroll kUnroll
          for (int n = 0; n < N; ++n) dot[t][n] = Dot::add(dot[t][n], w[n][i], quad);
        }
      }
    }
#pragma GCC unroll kUnroll
    for (int t = 0; t < S; ++t)
#pragma GCC unroll kUnroll
      for (int n = 0; n < N; ++n) {
        if constexpr (Codec::kWide)
          sum[t][n] = Vector::mul(Dot::value(dot[t][n]), factor[g][n].scale);
        else if (g == 0)
          sum[t][n] = Dot::times(dot[t][n], factor[g][n]);
        else
          sum[t][n] = Vector::fma(Dot::value(dot[t][n]), factor[g][n].scale, sum[t][n]);
      }
  }
}

/// acc += one block of the weights times a block of T rows, in steps of as many rows as have registers for their sums.
template <class Vector, class Codec, int T>
FORETOKEN_INLINE void integerBlock(const Codec& codec, const Ahead& ahead, const InputBlock* x,
                                   typename Vector::Float (&acc)[T][Vector::kVectors]) {
  constexpr int N = Vector::kVectors, kSteps = T > 8 ? (T + 5) / 6 : 1;
  const std::conditional_t<(kSteps > 1), Expanded<Vector>, Codec> block(codec);
  typename Vector::Factor factor[Codec::kGroups][N];
  typename Vector::Float minimum[N];
#pragma GCC unroll kUnroll
  for (int n = 0; n < N; ++n) {
#pragma GCC unroll kUnroll
    for (int g = 0; g < Codec::kGroups; ++g) factor[g][n] = Vector::factor(codec.scale(g, n));
    if constexpr (Codec::kMinimum) minimum[n] = codec.minimum(n);
  }
  const auto step = [&]<int first, int last>() __attribute__((always_inline)) {
    typename Vector::Float sum[last - first][N];
    integerRows<Vector, Codec, last - first>(block, first == 0 ? &ahead : nullptr, x + first, factor, sum);
#pragma GCC unroll kUnroll
    for (int t = first; t < last; ++t)
#pragma GCC unroll kUnroll
      for (int n = 0; n < N; ++n) {
        acc[t][n] = Vector::fma(sum[t - first][n], Vector::broadcast(x[t].scale), acc[t][n]);
        if constexpr (Codec::kMinimum) acc[t][n] = Vector::fma(minimum[n], Vector::spread(x[t].words + 1), acc[t][n]);
      }
  };
  [&]<int... i>(std::integer_sequence<int, i...>) __attribute__((always_inline)) {
    (step.template operator()<T * i / kSteps, T*(i + 1) / kSteps>(), ...);
  }
  (std::make_integer_sequence<int, kSteps>());
}

/// sums [T][16] += blocks [first, last) of one panel times T rows; the first block starts them.
template <class Vector, class Codec, int T>
inline void integerTile(const Product& p, const uint8_t* weights, int64_t first, int64_t last, int row, float* sums) {
  constexpr int N = Vector::kVectors;
  const InputBlock* rows = reinterpret_cast<const InputBlock*>(p.rows) + firstBlock(row, p.layout.blocks);
  typename Vector::Float acc[T][N];
#pragma GCC unroll kUnroll
  for (int t = 0; t < T; ++t)
#pragma GCC unroll kUnroll
    for (int n = 0; n < N; ++n)
      acc[t][n] =
          first == 0 ? Vector::broadcast(0.0f) : Vector::load(sums + (row + t) * kPanelRows + n * Vector::kRows);
  const size_t stride = p.layout.blockBytes;
  for (int64_t b = first; b < last; ++b) {
    const uint8_t* block = afresh(weights + b * stride);
    integerBlock<Vector, Codec, T>(Codec{block}, Ahead(block, T, row == 0), rows + b * kGroupRows, acc);
  }
#pragma GCC unroll kUnroll
  for (int t = 0; t < T; ++t)
#pragma GCC unroll kUnroll
    for (int n = 0; n < N; ++n) Vector::store(sums + (row + t) * kPanelRows + n * Vector::kRows, acc[t][n]);
}

/// Multiplies finished sums by the codec's last factor, if it has one, and writes them out.
template <class Vector, class Codec>
void integerFinish(const Product& p, int64_t panel, float* sums) {
  if constexpr (requires { Codec::finish(p.weights); }) {
    const auto factor = Vector::broadcast(Codec::finish(p.weights));
    for (int i = 0; i < p.count * kPanelRows; i += Vector::kRows)
      Vector::store(sums + i, Vector::mul(Vector::load(sums + i), factor));
  }
  finish(p, panel, 0, p.count, sums);
}

/// Blocks of a panel that all tiles go through before the next ones: they and the rows' blocks stay in the first-level
/// cache.
constexpr int64_t kIntegerSlab = 24;

template <class Vector, class Codec>
void multiplyInteger(const Product& p, int64_t first, int64_t last, uint8_t* scratch) {
  float* sums = reinterpret_cast<float*>(scratch);
  const int64_t blocks = p.layout.blocks, slabs = (blocks + kIntegerSlab - 1) / kIntegerSlab;
  for (int64_t panel = first; panel < last; ++panel) {
    const uint8_t* weights = p.weights + kHeaderBytes + panel * p.layout.panelBytes;
    for (int64_t i = 0; i < slabs; ++i)
      for (int group = 0; group < p.count; group += kGroupRows)
        forTiles<Vector::kTile>(p.count - group < kGroupRows ? p.count - group : kGroupRows, [&]<int T>(int row) {
          integerTile<Vector, Codec, T>(p, weights, blocks * i / slabs, blocks * (i + 1) / slabs, group + row, sums);
        });
    integerFinish<Vector, Codec>(p, panel, sums);
  }
}

// --- codecs of float formats ---
// Four columns are a quad; column() gives column c of quad q of vector n as fp32.

template <class Vector>
struct F32 {
  static auto column(const uint8_t* block, int q, int c, int n) {
    return Vector::load(reinterpret_cast<const float*>(block) + (q * 4 + c) * kPanelRows + n * Vector::kRows);
  }
};

template <class Vector>
struct F16 {
  static auto column(const uint8_t* block, int q, int c, int n) {
    return Vector::halves(block + ((q * 4 + c) * kPanelRows + n * Vector::kRows) * 2);
  }
};

template <class Vector>
struct Bf16 {
  static auto column(const uint8_t* block, int q, int c, int n) {
    return Vector::bf16(block + ((q * 2 + c / 2) * kPanelRows + n * Vector::kRows) * 4, c % 2);
  }
};

template <class Vector>
struct Fp8 {
  static auto column(const uint8_t* block, int q, int c, int n) {
    return Vector::e4m3(block + (q * kPanelRows + n * Vector::kRows) * 4, c);
  }
};

// --- float formats ---

constexpr int kChains = 4;

/// (c0 + c1) + (c2 + c3), times the row scales of fp8, and out: one or two rows.
template <class Vector, Format format>
void floatFinish(const Product& p, int64_t panel, int row, int rows, const float (*chains)[kChains][kPanelRows]) {
  const float* scales = reinterpret_cast<const float*>(p.weights + kHeaderBytes + panel * p.layout.panelBytes +
                                                       p.layout.blocks * p.layout.blockBytes);
  float sums[2][kPanelRows] = {};
  for (int t = 0; t < rows; ++t)
    for (int i = 0; i < kPanelRows; i += Vector::kRows) {
      const auto chain = [&](int c) { return Vector::load(chains[t][c] + i); };
      auto sum = Vector::add(Vector::add(chain(0), chain(1)), Vector::add(chain(2), chain(3)));
      if constexpr (format == Format::fp8)
        sum = Vector::mul(Vector::mul(sum, Vector::broadcast(Vector::kFp8Unscale)), Vector::load(scales + i));
      Vector::store(sums[t] + i, sum);
    }
  finish(p, panel, row, rows, sums[0]);
}

/// One or two rows: expanded weights go straight into the sums.
template <class Vector, class Codec, Format format, int T>
void floatFused(const Product& p, int64_t panel, int row) {
  constexpr int kVectors = Vector::kVectors;
  constexpr int N = T == 1 ? kVectors : 1;
  const uint8_t* weights = p.weights + kHeaderBytes + panel * p.layout.panelBytes;
  float chains[T][kChains][kPanelRows];
  const float* rows[T];
  for (int t = 0; t < T; ++t) rows[t] = reinterpret_cast<const float*>(floatRow(p, row + t));
  for (int part = 0; part < kVectors / N; ++part) {
    typename Vector::Float acc[T][N][kChains];
    for (auto& lines : acc)
      for (auto& line : lines)
        for (auto& sum : line) sum = Vector::broadcast(0.0f);
    const uint8_t* block = weights;
    for (int64_t b = 0; b < p.layout.blocks; ++b, block += p.layout.blockBytes) {
      const Ahead ahead(block, T);
      for (int q = 0; q < kBlockCols / 4; ++q) {
        prefetchPiece(ahead, static_cast<int>(p.layout.blockBytes / 64), q);
#pragma GCC unroll kUnroll
        for (int c = 0; c < kChains; ++c) {
          typename Vector::Float x[T];
#pragma GCC unroll kUnroll
          for (int t = 0; t < T; ++t) x[t] = Vector::broadcast(rows[t][b * kBlockCols + q * 4 + c]);
#pragma GCC unroll kUnroll
          for (int n = 0; n < N; ++n) {
            const auto w = Codec::column(block, q, c, part * N + n);
#pragma GCC unroll kUnroll
            for (int t = 0; t < T; ++t) acc[t][n][c] = Vector::fma(w, x[t], acc[t][n][c]);
          }
        }
      }
    }
    for (int t = 0; t < T; ++t)
      for (int c = 0; c < kChains; ++c)
        for (int n = 0; n < N; ++n) Vector::store(chains[t][c] + (part * N + n) * Vector::kRows, acc[t][n][c]);
  }
  floatFinish<Vector, format>(p, panel, row, T, chains);
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
#pragma GCC unroll kUnroll
    for (int t = 0; t < T; ++t)
#pragma GCC unroll kUnroll
      for (int n = 0; n < kVectors; ++n) acc[t][n] = Vector::load(chains[t][c] + n * Vector::kRows);
    for (int64_t q = 0; q < quads; ++q) {
      typename Vector::Float wide[kVectors];
#pragma GCC unroll kUnroll
      for (int n = 0; n < kVectors; ++n) wide[n] = Vector::load(w + q * kPanelRows + n * Vector::kRows);
#pragma GCC unroll kUnroll
      for (int t = 0; t < T; ++t) {
        const auto value = Vector::broadcast(x[t][q * 4 + c]);
#pragma GCC unroll kUnroll
        for (int n = 0; n < kVectors; ++n) acc[t][n] = Vector::fma(wide[n], value, acc[t][n]);
      }
    }
#pragma GCC unroll kUnroll
    for (int t = 0; t < T; ++t)
#pragma GCC unroll kUnroll
      for (int n = 0; n < kVectors; ++n) Vector::store(chains[t][c] + n * Vector::kRows, acc[t][n]);
  }
}

/// Three rows or more: a slab of columns is expanded once for all of them.
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
      prefetchPiece(Ahead(block, p.count), static_cast<int>(p.layout.blockBytes / 64), static_cast<int>(q % 8));
#pragma GCC unroll kUnroll
      for (int c = 0; c < kChains; ++c)
        for (int n = 0; n < Vector::kVectors; ++n)
          Vector::store(slab + (c * kSlabQuads + q) * kPanelRows + n * Vector::kRows,
                        Codec::column(block, static_cast<int>(q % 8), c, n));
    }
    forTiles<Vector::kFloatTile>(p.count, [&]<int T>(int row) {
      floatTile<Vector, T>(slab, blocks * kBlockCols / 4, floatRow(p, row), floatRowBytes(p.layout.cols),
                           first * kBlockCols, chains + row);
    });
  }
  for (int row = 0; row < p.count; row += 2)
    floatFinish<Vector, format>(p, panel, row, p.count - row < 2 ? 1 : 2, chains + row);
}

inline size_t scratchBytes(int rows) {
  const size_t floats =
      (kChains * kSlabQuads * kPanelRows + static_cast<size_t>(rows) * kChains * kPanelRows) * sizeof(float);
  const size_t integers = static_cast<size_t>(rows + 1) * kPanelRows * sizeof(float);
  return floats > integers ? floats : integers;
}

template <class Vector, class Codec, Format format>
void multiplyFloat(const Product& p, int64_t first, int64_t last, uint8_t* scratch) {
  for (int64_t panel = first; panel < last; ++panel) {
    if (p.count <= 2)
      forTiles<2>(p.count, [&]<int T>(int row) { floatFused<Vector, Codec, format, T>(p, panel, row); });
    else
      floatPanel<Vector, Codec, format>(p, panel, scratch);
  }
}

/// What paths have in common that multiply neither bf16 nor fp8 as such and quantise block by block.
template <class Vector>
struct WidensFloats {
  static constexpr int kBlocks = 1;
  template <int>
  static void quantise(Format format, const V16 (&values)[1][2], InputBlock* block) {
    quantiseBlock<Vector>(format, values[0][0], values[0][1], *block);
  }
  static void prepareBf16(Format format, const float* in, int64_t cols, const float* norm, float eps, uint8_t* out) {
    prepareRounded(in, cols, norm, eps, format == Format::fp8 ? Vector::kFp8InputScale : 1.0f, out);
  }
  static void multiplyBf16(const Product& p, int64_t first, int64_t last, uint8_t* scratch) {
    multiplyFloat<Vector, Bf16<Vector>, Format::bf16>(p, first, last, scratch);
  }
  static void multiplyFp8(const Product& p, int64_t first, int64_t last, uint8_t* scratch) {
    multiplyFloat<Vector, Fp8<Vector>, Format::fp8>(p, first, last, scratch);
  }
};

template <class Vector>
void multiply(const Product& p, int64_t first, int64_t last, uint8_t* scratch) {
  switch (p.format) {
    case Format::f32: return multiplyFloat<Vector, F32<Vector>, Format::f32>(p, first, last, scratch);
    case Format::f16: return multiplyFloat<Vector, F16<Vector>, Format::f16>(p, first, last, scratch);
    case Format::bf16: return Vector::multiplyBf16(p, first, last, scratch);
    case Format::fp8: return Vector::multiplyFp8(p, first, last, scratch);
    case Format::nvfp4: return multiplyInteger<Vector, Nvfp4<Vector>>(p, first, last, scratch);
    case Format::mxfp4: return multiplyInteger<Vector, Mxfp4<Vector>>(p, first, last, scratch);
    case Format::q8_0: return multiplyInteger<Vector, Q8_0<Vector>>(p, first, last, scratch);
    case Format::q4_0: return multiplyInteger<Vector, Q4_0<Vector>>(p, first, last, scratch);
    case Format::q4_1: return multiplyInteger<Vector, Q4_1<Vector>>(p, first, last, scratch);
  }
}

template <class Vector>
void prepare(Format format, const float* in, int64_t cols, const float* norm, float eps, uint8_t* rows, int64_t row) {
  if (isInteger(format)) {
    InputBlock* first = reinterpret_cast<InputBlock*>(rows) + firstBlock(row, blocksOf(cols));
    return prepareInteger<Vector>(format, in, cols, norm, eps, first);
  }
  uint8_t* out = rows + row * floatRowBytes(cols);
  if (format == Format::f32 || format == Format::f16) return prepareFloat(in, cols, norm, eps, out);
  Vector::prepareBf16(format, in, cols, norm, eps, out);
}

}  // namespace
}  // namespace foretoken
