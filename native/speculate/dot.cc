#include "speculate/dot.h"

#include <vector>

#include "cpu/isa.h"
#include "speculate/packed_key.h"

namespace foretoken {

namespace {

void dotWhole(const int8_t* query, const int8_t* const* keys, int count, int32_t* out) {
  for (int i = 0; i < count; ++i) {
    const int8_t* key = keys[i];
    int32_t sum = 0;
    for (int j = 0; j < kKeyWidth; ++j) sum += int32_t{query[j]} * key[j];
    out[i] = sum;
  }
}

void dotPacked(const int8_t* query, const uint8_t* const* keys, int count, int32_t* out) {
  for (int i = 0; i < count; ++i) {
    const Key key = unpackKey(keys[i]);
    const int8_t* numbers = key.data();
    dotWhole(query, &numbers, 1, out + i);
  }
}

}  // namespace

const KeyDots kKeyDotsPortable = {dotWhole, dotPacked};

std::span<const KeyDots> keyDotsPaths() {
  static const std::vector<KeyDots> paths = [] {
    std::vector<KeyDots> available;
#if defined(__x86_64__)
    if (isaAvailable(Isa::avx512)) available.push_back(kKeyDotsAvx512);
    if (isaAvailable(Isa::avx2)) available.push_back(kKeyDotsAvx2);
#elif defined(__aarch64__)
    if (isaAvailable(Isa::neon)) available.push_back(kKeyDotsNeon);
#endif
    available.push_back(kKeyDotsPortable);
    return available;
  }();
  return paths;
}

}  // namespace foretoken
