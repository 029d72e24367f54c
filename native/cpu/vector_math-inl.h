// Sixteen fp32 lanes and the exponential, once for every instruction set.
//
// A file that includes this defines FORETOKEN_VECTOR_AVX512, FORETOKEN_VECTOR_AVX2 or FORETOKEN_VECTOR_NEON first (or
// none of them: portable).
// Every operation does the same IEEE arithmetic lane by lane on each path, so code written over V16 gives the same bits
// on all of them; that is why fused multiply-adds are always spelled out and rounding uses additions only. All names
// are local to the including file, because it may be compiled for an instruction set that the rest of the program must
// not use.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#if (defined(FORETOKEN_VECTOR_AVX512) && !defined(FORETOKEN_EMULATED_AVX512)) || defined(FORETOKEN_VECTOR_AVX2)
#include <immintrin.h>
#elif defined(FORETOKEN_VECTOR_NEON)
#include <arm_neon.h>
#endif

namespace foretoken {
namespace {

constexpr int kLanes = 16;

/// The same pointer, but to the compiler a new one. What was loaded through the old one is loaded again instead of
/// being kept in a register that an accumulator needs, and a loop's loads take their distances from it instead of from
/// as many pointers, most of which would lie in memory.
template <class T>
inline T* afresh(T* p) {
  asm("" : "+r"(p));
  return p;
}

#if defined(FORETOKEN_VECTOR_AVX512)

struct V16 {
  __m512 x;
};
/// Sixteen 32-bit words, each holding two bf16 values: the even one in the low half.
struct Pairs {
  __m512i x;
};
inline V16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, V16 a) { _mm512_storeu_ps(p, a.x); }
inline V16 broadcast(float v) { return {_mm512_set1_ps(v)}; }
inline V16 fma(V16 a, V16 b, V16 c) { return {_mm512_fmadd_ps(a.x, b.x, c.x)}; }
inline V16 mul(V16 a, V16 b) { return {_mm512_mul_ps(a.x, b.x)}; }
inline V16 add(V16 a, V16 b) { return {_mm512_add_ps(a.x, b.x)}; }
inline V16 sub(V16 a, V16 b) { return {_mm512_sub_ps(a.x, b.x)}; }
inline V16 div(V16 a, V16 b) { return {_mm512_div_ps(a.x, b.x)}; }
/// a > b ? a : b, which is b where either is NaN.
inline V16 max(V16 a, V16 b) { return {_mm512_max_ps(a.x, b.x)}; }
inline V16 magnitude(V16 a) {
  return {_mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a.x), _mm512_set1_epi32(0x7fffffff)))};
}
/// value where x >= bound, else +0 (also where x is NaN).
inline V16 whereAtLeast(V16 x, V16 bound, V16 value) {
  return {_mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x.x, bound.x, _CMP_GE_OQ), value.x)};
}
/// Bit i: a >= b in lane i.
inline uint32_t maskAtLeast(V16 a, V16 b) { return _mm512_cmp_ps_mask(a.x, b.x, _CMP_GE_OQ); }
/// value * 2^n, where n is the integer in the low mantissa bits of `shifted`.
inline V16 scaleByPower(V16 value, V16 shifted) {
  __m512i n = _mm512_slli_epi32(_mm512_castps_si512(shifted.x), 23);
  return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(value.x), n))};
}
inline Pairs loadPairs(const uint16_t* p) { return {_mm512_loadu_si512(p)}; }
inline void storePairs(uint16_t* p, Pairs a) { _mm512_storeu_si512(p, a.x); }
inline V16 evens(Pairs a) { return {_mm512_castsi512_ps(_mm512_slli_epi32(a.x, 16))}; }
inline V16 odds(Pairs a) {
  return {_mm512_castsi512_ps(_mm512_and_si512(a.x, _mm512_set1_epi32(static_cast<int>(0xffff0000u))))};
}
/// Rounds to bf16 (nearest even, NaN stays NaN) in the high half of each word; the low half is garbage.
inline __m512i roundHigh(V16 a) {
  __m512i u = _mm512_castps_si512(a.x);
  __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  __m512i rounded = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
  __m512i quiet = _mm512_or_si512(u, _mm512_set1_epi32(0x400000));
  return _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(a.x, a.x, _CMP_UNORD_Q), quiet);
}
inline Pairs packPairs(V16 even, V16 odd) {
  __m512i high = _mm512_and_si512(roundHigh(odd), _mm512_set1_epi32(static_cast<int>(0xffff0000u)));
  return {_mm512_or_si512(_mm512_srli_epi32(roundHigh(even), 16), high)};
}
/// Combines lanes i and i + 8, then 4, 2 and 1 apart.
template <class F>
inline float foldLanes(__m512 x, F&& combine) {
  x = combine(x, _mm512_shuffle_f32x4(x, x, 0x4e));
  x = combine(x, _mm512_shuffle_f32x4(x, x, 0xb1));
  x = combine(x, _mm512_shuffle_ps(x, x, 0x4e));
  return _mm512_cvtss_f32(combine(x, _mm512_shuffle_ps(x, x, 0xb1)));
}
/// The folds of four vectors, in whatever order, each in every fourth lane.
template <class F>
inline __m512 foldLanes(const __m512 (&x)[4], F&& combine) {
  const auto pairs = [&](__m512 a, __m512 b) {
    return combine(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
  };
  __m512 four = pairs(pairs(x[0], x[1]), pairs(x[2], x[3]));
  four = combine(four, _mm512_shuffle_f32x4(four, four, 0x4e));
  return combine(four, _mm512_shuffle_f32x4(four, four, 0xb1));
}
/// Sum of the lanes in the fixed order ((i, i + 8), then + 4, + 2, + 1).
inline float sumLanes(V16 a) {
  return foldLanes(a.x, [](__m512 x, __m512 y) { return _mm512_add_ps(x, y); });
}
/// Adds lanes as 32-bit integers.
inline V16 addWords(V16 a, V16 b) {
  return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a.x), _mm512_castps_si512(b.x)))};
}
/// value, with its sign turned where that of `signs` is minus.
inline V16 turnSigns(V16 value, V16 signs) {
  constexpr int kXorOfAnd = 0x78;
  const __m512i minus = _mm512_set1_epi32(static_cast<int>(0x80000000u));
  const __m512i turned =
      _mm512_ternarylogic_epi32(_mm512_castps_si512(value.x), _mm512_castps_si512(signs.x), minus, kXorOfAnd);
  return {_mm512_castsi512_ps(turned)};
}
inline float maxLanes(V16 a) {
  return foldLanes(a.x, [](__m512 x, __m512 y) { return _mm512_max_ps(x, y); });
}
/// The sixteen even and the sixteen odd floats of 32.
inline V16 evenFloats(const float* p) {
  const __m512i index = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  return {_mm512_permutex2var_ps(_mm512_loadu_ps(p), index, _mm512_loadu_ps(p + 16))};
}
inline V16 oddFloats(const float* p) {
  const __m512i index = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  return {_mm512_permutex2var_ps(_mm512_loadu_ps(p), index, _mm512_loadu_ps(p + 16))};
}
/// Into the second level: the first has too few slots for all that must be on its way.
[[gnu::always_inline]] inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1); }
/// From there into the first.
[[gnu::always_inline]] inline void prefetchSoon(const void* p) {
  _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
}

// One register's share of sixteen lanes, for the innermost loops: compilers keep plain arrays of these in registers.
using Part = __m512;
constexpr int kParts = 1;
inline Part loadPart(const float* p) { return _mm512_loadu_ps(p); }
inline void storePart(float* p, Part a) { _mm512_storeu_ps(p, a); }
inline Part broadcastPart(const float* p) { return _mm512_set1_ps(*p); }
inline Part zeroPart() { return _mm512_set1_ps(0.0f); }
/// c = fma(a, b, c).
inline void fmaInto(Part& c, Part a, Part b) { c = _mm512_fmadd_ps(a, b, c); }
/// The even or odd bf16 values of the words at `p`.
inline Part evenPart(const uint16_t* p) { return evens(loadPairs(p)).x; }
inline Part oddPart(const uint16_t* p) { return odds(loadPairs(p)).x; }

#elif defined(FORETOKEN_VECTOR_AVX2)

struct V16 {
  __m256 lo, hi;
};
struct Pairs {
  __m256i lo, hi;
};
inline V16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, V16 a) {
  _mm256_storeu_ps(p, a.lo);
  _mm256_storeu_ps(p + 8, a.hi);
}
inline V16 broadcast(float v) {
  __m256 x = _mm256_set1_ps(v);
  return {x, x};
}
inline V16 fma(V16 a, V16 b, V16 c) { return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }
inline V16 mul(V16 a, V16 b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline V16 add(V16 a, V16 b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline V16 sub(V16 a, V16 b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
inline V16 div(V16 a, V16 b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
inline V16 max(V16 a, V16 b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
inline V16 magnitude(V16 a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}
inline V16 whereAtLeast(V16 x, V16 bound, V16 value) {
  return {_mm256_and_ps(_mm256_cmp_ps(x.lo, bound.lo, _CMP_GE_OQ), value.lo),
          _mm256_and_ps(_mm256_cmp_ps(x.hi, bound.hi, _CMP_GE_OQ), value.hi)};
}
inline uint32_t maskAtLeast(V16 a, V16 b) {
  uint32_t lo = static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a.lo, b.lo, _CMP_GE_OQ)));
  uint32_t hi = static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps(a.hi, b.hi, _CMP_GE_OQ)));
  return lo | hi << 8;
}
inline __m256 scaleByPower(__m256 value, __m256 shifted) {
  __m256i n = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(value), n));
}
inline V16 scaleByPower(V16 value, V16 shifted) {
  return {scaleByPower(value.lo, shifted.lo), scaleByPower(value.hi, shifted.hi)};
}
inline Pairs loadPairs(const uint16_t* p) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 16))};
}
inline void storePairs(uint16_t* p, Pairs a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), a.lo);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 16), a.hi);
}
inline V16 evens(Pairs a) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(a.lo, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(a.hi, 16))};
}
inline V16 odds(Pairs a) {
  const __m256i high = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  return {_mm256_castsi256_ps(_mm256_and_si256(a.lo, high)), _mm256_castsi256_ps(_mm256_and_si256(a.hi, high))};
}
inline __m256i roundHigh(__m256 a) {
  __m256i u = _mm256_castps_si256(a);
  __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  __m256i rounded = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
  __m256 nan = _mm256_cmp_ps(a, a, _CMP_UNORD_Q);
  return _mm256_blendv_epi8(rounded, quiet, _mm256_castps_si256(nan));
}
inline __m256i packPairs(__m256 even, __m256 odd) {
  __m256i high = _mm256_and_si256(roundHigh(odd), _mm256_set1_epi32(static_cast<int>(0xffff0000u)));
  return _mm256_or_si256(_mm256_srli_epi32(roundHigh(even), 16), high);
}
inline Pairs packPairs(V16 even, V16 odd) { return {packPairs(even.lo, odd.lo), packPairs(even.hi, odd.hi)}; }
inline float sumLanes(V16 a) {
  __m256 eight = _mm256_add_ps(a.lo, a.hi);
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}
inline V16 addWords(V16 a, V16 b) {
  return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.lo), _mm256_castps_si256(b.lo))),
          _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.hi), _mm256_castps_si256(b.hi)))};
}
inline V16 turnSigns(V16 value, V16 signs) {
  const __m256 minus = _mm256_set1_ps(-0.0f);
  return {_mm256_xor_ps(value.lo, _mm256_and_ps(signs.lo, minus)),
          _mm256_xor_ps(value.hi, _mm256_and_ps(signs.hi, minus))};
}
inline float maxLanes(V16 a) {
  __m256 eight = _mm256_max_ps(a.lo, a.hi);
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}
/// Of the floats of a and b, the even ones (select 0x88) or the odd ones (0xdd).
template <int select>
inline __m256 everyOther(__m256 a, __m256 b) {
  return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(_mm256_shuffle_ps(a, b, select)), 0xd8));
}
inline V16 evenFloats(const float* p) {
  return {everyOther<0x88>(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)),
          everyOther<0x88>(_mm256_loadu_ps(p + 16), _mm256_loadu_ps(p + 24))};
}
inline V16 oddFloats(const float* p) {
  return {everyOther<0xdd>(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)),
          everyOther<0xdd>(_mm256_loadu_ps(p + 16), _mm256_loadu_ps(p + 24))};
}
[[gnu::always_inline]] inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
inline void prefetchSoon(const void*) {}  // `prefetch` has brought it there

using Part = __m256;
constexpr int kParts = 2;
inline Part loadPart(const float* p) { return _mm256_loadu_ps(p); }
inline void storePart(float* p, Part a) { _mm256_storeu_ps(p, a); }
inline Part broadcastPart(const float* p) { return _mm256_broadcast_ss(p); }
inline Part zeroPart() { return _mm256_setzero_ps(); }
// As an instruction, because GCC otherwise computes into a multiplicand's register and spills accumulators.
inline void fmaInto(Part& c, Part a, Part b) { asm("vfmadd231ps %1, %2, %0" : "+x"(c) : "x"(a), "x"(b)); }
inline Part evenPart(const uint16_t* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), 16));
}
inline Part oddPart(const uint16_t* p) {
  const __m256i high = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  return _mm256_castsi256_ps(_mm256_and_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)), high));
}

#elif defined(FORETOKEN_VECTOR_NEON)

struct V16 {
  float32x4_t x[4];
};
struct Pairs {
  uint32x4_t x[4];
};
template <class F>
inline V16 quarters(F&& f) {
  return {{f(0), f(1), f(2), f(3)}};
}
inline uint32x4_t words(float32x4_t a) { return vreinterpretq_u32_f32(a); }
inline float32x4_t floats(uint32x4_t a) { return vreinterpretq_f32_u32(a); }
inline V16 load(const float* p) {
  return quarters([&](int i) { return vld1q_f32(p + 4 * i); });
}
inline void store(float* p, const V16& a) {
  for (int i = 0; i < 4; ++i) vst1q_f32(p + 4 * i, a.x[i]);
}
inline V16 broadcast(float v) {
  return quarters([&](int) { return vdupq_n_f32(v); });
}
inline V16 fma(const V16& a, const V16& b, const V16& c) {
  return quarters([&](int i) { return vfmaq_f32(c.x[i], a.x[i], b.x[i]); });
}
inline V16 mul(const V16& a, const V16& b) {
  return quarters([&](int i) { return vmulq_f32(a.x[i], b.x[i]); });
}
inline V16 add(const V16& a, const V16& b) {
  return quarters([&](int i) { return vaddq_f32(a.x[i], b.x[i]); });
}
inline V16 sub(const V16& a, const V16& b) {
  return quarters([&](int i) { return vsubq_f32(a.x[i], b.x[i]); });
}
inline V16 div(const V16& a, const V16& b) {
  return quarters([&](int i) { return vdivq_f32(a.x[i], b.x[i]); });
}
inline float32x4_t max(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline V16 max(const V16& a, const V16& b) {
  return quarters([&](int i) { return max(a.x[i], b.x[i]); });
}
inline V16 magnitude(const V16& a) {
  return quarters([&](int i) { return vabsq_f32(a.x[i]); });
}
inline V16 whereAtLeast(const V16& x, const V16& bound, const V16& value) {
  return quarters([&](int i) { return floats(vandq_u32(vcgeq_f32(x.x[i], bound.x[i]), words(value.x[i]))); });
}
inline uint32_t maskAtLeast(const V16& a, const V16& b) {
  constexpr uint32_t kBits[4] = {1, 2, 4, 8};
  uint32_t mask = 0;
  for (int i = 0; i < 4; ++i) mask |= vaddvq_u32(vandq_u32(vcgeq_f32(a.x[i], b.x[i]), vld1q_u32(kBits))) << (4 * i);
  return mask;
}
inline V16 scaleByPower(const V16& value, const V16& shifted) {
  return quarters([&](int i) { return floats(vaddq_u32(words(value.x[i]), vshlq_n_u32(words(shifted.x[i]), 23))); });
}
inline Pairs loadPairs(const uint16_t* p) {
  const auto quarter = [&](int i) { return vreinterpretq_u32_u16(vld1q_u16(p + 8 * i)); };
  return {{quarter(0), quarter(1), quarter(2), quarter(3)}};
}
inline void storePairs(uint16_t* p, const Pairs& a) {
  for (int i = 0; i < 4; ++i) vst1q_u16(p + 8 * i, vreinterpretq_u16_u32(a.x[i]));
}
inline float32x4_t evens(uint32x4_t a) { return floats(vshlq_n_u32(a, 16)); }
inline float32x4_t odds(uint32x4_t a) { return floats(vandq_u32(a, vdupq_n_u32(0xffff0000u))); }
inline V16 evens(const Pairs& a) {
  return quarters([&](int i) { return evens(a.x[i]); });
}
inline V16 odds(const Pairs& a) {
  return quarters([&](int i) { return odds(a.x[i]); });
}
inline uint32x4_t roundHigh(float32x4_t a) {
  const uint32x4_t u = words(a), odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
  const uint32x4_t rounded = vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
  return vbslq_u32(vceqq_f32(a, a), rounded, vorrq_u32(u, vdupq_n_u32(0x400000)));
}
inline Pairs packPairs(const V16& even, const V16& odd) {
  Pairs r;
  for (int i = 0; i < 4; ++i) r.x[i] = vsriq_n_u32(roundHigh(odd.x[i]), roundHigh(even.x[i]), 16);
  return r;
}
/// Combines lanes i and i + 8, then 4, 2 and 1 apart.
template <class F>
inline float foldLanes(const V16& a, F&& combine) {
  const float32x4_t four = combine(combine(a.x[0], a.x[2]), combine(a.x[1], a.x[3]));
  const float32x4_t two = combine(four, vextq_f32(four, four, 2));
  return vgetq_lane_f32(combine(two, vextq_f32(two, two, 1)), 0);
}
inline float sumLanes(const V16& a) {
  return foldLanes(a, [](float32x4_t x, float32x4_t y) { return vaddq_f32(x, y); });
}
inline V16 addWords(const V16& a, const V16& b) {
  return quarters([&](int i) { return floats(vaddq_u32(words(a.x[i]), words(b.x[i]))); });
}
inline V16 turnSigns(const V16& value, const V16& signs) {
  const uint32x4_t minus = vdupq_n_u32(0x80000000u);
  return quarters([&](int i) { return floats(veorq_u32(words(value.x[i]), vandq_u32(words(signs.x[i]), minus))); });
}
inline float maxLanes(const V16& a) {
  return foldLanes(a, [](float32x4_t x, float32x4_t y) { return max(x, y); });
}
inline V16 evenFloats(const float* p) {
  return quarters([&](int i) { return vld2q_f32(p + 8 * i).val[0]; });
}
inline V16 oddFloats(const float* p) {
  return quarters([&](int i) { return vld2q_f32(p + 8 * i).val[1]; });
}
[[gnu::always_inline]] inline void prefetch(const void* p) { __builtin_prefetch(p, 0, 2); }
[[gnu::always_inline]] inline void prefetchSoon(const void* p) { __builtin_prefetch(p, 0, 3); }

using Part = float32x4_t;
constexpr int kParts = 4;
inline Part loadPart(const float* p) { return vld1q_f32(p); }
inline void storePart(float* p, Part a) { vst1q_f32(p, a); }
inline Part broadcastPart(const float* p) { return vld1q_dup_f32(p); }
inline Part zeroPart() { return vdupq_n_f32(0.0f); }
inline void fmaInto(Part& c, Part a, Part b) { c = vfmaq_f32(c, a, b); }
inline Part evenPart(const uint16_t* p) { return evens(vreinterpretq_u32_u16(vld1q_u16(p))); }
inline Part oddPart(const uint16_t* p) { return odds(vreinterpretq_u32_u16(vld1q_u16(p))); }

#else

struct V16 {
  float x[kLanes];
};
struct Pairs {
  uint32_t x[kLanes];
};
template <class F>
inline V16 lanes(F&& f) {
  V16 r;
  for (int i = 0; i < kLanes; ++i) r.x[i] = f(i);
  return r;
}
inline uint32_t bits(float v) {
  uint32_t u;
  std::memcpy(&u, &v, 4);
  return u;
}
inline float fromBits(uint32_t u) {
  float v;
  std::memcpy(&v, &u, 4);
  return v;
}
inline V16 load(const float* p) {
  V16 r;
  std::memcpy(r.x, p, sizeof r.x);
  return r;
}
inline void store(float* p, const V16& a) { std::memcpy(p, a.x, sizeof a.x); }
inline V16 broadcast(float v) {
  return lanes([&](int) { return v; });
}
inline V16 fma(const V16& a, const V16& b, const V16& c) {
  return lanes([&](int i) { return std::fma(a.x[i], b.x[i], c.x[i]); });
}
inline V16 mul(const V16& a, const V16& b) {
  return lanes([&](int i) { return a.x[i] * b.x[i]; });
}
inline V16 add(const V16& a, const V16& b) {
  return lanes([&](int i) { return a.x[i] + b.x[i]; });
}
inline V16 sub(const V16& a, const V16& b) {
  return lanes([&](int i) { return a.x[i] - b.x[i]; });
}
inline V16 div(const V16& a, const V16& b) {
  return lanes([&](int i) { return a.x[i] / b.x[i]; });
}
inline V16 max(const V16& a, const V16& b) {
  return lanes([&](int i) { return a.x[i] > b.x[i] ? a.x[i] : b.x[i]; });
}
inline V16 magnitude(const V16& a) {
  return lanes([&](int i) { return fromBits(bits(a.x[i]) & 0x7fffffffu); });
}
inline V16 whereAtLeast(const V16& x, const V16& bound, const V16& value) {
  return lanes([&](int i) { return x.x[i] >= bound.x[i] ? value.x[i] : 0.0f; });
}
inline uint32_t maskAtLeast(const V16& a, const V16& b) {
  uint32_t mask = 0;
  for (int i = 0; i < kLanes; ++i) mask |= static_cast<uint32_t>(a.x[i] >= b.x[i]) << i;
  return mask;
}
inline V16 scaleByPower(const V16& value, const V16& shifted) {
  return lanes([&](int i) { return fromBits(bits(value.x[i]) + (bits(shifted.x[i]) << 23)); });
}
inline Pairs loadPairs(const uint16_t* p) {
  Pairs r;
  for (int i = 0; i < kLanes; ++i) r.x[i] = p[2 * i] | static_cast<uint32_t>(p[2 * i + 1]) << 16;
  return r;
}
inline void storePairs(uint16_t* p, const Pairs& a) {
  for (int i = 0; i < kLanes; ++i) {
    p[2 * i] = static_cast<uint16_t>(a.x[i]);
    p[2 * i + 1] = static_cast<uint16_t>(a.x[i] >> 16);
  }
}
inline V16 evens(const Pairs& a) {
  return lanes([&](int i) { return fromBits(a.x[i] << 16); });
}
inline V16 odds(const Pairs& a) {
  return lanes([&](int i) { return fromBits(a.x[i] & 0xffff0000u); });
}
inline uint32_t roundHigh(float a) {
  uint32_t u = bits(a);
  return a != a ? u | 0x400000u : u + ((u >> 16 & 1) + 0x7fff);
}
inline Pairs packPairs(const V16& even, const V16& odd) {
  Pairs r;
  for (int i = 0; i < kLanes; ++i) r.x[i] = roundHigh(even.x[i]) >> 16 | (roundHigh(odd.x[i]) & 0xffff0000u);
  return r;
}
inline float sumLanes(V16 a) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) a.x[i] = a.x[i] + a.x[i + half];
  return a.x[0];
}
inline V16 addWords(const V16& a, const V16& b) {
  return lanes([&](int i) { return fromBits(bits(a.x[i]) + bits(b.x[i])); });
}
inline V16 turnSigns(const V16& value, const V16& signs) {
  return lanes([&](int i) { return fromBits(bits(value.x[i]) ^ (bits(signs.x[i]) & 0x80000000u)); });
}
inline float maxLanes(V16 a) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) a.x[i] = a.x[i] > a.x[i + half] ? a.x[i] : a.x[i + half];
  return a.x[0];
}
inline V16 evenFloats(const float* p) {
  return lanes([&](int i) { return p[2 * i]; });
}
inline V16 oddFloats(const float* p) {
  return lanes([&](int i) { return p[2 * i + 1]; });
}
inline void prefetch(const void*) {}
inline void prefetchSoon(const void*) {}

using Part = V16;
constexpr int kParts = 1;
inline Part loadPart(const float* p) { return load(p); }
inline void storePart(float* p, const Part& a) { store(p, a); }
inline Part broadcastPart(const float* p) { return broadcast(*p); }
inline Part zeroPart() { return broadcast(0.0f); }
inline void fmaInto(Part& c, const Part& a, const Part& b) { c = fma(a, b, c); }
inline Part evenPart(const uint16_t* p) { return evens(loadPairs(p)); }
inline Part oddPart(const uint16_t* p) { return odds(loadPairs(p)); }

#endif

constexpr int kPartLanes = kLanes / kParts;

/// 2^x for x <= 0 (a little above is fine too); +0 below -125 and for NaN. Relative error under 1.3 * 2^-24: x = n + f
/// with |f| <= 1/2, a polynomial for 2^f (degree 6, least maximum error with the constant term held at 1), then n added
/// to the exponent.
inline V16 exp2(V16 x) {
  const V16 magic = broadcast(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer in the low mantissa bits
  V16 shifted = add(x, magic);
  V16 f = sub(x, sub(shifted, magic));
  V16 p = broadcast(1.5353362e-4f);
  p = fma(p, f, broadcast(1.3398875e-3f));
  p = fma(p, f, broadcast(9.6184369e-3f));
  p = fma(p, f, broadcast(5.5503324e-2f));
  p = fma(p, f, broadcast(2.4022648e-1f));
  p = fma(p, f, broadcast(6.9314718e-1f));
  p = fma(p, f, broadcast(1.0f));
  return whereAtLeast(x, broadcast(-125.0f), scaleByPower(p, shifted));
}

/// The same function of one value, bit for bit.
inline float exp2(float x) {
  float t[kLanes];
  store(t, exp2(broadcast(x)));
  return t[0];
}

}  // namespace
}  // namespace foretoken
