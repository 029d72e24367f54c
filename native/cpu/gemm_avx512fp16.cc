// fp8 on CPUs that multiply halves (AVX512-FP16): twice as many products an instruction as in bf16 or fp32, and e4m3
// becomes a half by two shifts. All other formats take the AVX-512 path.
//
//   inputs   rounded to f16 after scaling by the power of two that brings the row's largest magnitude into [256, 512)
//   a block  of 32 columns: four chains of fused multiply-adds in f16, one for each of the columns k mod 4; then
//            (c0 + c1) + (c2 + c3) in f16, at most 2^15
//   a row    blocks in order in fp32, times the row's scale
#if !defined(FORETOKEN_EMULATED_AVX512)
#include <immintrin.h>

#define FORETOKEN_VECTOR_AVX512
#endif
#include <cstring>

#include "cpu/epilogue-inl.h"
#include "cpu/prepare-inl.h"
#include "cpu/tiles-inl.h"

namespace foretoken {
namespace {

/// A prepared row: blocks of 32 halves, each four columns in the order 0, 2, 1, 3; then the factor of the sums.
struct HalfRow {
  const uint16_t* values;
  float factor;

  HalfRow() = default;
  HalfRow(const uint8_t* row, int64_t blocks) : values(reinterpret_cast<const uint16_t*>(row)) {
    std::memcpy(&factor, values + blocks * kBlockCols, sizeof(factor));
  }
  __m512h pair(int i) const {
    int32_t word;
    std::memcpy(&word, values + 2 * i, sizeof(word));
    return _mm512_castsi512_ph(_mm512_set1_epi32(word));
  }
};

/// The row lies in `out` as fp32 first: halves are written behind what is still to be read.
void prepareHalves(const float* in, int64_t cols, const float* norm, float eps, uint8_t* out) {
  float* values = reinterpret_cast<float*>(out);
  const int64_t padded = (cols + kBlockCols - 1) / kBlockCols * kBlockCols;
  const V16 zero = broadcast(0.0f);
  V16 most = zero;
  forNormalised(in, cols, norm, eps, [&](int64_t k, V16 x) {
    most = max(max(x, sub(zero, x)), most);
    store(values + k, x);
  });
  const float largest = maxLanes(most);
  const bool usable = largest > 0x1p-110f && largest < 0x1p110f;
  const int power = usable ? 8 - std::ilogb(largest) : 0;
  const V16 scale = broadcast(std::ldexp(1.0f, power));
  for (int64_t k = 0; k < padded; k += kLanes) {
    const __m512 x = mul(load(values + k), scale).x;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + k * 2),
                        _mm512_cvtps_ph(_mm512_shuffle_ps(x, x, 0xd8), _MM_FROUND_TO_NEAREST_INT));
  }
  const float factor = std::ldexp(1.0f, 8 - power);  // e4m3 bits in the place of an f16 are worth 2^-8
  std::memcpy(out + padded * 2, &factor, sizeof(factor));
}

/// Columns 0, 2 of four and columns 1, 3, as sign, four bits of exponent and three of mantissa of an f16.
inline void expandHalves(const uint8_t* codes, __m512h& even, __m512h& odd) {
  const __m512i v = _mm512_loadu_si512(codes), mask = _mm512_set1_epi16(static_cast<int16_t>(0xbf80));
  even = _mm512_castsi512_ph(_mm512_and_si512(_mm512_srai_epi16(_mm512_slli_epi16(v, 8), 1), mask));
  odd = _mm512_castsi512_ph(_mm512_and_si512(_mm512_srai_epi16(v, 1), mask));
}

/// Both halves of each word added, as fp32 / 2^112.
inline __m512 sumOfPair(__m512h sums) {
  const __m512i words = _mm512_castph_si512(sums);
  const __m512i both = _mm512_castph_si512(_mm512_add_ph(sums, _mm512_castsi512_ph(_mm512_rol_epi32(words, 16))));
  return _mm512_castsi512_ps(
      _mm512_and_si512(_mm512_srai_epi32(both, 3), _mm512_set1_epi32(static_cast<int>(0x8fffe000u))));
}

template <int T>
void halfTile(const Product& p, int64_t panel, int row) {
  const uint8_t* block = p.weights + kHeaderBytes + panel * p.layout.panelBytes;
  HalfRow x[T];
  __m512 acc[T];
  for (int t = 0; t < T; ++t) {
    x[t] = HalfRow(floatRow(p, row + t), p.layout.blocks);
    acc[t] = _mm512_set1_ps(0.0f);
  }
  for (int64_t b = 0; b < p.layout.blocks; ++b, block += p.layout.blockBytes) {
    const Ahead ahead(block, T, row == 0);
    __m512h even[T], odd[T];
#pragma GCC unroll 8
    for (int q = 0; q < kBlockCols / 4; ++q) {
      prefetchPiece(ahead, kBlockCols / 4, q);
      __m512h w[2];
      expandHalves(block + q * 64, w[0], w[1]);
      const int pair = static_cast<int>(b) * kBlockCols / 2 + q * 2;
#pragma GCC unroll 8
      for (int t = 0; t < T; ++t) {
        even[t] = q ? _mm512_fmadd_ph(w[0], x[t].pair(pair), even[t]) : _mm512_mul_ph(w[0], x[t].pair(pair));
        odd[t] = q ? _mm512_fmadd_ph(w[1], x[t].pair(pair + 1), odd[t]) : _mm512_mul_ph(w[1], x[t].pair(pair + 1));
      }
    }
#pragma GCC unroll 8
    for (int t = 0; t < T; ++t)
      acc[t] = _mm512_fmadd_ps(sumOfPair(_mm512_add_ph(even[t], odd[t])), _mm512_set1_ps(0x1p112f), acc[t]);
  }
  float sums[T + T % 2][kPanelRows] = {};
  const __m512 scales = _mm512_loadu_ps(reinterpret_cast<const float*>(block));
  for (int t = 0; t < T; ++t)
    _mm512_storeu_ps(sums[t], _mm512_mul_ps(_mm512_mul_ps(acc[t], _mm512_set1_ps(x[t].factor)), scales));
  finish(p, panel, row, T, sums[0]);
}

void prepareRow(Format format, const float* in, int64_t cols, const float* norm, float eps, uint8_t* rows,
                int64_t row) {
  if (format == Format::fp8) return prepareHalves(in, cols, norm, eps, rows + row * floatRowBytes(cols));
  avx512Kernels().prepare(format, in, cols, norm, eps, rows, row);
}

void multiplyRows(const Product& p, int64_t first, int64_t last, uint8_t* scratch) {
  constexpr int kTile = 8;
  if (p.format != Format::fp8) return avx512Kernels().multiply(p, first, last, scratch);
  for (int64_t panel = first; panel < last; ++panel)
    forTiles<kTile>(p.count, [&]<int T>(int row) { halfTile<T>(p, panel, row); });
}

}  // namespace

const Kernels& avx512fp16Kernels() {
  static const Kernels table = [] {
    Kernels k = avx512Kernels();
    k.prepare = prepareRow;
    k.multiply = multiplyRows;
    return k;
  }();
  return table;
}

}  // namespace foretoken
