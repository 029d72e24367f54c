#include <arm_neon.h>

#include "speculate/dot.h"
#include "speculate/packed_key.h"

namespace foretoken {
namespace {

static_assert(kKeyWidth == 64);

/// A query, and how it is multiplied with a key; both as four times 16 numbers.
using Numbers = int8x16x4_t;

int32_t dot(const Numbers& query, const Numbers& key) {
  int32x4_t sum = vdupq_n_s32(0);
  for (int i = 0; i < 4; ++i) sum = vdotq_s32(sum, query.val[i], key.val[i]);
  return vaddvq_s32(sum);
}

void dotWhole(const int8_t* query, const int8_t* const* keys, int count, int32_t* out) {
  const Numbers q = vld1q_s8_x4(query);
  for (int i = 0; i < count; ++i) out[i] = dot(q, vld1q_s8_x4(keys[i]));
}

/// Numbers 0, 4, 8, … lie in the lowest two bits of the bytes, 1, 5, 9, … in the next: so the query is taken apart.
void dotPacked(const int8_t* query, const uint8_t* const* keys, int count, int32_t* out) {
  const Numbers q = vld4q_s8(query);
  const auto* levels = keyLevels().data();
  for (int i = 0; i < count; ++i) {
    const uint8x16_t key = vld1q_u8(keys[i]), lowest = vdupq_n_u8(3);
    const int8x16_t numbers = vld1q_s8(levels[largeNumbers(keys[i])].data());
    const auto take = [&](uint8x16_t shifted) { return vqtbl1q_s8(numbers, vandq_u8(shifted, lowest)); };
    out[i] = dot(q, {{take(key), take(vshrq_n_u8(key, 2)), take(vshrq_n_u8(key, 4)), take(vshrq_n_u8(key, 6))}});
  }
}

}  // namespace

const KeyDots kKeyDotsNeon = {dotWhole, dotPacked};

}  // namespace foretoken
