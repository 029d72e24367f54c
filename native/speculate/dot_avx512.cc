#include <immintrin.h>

#include "speculate/dot.h"
#include "speculate/packed_key.h"

namespace foretoken {
namespace {

static_assert(kKeyWidth == 64);

int32_t sumLanes(__m512i a) {
  const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_maskz_extracti64x4_epi64(0xff, a, 1));
  __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
}

/// Products of one query. vdpbusd wants one side unsigned: (key + 128) · query - 128 * sum(query).
class Query {
 public:
  explicit Query(const int8_t* numbers) : query_(_mm512_loadu_si512(numbers)), excess_(multiply(flip())) {}
  int32_t dot(__m512i key) const { return multiply(_mm512_xor_si512(key, flip())) - excess_; }

 private:
  static __m512i flip() { return _mm512_set1_epi8(-128); }
  int32_t multiply(__m512i positive) const {
    return sumLanes(_mm512_dpbusd_epi32(_mm512_setzero_si512(), positive, query_));
  }

  __m512i query_;
  int32_t excess_;
};

void dotWhole(const int8_t* query, const int8_t* const* keys, int count, int32_t* out) {
  const Query q(query);
  for (int i = 0; i < count; ++i) out[i] = q.dot(_mm512_loadu_si512(keys[i]));
}

/// Two bytes, eight numbers, go to each lane of 64 bits, which is then shifted by 0, 2, 4, … for its eight bytes.
void dotPacked(const int8_t* query, const uint8_t* const* keys, int count, int32_t* out) {
  const Query q(query);
  const auto* levels = keyLevels().data();
  const __m512i shifts = _mm512_set1_epi64(0x0e0c0a0806040200), lowest = _mm512_set1_epi8(3);
  const auto load = [](const void* bytes) { return _mm_loadu_si128(static_cast<const __m128i*>(bytes)); };
  for (int i = 0; i < count; ++i) {
    const __m512i pairs = _mm512_maskz_cvtepu16_epi64(0xff, load(keys[i]));
    const __m512i codes = _mm512_and_si512(_mm512_maskz_multishift_epi64_epi8(~0ull, shifts, pairs), lowest);
    const __m512i numbers = _mm512_maskz_broadcast_i32x4(0xffff, load(&levels[largeNumbers(keys[i])]));
    out[i] = q.dot(_mm512_shuffle_epi8(numbers, codes));
  }
}

}  // namespace

const KeyDots kKeyDotsAvx512 = {dotWhole, dotPacked};

}  // namespace foretoken
