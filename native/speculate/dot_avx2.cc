#include <immintrin.h>

#include "backend.h"
#include "speculate/dot.h"

namespace foretoken {

void dotKeysAvx2(const int8_t* query, const int8_t* const* keys, int count, int32_t* out) {
  static_assert(kKeyWidth == 64);
  const auto widened = [](const int8_t* p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  };
  const __m256i q[4] = {widened(query), widened(query + 16), widened(query + 32), widened(query + 48)};
  for (int i = 0; i < count; ++i) {
    const int8_t* key = keys[i];
    __m256i a = _mm256_madd_epi16(widened(key), q[0]);
    __m256i b = _mm256_madd_epi16(widened(key + 16), q[1]);
    a = _mm256_add_epi32(a, _mm256_madd_epi16(widened(key + 32), q[2]));
    b = _mm256_add_epi32(b, _mm256_madd_epi16(widened(key + 48), q[3]));
    a = _mm256_add_epi32(a, b);
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
    out[i] = _mm_cvtsi128_si32(sum);
  }
}

}  // namespace foretoken
