// The attention kernels compiled for this file's instruction set.
#define FORETOKEN_VECTOR_AVX512
#include "cpu/attention-inl.h"

namespace foretoken {
const AttentionKernels kAttentionAvx512 = {writeRow, attend, merge};
}  // namespace foretoken
