#include "cuda/attention/instances.h"

namespace foretoken::cuda {

template cudaError_t launchAppend<Bf16Kv>(const AppendArgs&, int, cudaStream_t);
template cudaError_t launchAttend<Bf16Kv>(const AttendArgs&, const AttentionExtent&, cudaStream_t);

}  // namespace foretoken::cuda
