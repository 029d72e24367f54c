#include <immintrin.h>

#include "backend.h"
#include "speculate/dot.h"

namespace foretoken {
namespace {

int32_t sumLanes(__m512i a) {
  const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_maskz_extracti64x4_epi64(0xff, a, 1));
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
}

}  // namespace

/// vdpbusd wants one side unsigned: (key + 128) · query - 128 * sum(query).
void dotKeysAvx512(const int8_t* query, const int8_t* const* keys, int count, int32_t* out) {
  static_assert(kKeyWidth == 64);
  const __m512i q = _mm512_loadu_si512(query), zero = _mm512_setzero_si512(), flip = _mm512_set1_epi8(-128);
  const int32_t excess = sumLanes(_mm512_dpbusd_epi32(zero, flip, q));
  for (int i = 0; i < count; ++i) {
    const __m512i key = _mm512_xor_si512(_mm512_loadu_si512(keys[i]), flip);
    out[i] = sumLanes(_mm512_dpbusd_epi32(zero, key, q)) - excess;
  }
}

}  // namespace foretoken
