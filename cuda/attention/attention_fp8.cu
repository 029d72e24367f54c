#include "cuda/attention/instances.h"

namespace foretoken::cuda {

template cudaError_t launchAppend<Fp8Kv>(const AppendArgs&, int, cudaStream_t);
template cudaError_t launchAttend<Fp8Kv>(const AttendArgs&, const AttentionExtent&, cudaStream_t);

}  // namespace foretoken::cuda
