#include "cpu/isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__linux__)
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#include <array>
#include <vector>

#include "backend.h"
#include "common/error.h"

namespace foretoken {
namespace {

#if defined(FORETOKEN_AVX512FP16)
/// Whether this CPU multiplies tiles of bf16 and its operating system lets this process do so: their state is large, so
/// that Linux wants to be asked, once for all threads.
bool tilesGranted() {
#if defined(__linux__)
  constexpr unsigned kGfni = 1u << 8, kBf16 = 1u << 22, kTile = 1u << 24;  // of ecx, edx, edx
  constexpr int kAskPermission = 0x1023, kTileData = 18;
  static const bool granted = [] {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c & kGfni) && (d & kTile) && (d & kBf16) &&
           syscall(SYS_arch_prctl, kAskPermission, kTileData) == 0;
  }();
  return granted;
#else
  return false;
#endif
}
#endif

}  // namespace

bool isaAvailable(Isa isa) {
#if defined(__x86_64__)
  // Every CPU with AVX2 has F16C, which compilers do not all know by name here.
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
  switch (isa) {
    case Isa::portable: return true;
    case Isa::neon: return false;
    case Isa::avx2: return avx2;
#if defined(FORETOKEN_AVX512FP16)
    case Isa::avx512fp16: return isaAvailable(Isa::avx512) && __builtin_cpu_supports("avx512fp16");
    case Isa::amx: return isaAvailable(Isa::avx512fp16) && tilesGranted();
#else
    case Isa::avx512fp16:
    case Isa::amx: return false;
#endif
    case Isa::avx512:
      return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni") &&
             __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("gfni");
  }
  return false;
#elif defined(__aarch64__) && defined(__linux__)
  return isa == Isa::portable || (isa == Isa::neon && (getauxval(AT_HWCAP) & HWCAP_ASIMDDP));
#else
  return isa == Isa::portable;
#endif
}

const char* name(Isa isa) {
  switch (isa) {
    case Isa::amx: return "amx";
    case Isa::avx512fp16: return "avx512fp16";
    case Isa::avx512: return "avx512";
    case Isa::avx2: return "avx2";
    case Isa::neon: return "neon";
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
