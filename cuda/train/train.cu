// The kernels of training, in the library.
#include "cuda/train/linear_loss.cuh"
#include "cuda/train/optimiser.cuh"
#include "cuda/train/small_moments.cuh"

namespace foretoken::cuda {

template __global__ void gemm<false, false>(GemmArgs, GemmSlice);
template __global__ void gemm<false, true>(GemmArgs, GemmSlice);
template __global__ void gemm<true, true>(GemmArgs, GemmSlice);
[[gnu::used]] static const void* const kTrainKernels[] = {
    reinterpret_cast<const void*>(listedLoss),    reinterpret_cast<const void*>(denseLoss),
    reinterpret_cast<const void*>(sumSquares),    reinterpret_cast<const void*>(finishNorm),
    reinterpret_cast<const void*>(adamwStep),     reinterpret_cast<const void*>(sgdStep),
    reinterpret_cast<const void*>(smallAdamwStep)};

}  // namespace foretoken::cuda
