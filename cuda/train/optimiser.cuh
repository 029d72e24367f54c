// Steps of an optimiser over all tensors of a head at once: weights (fp32, and a copy in bf16 that the products read),
// gradients and moments. First the global norm of the gradient, then
// the steps, each element by the formulas of native/train/formulas.h. A gradient that is not finite changes nothing.
#pragma once
#include "cuda/common/half.cuh"
#include "cuda/common/reduce.cuh"
#include "cuda/train/elements.cuh"
#include "train/formulas.h"

namespace foretoken::cuda {

constexpr int kStepThreads = 256;
/// Numbers whose squares one block sums.
constexpr int kNormPiece = 16384;

/// What clipping makes of the gradient.
struct Clip {
  double norm;  ///< before clipping
  float scale;  ///< that the gradient is multiplied by
  int32_t finite;
};

/// The squares of piece blockIdx.x of a gradient. In double, so that no finite gradient overflows.
static __global__ void __launch_bounds__(kStepThreads)
    sumSquares(const float* gradient, int64_t count, double* partial) {
  __shared__ double scratch[kStepThreads / kWarp];
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kNormPiece;
  const int64_t end = begin + kNormPiece < count ? begin + kNormPiece : count;
  double sum = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kStepThreads)
    sum += static_cast<double>(gradient[i]) * gradient[i];
  sum = blockReduce(sum, scratch, kStepThreads / kWarp, Sum());
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/// Of all pieces of all tensors, in order. One block.
static __global__ void __launch_bounds__(kStepThreads)
    finishNorm(const double* partial, int pieces, float most, Clip* clip) {
  __shared__ double scratch[kStepThreads / kWarp];
  double sum = 0;
  for (int i = static_cast<int>(threadIdx.x); i < pieces; i += kStepThreads) sum += partial[i];
  sum = blockReduce(sum, scratch, kStepThreads / kWarp, Sum());
  if (threadIdx.x != 0) return;
  const double norm = sqrt(sum), scale = most / (norm + 1e-6);
  *clip = {norm, static_cast<float>(scale < 1.0 ? scale : 1.0), sum < INFINITY};
}

/// Gradients and moments below number `end`, from where the run before ends, are of the weights `shift` further on.
struct StepRun {
  int64_t end, shift;
};

/// Tensors that move by the same rule, in one launch. Gradients and moments lie without gaps, as many as `count`;
/// weights may have others between them. `square` only of AdamW; `rounded` may be null.
struct StepArgs {
  const float* gradient;
  float* weight;
  uint16_t* rounded;  ///< the weights in bf16
  float* mean;
  float* square;
  int64_t count;
  const StepRun* runs = nullptr;  ///< the last one's end is `count`; null: weights have no gaps either

  /// Which weight number i is of.
  __device__ int64_t weightOf(int64_t i) const {
    if (!runs) return i;
    const StepRun* run = runs;
    while (i >= run->end) ++run;
    return i + run->shift;
  }
};

/// step(gradient, weight, i) moves the weight of number i, for this block's piece from `first` on.
template <class Step>
__device__ void stepPiece(const StepArgs& a, int64_t first, const Clip* clip, Step step) {
  if (!clip->finite) return;
  const float scale = clip->scale;
  overPiece(first, a.count, [&](int64_t i) {
    const int64_t w = a.weightOf(i);
    step(scale * a.gradient[i], a.weight[w], i);
    if (a.rounded) a.rounded[w] = fromFloat(Bf16(), a.weight[w]);
  });
}

static __global__ void __launch_bounds__(kPieceThreads)
    adamwStep(StepArgs a, formula::AdamW rule, int64_t first, const Clip* clip) {
  stepPiece(a, first, clip, [&](float gradient, float& weight, int64_t i) {
    formula::adamw(rule, gradient, weight, a.mean[i], a.square[i]);
  });
}

static __global__ void __launch_bounds__(kPieceThreads)
    sgdStep(StepArgs a, formula::Momentum rule, int64_t first, const Clip* clip) {
  stepPiece(a, first, clip,
            [&](float gradient, float& weight, int64_t i) { formula::sgd(rule, gradient, weight, a.mean[i]); });
}

/// The part of a step's launches from number `first` on.
template <class Kernel, class Rule>
cudaError_t launchStep(Kernel kernel, const StepArgs& a, const Rule& rule, int64_t first, const Clip* clip,
                       cudaStream_t stream) {
  if (first >= a.count) return cudaSuccess;
  return launch(kernel, pieceGrid(first, a.count), dim3(kPieceThreads), 0, stream, a, rule, first, clip);
}

}  // namespace foretoken::cuda
