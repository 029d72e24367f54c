// The further AVX-512 operations that matrix products use, lane by lane (see avx512_emulation.h). vdpbf16ps is taken as
// two fused multiply-adds, odd element first: hardware may round differently, so only an error bound is tested against
// others.
#pragma once
#include "avx512_emulation.h"
#include "quant/float_codecs.h"

namespace foretoken {
namespace {

struct __m256i {
  uint8_t x[32];
};
struct __m128i {
  uint8_t x[16];
};
using __m512bh = __m512i;

template <class F>
__m512i emulateBytes(F f) {
  uint8_t bytes[64];
  for (int i = 0; i < 64; ++i) bytes[i] = static_cast<uint8_t>(f(i));
  __m512i r;
  std::memcpy(r.x, bytes, 64);
  return r;
}
inline uint8_t byteOf(const __m512i& a, int i) { return static_cast<uint8_t>(a.x[i / 4] >> (i % 4 * 8)); }

inline __m256i _mm256_loadu_si256(const __m256i* p) {
  __m256i r;
  std::memcpy(r.x, static_cast<const void*>(p), 32);
  return r;
}
inline __m128i _mm_loadu_si128(const __m128i* p) {
  __m128i r;
  std::memcpy(r.x, static_cast<const void*>(p), 16);
  return r;
}
inline void _mm256_storeu_si256(__m256i* p, __m256i a) { std::memcpy(static_cast<void*>(p), a.x, 32); }
inline __m256i _mm512_cvtepi32_epi16(__m512i a) {
  __m256i r;
  for (int i = 0; i < 16; ++i) std::memcpy(r.x + 2 * i, a.x + i, 2);
  return r;
}
inline void _mm_storeu_si128(__m128i* p, __m128i a) { std::memcpy(static_cast<void*>(p), a.x, 16); }
template <class... Bytes>
__m128i _mm_setr_epi8(Bytes... bytes) {
  return {{static_cast<uint8_t>(bytes)...}};
}
inline __m512 _mm512_setzero_ps() { return _mm512_set1_ps(0.0f); }
inline __m512i _mm512_setzero_si512() { return _mm512_set1_epi32(0); }
inline __m512i _mm512_set1_epi8(char v) {
  return emulateBytes([&](int) { return v; });
}
inline void _mm512_store_si512(void* p, __m512i a) { std::memcpy(p, a.x, 64); }
inline __m512i _mm512_xor_si512(__m512i a, __m512i b) {
  return emulate<__m512i>([&](int i) { return a.x[i] ^ b.x[i]; });
}
inline __m512i _mm512_srli_epi16(__m512i a, int n) {
  return emulate<__m512i>([&](int i) { return (a.x[i] & 0xffffu) >> n | (a.x[i] >> (16 + n)) << 16; });
}
inline __m512i _mm512_broadcast_i32x4(__m128i a) {
  return emulateBytes([&](int i) { return a.x[i % 16]; });
}
inline __m512i _mm512_permutexvar_epi8(__m512i index, __m512i table) {
  return emulateBytes([&](int i) { return byteOf(table, byteOf(index, i) & 63); });
}
inline __m512i _mm512_permutex2var_epi8(__m512i a, __m512i index, __m512i b) {
  return emulateBytes([&](int i) {
    const uint8_t at = byteOf(index, i);
    return byteOf(at & 64 ? b : a, at & 63);
  });
}
inline __m512i _mm512_cvtepu8_epi32(__m128i a) {
  return emulate<__m512i>([&](int i) { return a.x[i]; });
}
inline __m512 _mm512_cvtph_ps(__m256i a) {
  return emulate<__m512>([&](int i) { return f16ToFloat(static_cast<uint16_t>(a.x[2 * i] | a.x[2 * i + 1] << 8)); });
}
inline __m512i _mm512_cvtps_epi32(__m512 a) {
  return emulate<__m512i>([&](int i) { return static_cast<uint32_t>(static_cast<int32_t>(std::nearbyint(a.x[i]))); });
}
inline __m128i _mm512_cvtsepi32_epi8(__m512i a) {
  __m128i r;
  for (int i = 0; i < 16; ++i) {
    const int32_t v = static_cast<int32_t>(a.x[i]);
    r.x[i] = static_cast<uint8_t>(v < -128 ? -128 : v > 127 ? 127 : v);
  }
  return r;
}
inline __m512i _mm512_dpbusd_epi32(__m512i sum, __m512i a, __m512i b) {
  return emulate<__m512i>([&](int i) {
    uint32_t s = sum.x[i];
    for (int j = 4 * i; j < 4 * i + 4; ++j)
      s += static_cast<uint32_t>(int32_t{byteOf(a, j)} * static_cast<int8_t>(byteOf(b, j)));
    return s;
  });
}
inline __m512 _mm512_dpbf16_ps(__m512 sum, __m512bh a, __m512bh b) {
  return emulate<__m512>([&](int i) {
    const float odd = std::fma(bitsFloat(a.x[i] & 0xffff0000u), bitsFloat(b.x[i] & 0xffff0000u), sum.x[i]);
    return std::fma(bitsFloat(a.x[i] << 16), bitsFloat(b.x[i] << 16), odd);
  });
}

// Four lanes, for what is computed once per block.
struct __m128 {
  float x[4];
};
template <class F>
__m128 emulateFour(F f) {
  return {{f(0), f(1), f(2), f(3)}};
}
inline __m128 _mm512_castps512_ps128(__m512 a) {
  return emulateFour([&](int i) { return a.x[i]; });
}
inline __m128i _mm_castps_si128(__m128 a) { return reinterpret<__m128i>(a); }
inline void _mm_storeu_ps(float* p, __m128 a) { std::memcpy(p, a.x, 16); }
inline __m128 _mm_set1_ps(float v) {
  return emulateFour([&](int) { return v; });
}
inline __m128 _mm_sub_ps(__m128 a, __m128 b) {
  return emulateFour([&](int i) { return a.x[i] - b.x[i]; });
}
inline __m128 _mm_mul_ps(__m128 a, __m128 b) {
  return emulateFour([&](int i) { return a.x[i] * b.x[i]; });
}
inline __m128 _mm_div_ps(__m128 a, __m128 b) {
  return emulateFour([&](int i) { return a.x[i] / b.x[i]; });
}
inline __m128 _mm_cmpgt_ps(__m128 a, __m128 b) {
  return emulateFour([&](int i) { return bitsFloat(a.x[i] > b.x[i] ? ~0u : 0u); });
}
inline __m128 _mm_and_ps(__m128 a, __m128 b) {
  return emulateFour([&](int i) { return bitsFloat(floatBits(a.x[i]) & floatBits(b.x[i])); });
}
inline __m128 _mm_cvtepi32_ps(__m128i a) {
  const __m128 words = reinterpret<__m128>(a);
  return emulateFour([&](int i) { return static_cast<float>(static_cast<int32_t>(floatBits(words.x[i]))); });
}

// What tiles are made with.
using __mmask64 = uint64_t;
inline __m512i _mm512_load_si512(const void* p) { return _mm512_loadu_si512(p); }
inline __m512i _mm512_set1_epi64(int64_t v) {
  return emulateBytes([&](int i) { return v >> (i % 8 * 8); });
}
inline __mmask64 _mm512_testn_epi8_mask(__m512i a, __m512i b) {
  __mmask64 mask = 0;
  for (int i = 0; i < 64; ++i) mask |= uint64_t{(byteOf(a, i) & byteOf(b, i)) == 0} << i;
  return mask;
}
inline __m512i _mm512_mask_permutexvar_epi8(__m512i otherwise, __mmask64 mask, __m512i index, __m512i table) {
  return emulateBytes(
      [&](int i) { return mask >> i & 1 ? byteOf(table, byteOf(index, i) & 63) : byteOf(otherwise, i); });
}
inline __m512i _mm512_gf2p8affine_epi64_epi8(__m512i x, __m512i matrix, int constant) {
  return emulateBytes([&](int i) {
    int byte = constant;
    for (int bit = 0; bit < 8; ++bit)
      byte ^= (__builtin_popcount(byteOf(x, i) & byteOf(matrix, i / 8 * 8 + 7 - bit)) & 1) << bit;
    return byte;
  });
}

// Halves. A product of two and its sum with a third, taken in double and rounded twice, may differ from hardware's by a
// unit in the last place.
enum { _MM_FROUND_TO_NEAREST_INT = 0 };
struct __m512h {
  uint32_t x[16];
};
inline __m512h _mm512_castsi512_ph(__m512i a) { return reinterpret<__m512h>(a); }
inline __m512i _mm512_castph_si512(__m512h a) { return reinterpret<__m512i>(a); }
inline __m256i _mm512_cvtps_ph(__m512 a, int) {
  __m256i r;
  for (int i = 0; i < 16; ++i) {
    const uint16_t half = floatToF16(a.x[i]);
    std::memcpy(r.x + 2 * i, &half, 2);
  }
  return r;
}
template <class F>
__m512i emulateHalves(F f) {
  return emulate<__m512i>([&](int i) { return uint32_t{f(2 * i)} | uint32_t{f(2 * i + 1)} << 16; });
}
template <class Vector>
uint16_t halfOf(const Vector& a, int i) {
  return static_cast<uint16_t>(a.x[i / 2] >> (i % 2 * 16));
}
inline __m512h _mm512_fmadd_ph(__m512h a, __m512h b, __m512h c) {
  return _mm512_castsi512_ph(emulateHalves([&](int i) {
    const double product = double{f16ToFloat(halfOf(a, i))} * f16ToFloat(halfOf(b, i));
    return floatToF16(static_cast<float>(product + f16ToFloat(halfOf(c, i))));
  }));
}
inline __m512h _mm512_mul_ph(__m512h a, __m512h b) {
  return _mm512_castsi512_ph(
      emulateHalves([&](int i) { return floatToF16(f16ToFloat(halfOf(a, i)) * f16ToFloat(halfOf(b, i))); }));
}
inline __m512h _mm512_add_ph(__m512h a, __m512h b) {
  return _mm512_castsi512_ph(
      emulateHalves([&](int i) { return floatToF16(f16ToFloat(halfOf(a, i)) + f16ToFloat(halfOf(b, i))); }));
}
inline __m512i _mm512_set1_epi16(int16_t v) {
  return emulateHalves([&](int) { return static_cast<uint16_t>(v); });
}
inline __m512i _mm512_slli_epi16(__m512i a, int n) {
  return emulateHalves([&](int i) { return static_cast<uint16_t>(halfOf(a, i) << n); });
}
inline __m512i _mm512_srai_epi16(__m512i a, int n) {
  return emulateHalves([&](int i) { return static_cast<uint16_t>(static_cast<int16_t>(halfOf(a, i)) >> n); });
}
inline __m512i _mm512_srai_epi32(__m512i a, int n) {
  return emulate<__m512i>([&](int i) { return static_cast<uint32_t>(static_cast<int32_t>(a.x[i]) >> n); });
}
inline __m512i _mm512_rol_epi32(__m512i a, int n) {
  return emulate<__m512i>([&](int i) { return a.x[i] << n | a.x[i] >> (32 - n); });
}

}  // namespace
}  // namespace foretoken
