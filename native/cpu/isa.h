// Which instruction-set path the kernels take. One build carries them all; the CPU decides at run time.
#pragma once
#include <cstdint>
#include <string>

namespace foretoken {

/// neon stands for NEON with dot products of bytes (Armv8.2 DotProd); avx2 for AVX2 + FMA + F16C + BMI2; avx512 for F,
/// BW, VL, DQ, VBMI, VNNI and BF16 on top of that; avx512fp16 adds FP16, amx tiles of bf16 on top of that.
enum class Isa : uint8_t { portable, neon, avx2, avx512, avx512fp16, amx };

/// Best first.
constexpr Isa kIsas[] = {Isa::amx, Isa::avx512fp16, Isa::avx512, Isa::avx2, Isa::neon, Isa::portable};

/// True for every path whose vectors are AVX-512's.
constexpr bool isAvx512(Isa isa) { return isa >= Isa::avx512; }

/// True if this CPU (and its operating system) can run the path.
bool isaAvailable(Isa);

const char* name(Isa);

/// "" gives the best available path, a name that very path. Throws ISA_UNAVAILABLE.
Isa selectIsa(const std::string& name);

}  // namespace foretoken
