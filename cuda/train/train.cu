// The kernels of training, in the library.
#include "cuda/train/block_attention.cuh"
#include "cuda/train/block_rows.cuh"
#include "cuda/train/gate.cuh"
#include "cuda/train/linear_loss.cuh"
#include "cuda/train/norm.cuh"
#include "cuda/train/optimiser.cuh"
#include "cuda/train/rotary.cuh"
#include "cuda/train/round.cuh"
#include "cuda/train/small_moments.cuh"

namespace foretoken::cuda {

template __global__ void gemm<false, false>(GemmArgs, GemmSlice);
template __global__ void gemm<false, true>(GemmArgs, GemmSlice);
template __global__ void gemm<true, true>(GemmArgs, GemmSlice);
[[gnu::used]] static const void* const kTrainKernels[] = {
    reinterpret_cast<const void*>(listedLoss),       reinterpret_cast<const void*>(denseLoss),
    reinterpret_cast<const void*>(sumSquares),       reinterpret_cast<const void*>(finishNorm),
    reinterpret_cast<const void*>(adamwStep),        reinterpret_cast<const void*>(sgdStep),
    reinterpret_cast<const void*>(smallAdamwStep),   reinterpret_cast<const void*>(normRows),
    reinterpret_cast<const void*>(normRowsBack),     reinterpret_cast<const void*>(rotateRows),
    reinterpret_cast<const void*>(gateUp),           reinterpret_cast<const void*>(gateUpBack),
    reinterpret_cast<const void*>(roundNumbers),     reinterpret_cast<const void*>(gatherRows),
    reinterpret_cast<const void*>(startBlocks),      reinterpret_cast<const void*>(attendBlocks),
    reinterpret_cast<const void*>(attendBlocksBack), reinterpret_cast<const void*>(ownKeysBack)};

}  // namespace foretoken::cuda
