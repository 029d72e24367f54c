#include "cpu/isa.h"

#include <array>
#include <vector>

#include "backend.h"
#include "common/error.h"

namespace foretoken {

bool isaAvailable(Isa isa) {
#if defined(__x86_64__)
  // Every CPU with AVX2 has F16C, which compilers do not all know by name here.
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  switch (isa) {
    case Isa::portable: return true;
    case Isa::avx2: return avx2;
#if defined(FORETOKEN_AVX512FP16)
    case Isa::avx512fp16: return isaAvailable(Isa::avx512) && __builtin_cpu_supports("avx512fp16");
#else
    case Isa::avx512fp16: return false;
#endif
    case Isa::avx512:
      return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni") &&
             __builtin_cpu_supports("avx512bf16");
  }
  return false;
#else
  return isa == Isa::portable;
#endif
}

const char* name(Isa isa) {
  switch (isa) {
    case Isa::avx512fp16: return "avx512fp16";
    case Isa::avx512: return "avx512";
    case Isa::avx2: return "avx2";
    default: return "portable";
  }
}

std::span<const char* const> availableIsas() {
  static const std::vector<const char*> names = [] {
    std::vector<const char*> available;
    for (Isa isa : kIsas)
      if (isaAvailable(isa)) available.push_back(name(isa));
    return available;
  }();
  return names;
}

Isa selectIsa(const std::string& wanted) {
  std::string known;
  for (Isa isa : kIsas) {
    if (!isaAvailable(isa)) continue;
    if (wanted.empty() || wanted == name(isa)) return isa;
    known += (known.empty() ? "" : ", ") + std::string(name(isa));
  }
  throw Error("ISA_UNAVAILABLE", "this CPU has no path called '" + wanted + "'; it can run: " + known);
}

}  // namespace foretoken
