#include <immintrin.h>

#include "speculate/dot.h"
#include "speculate/packed_key.h"

namespace foretoken {
namespace {

static_assert(kKeyWidth == 64);

__m128i load(const void* bytes) { return _mm_loadu_si128(static_cast<const __m128i*>(bytes)); }

/// Products of one query; both sides come as four times 16 numbers.
class Query {
 public:
  explicit Query(const __m128i (&numbers)[4]) {
    for (int i = 0; i < 4; ++i) quarters_[i] = _mm256_cvtepi8_epi16(numbers[i]);
  }
  int32_t dot(const __m128i (&key)[4]) const {
    __m256i products[4];
    for (int i = 0; i < 4; ++i) products[i] = _mm256_madd_epi16(_mm256_cvtepi8_epi16(key[i]), quarters_[i]);
    const __m256i a =
        _mm256_add_epi32(_mm256_add_epi32(products[0], products[2]), _mm256_add_epi32(products[1], products[3]));
    __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
    sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
    return _mm_cvtsi128_si32(sum);
  }

 private:
  __m256i quarters_[4];
};

void dotWhole(const int8_t* query, const int8_t* const* keys, int count, int32_t* out) {
  const Query q({load(query), load(query + 16), load(query + 32), load(query + 48)});
  for (int i = 0; i < count; ++i) {
    const int8_t* key = keys[i];
    out[i] = q.dot({load(key), load(key + 16), load(key + 32), load(key + 48)});
  }
}

/// Numbers 0, 4, 8, … lie in the lowest two bits of the bytes, 1, 5, 9, … in the next: so the query is taken apart.
void dotPacked(const int8_t* query, const uint8_t* const* keys, int count, int32_t* out) {
  alignas(16) int8_t apart[4][16];
  for (int i = 0; i < kKeyWidth; ++i) apart[i % 4][i / 4] = query[i];
  const Query q({load(apart[0]), load(apart[1]), load(apart[2]), load(apart[3])});
  const auto* levels = keyLevels().data();
  const __m128i lowest = _mm_set1_epi8(3);
  for (int i = 0; i < count; ++i) {
    const __m128i key = load(keys[i]), numbers = load(&levels[largeNumbers(keys[i])]);
    const auto take = [&](__m128i shifted) { return _mm_shuffle_epi8(numbers, _mm_and_si128(shifted, lowest)); };
    out[i] =
        q.dot({take(key), take(_mm_srli_epi16(key, 2)), take(_mm_srli_epi16(key, 4)), take(_mm_srli_epi16(key, 6))});
  }
}

}  // namespace

const KeyDots kKeyDotsAvx2 = {dotWhole, dotPacked};

}  // namespace foretoken
