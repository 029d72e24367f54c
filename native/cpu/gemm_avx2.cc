// The AVX2 path (with FMA and F16C). Integer products multiply unsigned weights by signed activations in vpmaddubsw,
// whose 16-bit sums cannot overflow over a block: codes of at most 24 (e2m1) or 15, shifted back by a start value.
#include <immintrin.h>

#define FORETOKEN_VECTOR_AVX2
#include "cpu/gemm-inl.h"

namespace foretoken {
namespace {

inline __m256i load256(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
inline __m128i load128(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }

struct Avx2 : WidensFloats<Avx2> {
  static constexpr int kRows = 8, kVectors = 2, kTile = 4, kFloatTile = 6;
  // e4m3 bits moved to their place in an fp32 are worth 2^-120 of the weight; inputs carry 2^80 against underflow.
  static constexpr float kFp8InputScale = 0x1p80f, kFp8Unscale = 0x1p40f;

  using Float = __m256;
  using Bytes = __m256i;

  static Float broadcast(float v) { return _mm256_set1_ps(v); }
  static Float spread(const int32_t* bits) { return _mm256_castsi256_ps(_mm256_set1_epi32(*bits)); }
  static Float load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, Float v) { _mm256_storeu_ps(p, v); }
  static Float mul(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }

  static Float halves(const uint8_t* p) { return _mm256_cvtph_ps(load128(p)); }
  static Float e4m3Scales(const uint8_t* p) {
    const __m256i bits =
        _mm256_slli_epi32(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))), 20);
    return _mm256_mul_ps(_mm256_castsi256_ps(bits), _mm256_set1_ps(0x1p120f));
  }
  static Float e8m0(const uint8_t* p) {
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))), 23));
  }
  /// Byte c of each 32-bit lane moved to the top, then to where an fp32 has sign, exponent and mantissa.
  static Float e4m3(const uint8_t* p, int c) {
    const __m256i top = _mm256_slli_epi32(load256(p), 24 - 8 * c);
    return _mm256_castsi256_ps(
        _mm256_and_si256(_mm256_srai_epi32(top, 4), _mm256_set1_epi32(static_cast<int>(0x87f00000u))));
  }
  static Float bf16(const uint8_t* p, int odd) {
    const __m256i v = load256(p);
    return _mm256_castsi256_ps(odd ? _mm256_and_si256(v, _mm256_set1_epi32(static_cast<int>(0xffff0000u)))
                                   : _mm256_slli_epi32(v, 16));
  }

  static Bytes bytes(const uint8_t* p) { return load256(p); }
  static void nibbles(const uint8_t* p, Bytes& low, Bytes& high) {
    const __m256i v = load256(p), mask = _mm256_set1_epi8(15);
    low = _mm256_and_si256(v, mask);
    high = _mm256_and_si256(_mm256_srli_epi16(v, 4), mask);
  }
  static void e2m1(const uint8_t* p, Bytes& low, Bytes& high) {
    const __m256i table =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0));
    nibbles(p, low, high);
    low = _mm256_shuffle_epi8(table, low);
    high = _mm256_shuffle_epi8(table, high);
  }
  /// Volatile like the sums below, which keeps the compiler from loading many quads early and spilling them.
  static Bytes quad(const int8_t* x) {
    Bytes q;
    asm volatile("vpbroadcastd %1, %0" : "=x"(q) : "m"(*reinterpret_cast<const int32_t*>(x)));
    return q;
  }

  struct Factor {
    Float scale;
  };
  static Factor factor(Float scale) { return {scale}; }

  /// 4-bit codes: sums of pairs in 16 bits until the block's end.
  template <int bytes, int offset>
  struct Dot {
    using Sum = __m256i;
    static Sum start(const int32_t* correction) {
      return offset ? _mm256_set1_epi32(*correction) : _mm256_setzero_si256();
    }
    static Sum add(Sum s, Bytes w, Bytes x) {
      // Or the compiler would keep all products to add them up in a tree, and spill them.
      asm volatile("vpaddw %1, %0, %0" : "+x"(s) : "x"(_mm256_maddubs_epi16(w, x)));
      return s;
    }
    static Float value(Sum s) { return _mm256_cvtepi32_ps(_mm256_madd_epi16(s, _mm256_set1_epi16(1))); }
    static Float times(Sum s, const Factor& f) { return fma(value(s), f.scale, _mm256_setzero_ps()); }
  };

  /// Start values -offset * (sum of columns 0, 1 mod 4; sum of columns 2, 3 mod 4) as two 16-bit halves; q4_1: the sum
  /// of the inputs in the second word.
  static void writeBlock(Format format, V16 low, V16 high, InputBlock& block) {
    const __m256i first16 = _mm256_packs_epi32(_mm256_cvtps_epi32(low.lo), _mm256_cvtps_epi32(low.hi));
    const __m256i last16 = _mm256_packs_epi32(_mm256_cvtps_epi32(high.lo), _mm256_cvtps_epi32(high.hi));
    const __m256i codes =
        _mm256_permutevar8x32_epi32(_mm256_packs_epi16(first16, last16), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(block.codes), codes);
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), codes);
    const __m256i twos = _mm256_add_epi16(pairs, _mm256_shuffle_epi32(pairs, 0x4e));
    const __m256i fours = _mm256_add_epi16(twos, _mm256_shuffle_epi32(twos, 0xb1));
    const __m128i first = _mm256_castsi256_si128(fours), second = _mm256_extracti128_si256(fours, 1);
    const __m128i all = _mm_add_epi16(first, second);
    const __m128i factor = _mm_set1_epi16(static_cast<int16_t>(-offsetOf(format)));
    block.words[0] = _mm_cvtsi128_si32(_mm_mullo_epi16(format == Format::nvfp4 ? first : all, factor));
    block.words[1] = _mm_cvtsi128_si32(_mm_mullo_epi16(second, factor));
    if (format != Format::q4_1) return;
    const float sum = _mm_cvtss_f32(_mm_cvtepi32_ps(_mm_madd_epi16(all, _mm_set1_epi16(1)))) * block.scale;
    __builtin_memcpy(block.words + 1, &sum, sizeof(sum));
  }
};

/// Signed bytes: |w| times x with w's sign. Two products already fill 16 bits, so sums are taken in 32.
template <>
struct Avx2::Dot<8, 128> {
  using Sum = __m256i;
  static Sum start(const int32_t*) { return _mm256_setzero_si256(); }
  static Sum add(Sum s, Bytes w, Bytes x) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
    asm volatile("vpaddd %1, %0, %0" : "+x"(s) : "x"(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1))));
    return s;
  }
  static Float value(Sum s) { return _mm256_cvtepi32_ps(s); }
  static Float times(Sum s, const Factor& f) { return fma(value(s), f.scale, _mm256_setzero_ps()); }
};

uint64_t readAll(const uint8_t* data, size_t bytes) {
  __m256i sum[4] = {};
  for (const uint8_t* p = data; p < data + bytes; p += 128)
    for (int i = 0; i < 4; ++i) sum[i] = _mm256_xor_si256(sum[i], load256(p + i * 32));
  const __m256i all = _mm256_xor_si256(_mm256_xor_si256(sum[0], sum[1]), _mm256_xor_si256(sum[2], sum[3]));
  const __m128i half = _mm_xor_si128(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
  return static_cast<uint64_t>(_mm_extract_epi64(half, 0) ^ _mm_extract_epi64(half, 1));
}

// Written in assembly where a compiler would see that all products are one.
int64_t peakInt8(int64_t rounds) {
  constexpr int kSums = 8;
  __m256i sum[kSums] = {};
  const __m256i w = _mm256_set1_epi8(1), x = _mm256_set1_epi8(2);
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 8
    for (__m256i& s : sum) {
      __m256i product;
      asm volatile("vpmaddubsw %2, %1, %0" : "=x"(product) : "x"(w), "x"(x));
      s = _mm256_add_epi16(s, product);
    }
  for (__m256i& s : sum) asm volatile("" ::"x"(s));
  return rounds * kSums * 32;
}

int64_t peakBf16(int64_t rounds) {
  constexpr int kSums = 12;
  __m256 sum[kSums] = {};
  const __m256 w = _mm256_set1_ps(0.5f), x = _mm256_set1_ps(1.0f);
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 12
    for (__m256& s : sum) asm volatile("vfmadd231ps %1, %2, %0" : "+x"(s) : "x"(w), "x"(x));
  for (__m256& s : sum) asm volatile("" ::"x"(s));
  return rounds * kSums * 8;
}

}  // namespace

const Kernels& avx2Kernels() {
  static constexpr Kernels table{preparedBytes, prepare<Avx2>, scratchBytes, multiply<Avx2>,
                                 adjustHead,    readAll,       peakInt8,     peakBf16};
  return table;
}

}  // namespace foretoken
