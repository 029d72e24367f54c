#include "cpu/kernels.h"

namespace foretoken {

const Kernels& kernels(Isa isa) {
#if defined(__x86_64__)
#if defined(FORETOKEN_AVX512FP16)
  if (isa == Isa::amx) return amxKernels();
  if (isa == Isa::avx512fp16) return avx512fp16Kernels();
#endif
  if (isa == Isa::avx512) return avx512Kernels();
  if (isa == Isa::avx2) return avx2Kernels();
#elif defined(__aarch64__)
  if (isa == Isa::neon) return neonKernels();
#endif
  (void)isa;
  return portableKernels();
}

}  // namespace foretoken
