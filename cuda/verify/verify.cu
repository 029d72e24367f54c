// Drawing and walking, for logits in bf16 and fp32.
#include "cuda/verify/likeliest.cuh"
#include "cuda/verify/verify.cuh"

namespace foretoken::cuda {

template cudaError_t drawRows(const VerifyArgs<uint16_t>&, DrawKinds, cudaStream_t);
template cudaError_t drawRows(const VerifyArgs<float>&, DrawKinds, cudaStream_t);
template cudaError_t findLikeliest(const LikeliestArgs<uint16_t>&, int, cudaStream_t);
template cudaError_t findLikeliest(const LikeliestArgs<float>&, int, cudaStream_t);

}  // namespace foretoken::cuda
