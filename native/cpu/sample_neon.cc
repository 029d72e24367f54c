// The sampler's loops compiled for this file's instruction set.
#define FORETOKEN_VECTOR_NEON
#include "cpu/sample-inl.h"

namespace foretoken {
const SampleKernels kSampleNeon = {maxima, weigh, keep, collect};
}  // namespace foretoken
