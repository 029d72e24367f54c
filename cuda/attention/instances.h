// The launches that are compiled in files of their own, one for each format of the pool.
#pragma once
#include "cuda/attention/launch.cuh"

namespace foretoken::cuda {

extern template cudaError_t launchAppend<Bf16Kv>(const AppendArgs&, int, cudaStream_t);
extern template cudaError_t launchAppend<Fp8Kv>(const AppendArgs&, int, cudaStream_t);
extern template cudaError_t launchAttend<Bf16Kv>(const AttendArgs&, const AttentionExtent&, cudaStream_t);
extern template cudaError_t launchAttend<Fp8Kv>(const AttendArgs&, const AttentionExtent&, cudaStream_t);

}  // namespace foretoken::cuda
