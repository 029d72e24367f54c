#include "speculate/dot.h"

#include <vector>

#include "backend.h"

namespace foretoken {

std::span<const DotKeys> dotKeysPaths() {
  static const std::vector<DotKeys> paths = [] {
    std::vector<DotKeys> available;
#if defined(__x86_64__)
    // Everything that files of these names are compiled for, see CMakeLists.txt.
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni") &&
                        __builtin_cpu_supports("avx512bf16");
    if (avx2 && avx512) available.push_back(dotKeysAvx512);
    if (avx2) available.push_back(dotKeysAvx2);
#endif
    available.push_back(dotKeysPortable);
    return available;
  }();
  return paths;
}

void dotKeysPortable(const int8_t* query, const int8_t* const* keys, int count, int32_t* out) {
  for (int i = 0; i < count; ++i) {
    const int8_t* key = keys[i];
    int32_t sum = 0;
    for (int j = 0; j < kKeyWidth; ++j) sum += int32_t{query[j]} * key[j];
    out[i] = sum;
  }
}

}  // namespace foretoken
