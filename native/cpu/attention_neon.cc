// The attention kernels compiled for this file's instruction set.
#define FORETOKEN_VECTOR_NEON
#include "cpu/attention-inl.h"

namespace foretoken {
const AttentionKernels kAttentionNeon = {writeRow, attend, merge};
}  // namespace foretoken
