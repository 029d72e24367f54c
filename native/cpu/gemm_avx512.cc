// The AVX-512 path: VNNI for integer products, vdpbf16ps for bf16 and fp8. Tests also build this file against an
// emulation.
#if !defined(FORETOKEN_EMULATED_AVX512)
#include <immintrin.h>

#define FORETOKEN_VECTOR_AVX512
#endif
#include "cpu/gemm-inl.h"

namespace foretoken {
namespace {

inline __m512i load512(const void* p) { return _mm512_loadu_si512(p); }

inline int32_t word(const void* p) {
  int32_t w;
  __builtin_memcpy(&w, p, sizeof(w));
  return w;
}

struct Avx512 {
  static constexpr int kRows = 16, kVectors = 1, kTile = 16, kFloatTile = 12;

  using Float = __m512;
  using Bytes = __m512i;

  static Float broadcast(float v) { return _mm512_set1_ps(v); }
  static Float spread(const int32_t* bits) { return _mm512_castsi512_ps(_mm512_set1_epi32(*bits)); }
  static Float load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Float v) { _mm512_storeu_ps(p, v); }
  static Float mul(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static Float fma(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }

  static Float halves(const uint8_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static __m512i wide(const uint8_t* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Float e4m3Scales(const uint8_t* p) {
    return _mm512_mul_ps(_mm512_castsi512_ps(_mm512_slli_epi32(wide(p), 20)), _mm512_set1_ps(0x1p120f));
  }
  static Float e8m0(const uint8_t* p) { return _mm512_castsi512_ps(_mm512_slli_epi32(wide(p), 23)); }

  /// Signed bytes made unsigned by adding 128.
  static Bytes bytes(const uint8_t* p) {
    return _mm512_xor_si512(load512(p), _mm512_set1_epi8(static_cast<char>(0x80)));
  }
  static void nibbles(const uint8_t* p, Bytes& low, Bytes& high) {
    const __m512i v = load512(p), mask = _mm512_set1_epi8(15);
    low = _mm512_and_si512(v, mask);
    high = _mm512_gf2p8affine_epi64_epi8(v, _mm512_set1_epi64(0x1020408000000000), 0);
  }
  /// The table four times over, for the permutation reads six bits of each byte.
  static void e2m1(const uint8_t* p, Bytes& low, Bytes& high) {
    const __m512i table =
        _mm512_broadcast_i32x4(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
    const __m512i v = load512(p);
    low = _mm512_permutexvar_epi8(v, table);
    high = _mm512_permutexvar_epi8(_mm512_srli_epi16(v, 4), table);
  }
  static const int8_t* quad(const int8_t* x) { return x; }

  /// Sums of integers start at 1.5 * 2^23, where the last place of an fp32 is 1: read as one, a sum is that much more.
  static constexpr float kStart = 12582912.0f;

  /// A scale, and what the start of a sum becomes by it.
  struct Factor {
    Float scale, start;
  };
  static Factor factor(Float scale) { return {scale, mul(scale, broadcast(-kStart))}; }

  template <int bytes, int offset>
  struct Dot {
    using Sum = __m512i;
    static Sum start(const int32_t* word) { return _mm512_set1_epi32(*word); }
    static Sum add(Sum s, Bytes w, const int8_t* quad) {
#if defined(FORETOKEN_EMULATED_AVX512)
      return _mm512_dpbusd_epi32(s, w, _mm512_set1_epi32(word(quad)));
#else
      // As an instruction, because GCC spends another one and a register on the broadcast.
      asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(s) : "v"(w), "m"(*reinterpret_cast<const int32_t*>(quad)));
      return s;
#endif
    }
    static Float value(Sum s) { return _mm512_sub_ps(_mm512_castsi512_ps(s), broadcast(kStart)); }
    static Float times(Sum s, const Factor& f) { return fma(_mm512_castsi512_ps(s), f.scale, f.start); }
  };

  static constexpr int kBlocks = 4;
  /// Words of a block: start values, less offset times the sum of the codes, of each half (nvfp4) or of all; q4_1: the
  /// sum of the inputs in the second word.
  template <int T>
  static void quantise(Format format, const V16 (&values)[T][2], InputBlock* blocks) {
    __m512 most[kBlocks] = {};
    for (int b = 0; b < T; ++b) most[b] = magnitudes(values[b][0], values[b][1]).x;
    const __m128 amax = _mm512_castps512_ps128(foldLanes(most, [](__m512 x, __m512 y) { return _mm512_max_ps(x, y); }));
    const __m128 scale = _mm_div_ps(amax, _mm_set1_ps(127.0f));
    const __m128 inverse =
        _mm_and_ps(_mm_div_ps(_mm_set1_ps(127.0f), amax), _mm_cmpgt_ps(amax, _mm_set1_ps(0x1p-120f)));
    float factors[kBlocks];
    _mm_storeu_ps(factors, inverse);
    __m512i codes[2][kBlocks] = {};
    for (int b = 0; b < T; ++b)
      for (int half = 0; half < 2; ++half) {
        codes[half][b] = _mm512_cvtps_epi32(_mm512_mul_ps(values[b][half].x, broadcast(factors[b])));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(blocks[b * kGroupRows].codes + 16 * half),
                         _mm512_cvtsepi32_epi8(codes[half][b]));
      }
    const __m128 offset = _mm_set1_ps(static_cast<float>(offsetOf(format)));
    const auto startOf = [&](__m128 sum) { return _mm_sub_ps(_mm_set1_ps(kStart), _mm_mul_ps(offset, sum)); };
    __m128 first, second;
    if (format == Format::nvfp4) {
      first = startOf(sumsOf(codes[0]));
      second = startOf(sumsOf(codes[1]));
    } else {
      for (int b = 0; b < T; ++b) codes[0][b] = _mm512_add_epi32(codes[0][b], codes[1][b]);
      const __m128 sum = sumsOf(codes[0]);
      first = startOf(sum);
      second = _mm_mul_ps(sum, scale);
    }
    float words[3][kBlocks];
    _mm_storeu_ps(words[0], scale), _mm_storeu_ps(words[1], first), _mm_storeu_ps(words[2], second);
    for (int b = 0; b < T; ++b) {
      InputBlock& block = blocks[b * kGroupRows];
      block.scale = words[0][b];
      __builtin_memcpy(block.words, words[1] + b, sizeof(float));
      __builtin_memcpy(block.words + 1, words[2] + b, sizeof(float));
    }
  }
  static __m128 sumsOf(const __m512i (&codes)[kBlocks]) {
    const auto add = [](__m512 x, __m512 y) {
      return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), _mm512_castps_si512(y)));
    };
    __m512 words[kBlocks];
    for (int b = 0; b < kBlocks; ++b) words[b] = _mm512_castsi512_ps(codes[b]);
    return _mm_cvtepi32_ps(_mm_castps_si128(_mm512_castps512_ps128(foldLanes(words, add))));
  }

  /// bf16 values in the order of the columns.
  static void prepareBf16(Format, const float* in, int64_t cols, const float* norm, float eps, uint8_t* out) {
    uint16_t* values = reinterpret_cast<uint16_t*>(out);
    forNormalised(in, cols, norm, eps, [&](int64_t k, V16 x) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(values + k), _mm512_cvtepi32_epi16(packPairs(x, x).x));
    });
  }
  static void multiplyBf16(const Product&, int64_t first, int64_t last, uint8_t* scratch);
  static void multiplyFp8(const Product&, int64_t first, int64_t last, uint8_t* scratch);
};

// --- bf16 and fp8: pairs of columns in vdpbf16ps, even pairs in one chain, odd pairs in another
// --------------------------

struct Bf16Pairs {
  static constexpr bool kScaled = false;
  static constexpr int kLines = 16;
  static void expand(const uint8_t* block, int q, __m512i& even, __m512i& odd) {
    even = load512(block + q * 128);
    odd = load512(block + q * 128 + 64);
  }
};

/// The bf16 of each of the 128 magnitudes of e4m3 as high and low bytes. A table because vdpbf16ps takes subnormals for
/// zero.
struct Fp8Tables {
  alignas(64) uint8_t high[128], low[128];
  constexpr Fp8Tables() : high(), low() {
    for (int code = 0; code < 128; ++code) {
      int exponent = code >> 3, mantissa = code & 7;
      if (exponent == 0) {
        exponent = 1;
        while (mantissa && mantissa < 8) mantissa <<= 1, --exponent;
        mantissa &= 7;
      }
      const int bits = (code & 0x7f) == 0 ? 0 : (exponent + 120) << 7 | mantissa << 4;
      high[code] = static_cast<uint8_t>(bits >> 8);
      low[code] = static_cast<uint8_t>(bits & 255);
    }
  }
};
constexpr Fp8Tables kFp8Tables;

/// For each of two pairs of a 32-bit lane of codes: where its bytes lie in {low bytes, high bytes}.
struct PairIndex {
  alignas(64) uint8_t even[64], odd[64];
  constexpr PairIndex() : even(), odd() {
    for (int i = 0; i < 64; ++i) {
      const int code = i / 4 * 4 + i % 4 / 2;
      even[i] = static_cast<uint8_t>(code + (i % 2) * 64);
      odd[i] = static_cast<uint8_t>(code + 2 + (i % 2) * 64);
    }
  }
};
constexpr PairIndex kPairIndex;

struct Fp8Pairs {
  static constexpr bool kScaled = true;
  static constexpr int kLines = 8;
  static void expand(const uint8_t* block, int q, __m512i& even, __m512i& odd) {
    const __m512i codes = load512(block + q * 64);
    const __m512i sign = _mm512_and_si512(codes, _mm512_set1_epi8(static_cast<char>(0x80)));
    const __m512i low = _mm512_permutex2var_epi8(load512(kFp8Tables.low), codes, load512(kFp8Tables.low + 64));
    const __m512i high =
        _mm512_or_si512(sign, _mm512_permutex2var_epi8(load512(kFp8Tables.high), codes, load512(kFp8Tables.high + 64)));
    even = _mm512_permutex2var_epi8(low, load512(kPairIndex.even), high);
    odd = _mm512_permutex2var_epi8(low, load512(kPairIndex.odd), high);
  }
};

template <class Codec, int T>
void pairTile(const Product& p, int64_t panel, int row) {
  const uint8_t* block = p.weights + kHeaderBytes + panel * p.layout.panelBytes;
  const uint16_t* x[T];
  __m512 acc[T][2];
  for (int t = 0; t < T; ++t) {
    x[t] = reinterpret_cast<const uint16_t*>(floatRow(p, row + t));
    acc[t][0] = acc[t][1] = _mm512_setzero_ps();
  }
  for (int64_t b = 0; b < p.layout.blocks; ++b, block += p.layout.blockBytes) {
    const Ahead ahead(block, T, row == 0);
    for (int q = 0; q < kBlockCols / 4; ++q) {
      prefetchPiece(ahead, Codec::kLines, q);
      __m512i w[2];
      Codec::expand(block, q, w[0], w[1]);
#pragma GCC unroll kUnroll
      for (int t = 0; t < T; ++t)
#pragma GCC unroll kUnroll
        for (int i = 0; i < 2; ++i)
          acc[t][i] = _mm512_dpbf16_ps(acc[t][i], (__m512bh)w[i],
                                       (__m512bh)_mm512_set1_epi32(word(x[t] + b * kBlockCols + q * 4 + i * 2)));
    }
  }
  float sums[T + T % 2][kPanelRows] = {};
  for (int t = 0; t < T; ++t) {
    __m512 sum = _mm512_add_ps(acc[t][0], acc[t][1]);
    if constexpr (Codec::kScaled) sum = _mm512_mul_ps(sum, _mm512_loadu_ps(reinterpret_cast<const float*>(block)));
    _mm512_storeu_ps(sums[t], sum);
  }
  finish(p, panel, row, T, sums[0]);
}

template <class Codec>
void multiplyPairs(const Product& p, int64_t first, int64_t last) {
  for (int64_t panel = first; panel < last; ++panel)
    forTiles<8>(p.count, [&]<int T>(int row) { pairTile<Codec, T>(p, panel, row); });
}

void Avx512::multiplyBf16(const Product& p, int64_t first, int64_t last, uint8_t*) {
  multiplyPairs<Bf16Pairs>(p, first, last);
}

void Avx512::multiplyFp8(const Product& p, int64_t first, int64_t last, uint8_t*) {
  multiplyPairs<Fp8Pairs>(p, first, last);
}

uint64_t readAll(const uint8_t* data, size_t bytes) {
  __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
  for (const uint8_t* p = data; p < data + bytes; p += 256)
    for (int i = 0; i < 4; ++i) sum[i] = _mm512_xor_si512(sum[i], load512(p + i * 64));
  alignas(64) uint64_t words[8];
  _mm512_store_si512(words, _mm512_xor_si512(_mm512_xor_si512(sum[0], sum[1]), _mm512_xor_si512(sum[2], sum[3])));
  return words[0] ^ words[1] ^ words[2] ^ words[3] ^ words[4] ^ words[5] ^ words[6] ^ words[7];
}

// The peaks' products, as instructions: GCC adds moves that take as long. What nobody uses nobody computes.
#if defined(FORETOKEN_EMULATED_AVX512)
template <class Sum>
inline void use(const Sum& sum) {
  asm volatile("" ::"m"(sum));
}
inline void addBytes(__m512i& sum, __m512i w, __m512i x) { sum = _mm512_dpbusd_epi32(sum, w, x); }
inline void addPairs(__m512& sum, __m512i w, __m512i x) { sum = _mm512_dpbf16_ps(sum, (__m512bh)w, (__m512bh)x); }
#else
template <class Sum>
inline void use(Sum sum) {
  asm volatile("" ::"v"(sum));
}
inline void addBytes(__m512i& sum, __m512i w, __m512i x) {
  asm volatile("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
}
inline void addPairs(__m512& sum, __m512i w, __m512i x) {
  asm volatile("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
}
#endif

int64_t peakInt8(int64_t rounds) {
  constexpr int kSums = 16;
  __m512i sum[kSums], w = _mm512_set1_epi8(1), x = _mm512_set1_epi8(2);
  for (__m512i& s : sum) s = _mm512_setzero_si512();
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll kSums
    for (__m512i& s : sum) addBytes(s, w, x);
  for (__m512i& s : sum) use(s);
  return rounds * kSums * 64;
}

int64_t peakBf16(int64_t rounds) {
  constexpr int kSums = 16;
  const __m512i w = _mm512_set1_epi32(0x3f003f00), x = _mm512_set1_epi32(0x3f803f80);
  __m512 sum[kSums];
  for (__m512& s : sum) s = _mm512_setzero_ps();
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll kSums
    for (__m512& s : sum) addPairs(s, w, x);
  for (__m512& s : sum) use(s);
  return rounds * kSums * 32;
}

}  // namespace

const Kernels& avx512Kernels() {
  static constexpr Kernels table{preparedBytes, prepare<Avx512>, scratchBytes, multiply<Avx512>,
                                 adjustHead,    readAll,         peakInt8,     peakBf16};
  return table;
}

}  // namespace foretoken
