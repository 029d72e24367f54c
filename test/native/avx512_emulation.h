// The few AVX-512 operations our vector type uses, one lane at a time, so that the AVX-512 source can be executed on
// any CPU and its bits compared. Include before vector_math-inl.h, with no intrinsics header in sight.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>

#define FORETOKEN_VECTOR_AVX512
#define FORETOKEN_EMULATED_AVX512

namespace foretoken {
namespace {

struct __m512 {
  float x[16];
};
struct __m512i {
  uint32_t x[16];
};
enum { _CMP_UNORD_Q = 3, _CMP_GE_OQ = 29, _MM_HINT_T1 = 2, _MM_HINT_T0 = 3 };

template <class V, class F>
V emulate(F f) {
  V r;
  for (int i = 0; i < 16; ++i) r.x[i] = f(i);
  return r;
}
template <class To, class From>
To reinterpret(const From& a) {
  To r;
  std::memcpy(&r, &a, sizeof r);
  return r;
}

inline __m512 _mm512_loadu_ps(const float* p) {
  return emulate<__m512>([&](int i) { return p[i]; });
}
inline void _mm512_storeu_ps(float* p, __m512 a) { std::memcpy(p, a.x, 64); }
inline __m512 _mm512_set1_ps(float v) {
  return emulate<__m512>([&](int) { return v; });
}
inline __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) {
  return emulate<__m512>([&](int i) { return std::fma(a.x[i], b.x[i], c.x[i]); });
}
inline __m512 _mm512_mul_ps(__m512 a, __m512 b) {
  return emulate<__m512>([&](int i) { return a.x[i] * b.x[i]; });
}
inline __m512 _mm512_add_ps(__m512 a, __m512 b) {
  return emulate<__m512>([&](int i) { return a.x[i] + b.x[i]; });
}
inline __m512 _mm512_sub_ps(__m512 a, __m512 b) {
  return emulate<__m512>([&](int i) { return a.x[i] - b.x[i]; });
}
inline __m512 _mm512_div_ps(__m512 a, __m512 b) {
  return emulate<__m512>([&](int i) { return a.x[i] / b.x[i]; });
}
inline __m512 _mm512_shuffle_f32x4(__m512 a, __m512 b, int select) {
  return emulate<__m512>([&](int i) { return (i < 8 ? a : b).x[(select >> (i / 4 * 2) & 3) * 4 + i % 4]; });
}
inline __m512 _mm512_shuffle_ps(__m512 a, __m512 b, int select) {
  return emulate<__m512>([&](int i) { return (i % 4 < 2 ? a : b).x[i / 4 * 4 + (select >> (i % 4 * 2) & 3)]; });
}
inline __m512 _mm512_permutex2var_ps(__m512 a, __m512i index, __m512 b) {
  return emulate<__m512>([&](int i) { return (index.x[i] & 16 ? b : a).x[index.x[i] & 15]; });
}
inline float _mm512_cvtss_f32(__m512 a) { return a.x[0]; }
template <class... Words>
inline __m512i _mm512_setr_epi32(Words... words) {
  return {{static_cast<uint32_t>(words)...}};
}
inline __m512 _mm512_max_ps(__m512 a, __m512 b) {
  return emulate<__m512>([&](int i) { return a.x[i] > b.x[i] ? a.x[i] : b.x[i]; });
}
inline uint16_t _mm512_cmp_ps_mask(__m512 a, __m512 b, int predicate) {
  uint16_t mask = 0;
  for (int i = 0; i < 16; ++i) {
    const bool unordered = std::isnan(a.x[i]) || std::isnan(b.x[i]);
    const bool hit = predicate == _CMP_UNORD_Q ? unordered : a.x[i] >= b.x[i];
    mask |= static_cast<uint16_t>(hit << i);
  }
  return mask;
}
inline __m512 _mm512_maskz_mov_ps(uint16_t mask, __m512 a) {
  return emulate<__m512>([&](int i) { return mask >> i & 1 ? a.x[i] : 0.0f; });
}
inline __m512i _mm512_castps_si512(__m512 a) { return reinterpret<__m512i>(a); }
inline __m512 _mm512_castsi512_ps(__m512i a) { return reinterpret<__m512>(a); }
inline __m512i _mm512_loadu_si512(const void* p) {
  __m512i r;
  std::memcpy(r.x, p, 64);
  return r;
}
inline void _mm512_storeu_si512(void* p, __m512i a) { std::memcpy(p, a.x, 64); }
inline __m512i _mm512_set1_epi32(int v) {
  return emulate<__m512i>([&](int) { return static_cast<uint32_t>(v); });
}
inline __m512i _mm512_slli_epi32(__m512i a, int n) {
  return emulate<__m512i>([&](int i) { return a.x[i] << n; });
}
inline __m512i _mm512_srli_epi32(__m512i a, int n) {
  return emulate<__m512i>([&](int i) { return a.x[i] >> n; });
}
inline __m512i _mm512_add_epi32(__m512i a, __m512i b) {
  return emulate<__m512i>([&](int i) { return a.x[i] + b.x[i]; });
}
inline __m512i _mm512_and_si512(__m512i a, __m512i b) {
  return emulate<__m512i>([&](int i) { return a.x[i] & b.x[i]; });
}
inline __m512i _mm512_or_si512(__m512i a, __m512i b) {
  return emulate<__m512i>([&](int i) { return a.x[i] | b.x[i]; });
}
/// Bit i of `table`: what three bits give that are those of i, highest first.
inline __m512i _mm512_ternarylogic_epi32(__m512i a, __m512i b, __m512i c, int table) {
  return emulate<__m512i>([&](int i) {
    uint32_t out = 0;
    for (int bit = 0; bit < 32; ++bit) {
      const uint32_t at = (a.x[i] >> bit & 1) << 2 | (b.x[i] >> bit & 1) << 1 | (c.x[i] >> bit & 1);
      out |= (static_cast<uint32_t>(table) >> at & 1) << bit;
    }
    return out;
  });
}
inline __m512i _mm512_mask_mov_epi32(__m512i otherwise, uint16_t mask, __m512i a) {
  return emulate<__m512i>([&](int i) { return mask >> i & 1 ? a.x[i] : otherwise.x[i]; });
}
inline void _mm_prefetch(const char*, int) {}

}  // namespace
}  // namespace foretoken
