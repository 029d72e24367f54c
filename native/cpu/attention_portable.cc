// The attention kernels compiled for this file's instruction set.
#include "cpu/attention-inl.h"

namespace foretoken {
const AttentionKernels kAttentionPortable = {writeRow, attend, merge};
}  // namespace foretoken
