// The sampler's loops compiled for this file's instruction set.
#define FORETOKEN_VECTOR_AVX2
#include "cpu/sample-inl.h"

namespace foretoken {
const SampleKernels kSampleAvx2 = {maxima, weigh, keep, collect};
}  // namespace foretoken
