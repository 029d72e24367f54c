#include "speculate/dot.h"

#if defined(__linux__)
#include <sys/auxv.h>
#endif

#include <vector>

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
    // Everything that files of these names are compiled for, see CMakeLists.txt.
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni") &&
                        __builtin_cpu_supports("avx512bf16");
    if (avx2 && avx512) available.push_back(kKeyDotsAvx512);
    if (avx2) available.push_back(kKeyDotsAvx2);
#elif defined(__aarch64__) && defined(__linux__)
    if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) available.push_back(kKeyDotsNeon);
#endif
    available.push_back(kKeyDotsPortable);
    return available;
  }();
  return paths;
}

}  // namespace foretoken
