// The sampler's loops compiled for this file's instruction set.
#include "cpu/sample-inl.h"

namespace foretoken {
const SampleKernels kSamplePortable = {maxima, weigh, keep, collect};
}  // namespace foretoken
