// Rows on their way into a product: RMSNorm where there is one, and in the same pass what products read
// (gemm/activations.cuh), f16 over a power of two of the row's own.
//
//   y[k] = x[k] / sqrt(mean(x^2) + eps) * weight[k]
//
// A block takes a row, whatever their number; the mean's order of summation depends on the row's width alone.
#pragma once
#include "cuda/gemm/activations.cuh"
#include "cuda/step/pass_view.cuh"

namespace foretoken::cuda {

constexpr int kNormThreads = 256;

struct NormArgs {
  const int32_t* pass;
  const float* in;      ///< [.][out.cols]
  const float* weight;  ///< [out.cols]; null: rows go as they are
  float eps;
  bool ofLogitRows;  ///< row i is the pass's i-th row whose logits are wanted, instead of its i-th row
  Activations out;   ///< rows behind the pass's last are zeros
  WeightCode code;
  bool operator==(const NormArgs&) const = default;
};

/// What a row is multiplied by before its weight.
__device__ inline float inverseRootMeanSquare(const float* x, int width, float eps, float* scratch) {
  float sum = 0;
  for (int k = threadIdx.x; k < width; k += kNormThreads) sum = fmaf(x[k], x[k], sum);
  return 1.0f / sqrtf(blockReduce(sum, scratch, kNormThreads / kWarp, Sum{}) / static_cast<float>(width) + eps);
}

/// Grid: out.tokens.
static __global__ void __launch_bounds__(kNormThreads) normalise(NormArgs a) {
  __shared__ float scratch[kNormThreads / kWarp];
  const PassView pass(a.pass);
  const int i = blockIdx.x, width = a.out.cols;
  const bool any = i < (a.ofLogitRows ? pass.header().logitRows : pass.rows());
  const int row = any && a.ofLogitRows ? pass.at(pass.header().logitRow)[i] : i;
  const float* const x = a.in + static_cast<size_t>(row) * width;
  const float factor = any && a.weight ? inverseRootMeanSquare(x, width, a.eps, scratch) : 1.0f;
  const auto normed = [&](int k) { return any && k < width ? x[k] * factor * (a.weight ? a.weight[k] : 1.0f) : 0.0f; };
  float largest = 0;
  for (int k = threadIdx.x; k < width; k += kNormThreads) largest = fmaxf(largest, fabsf(normed(k)));
  const float power = activationFactor(blockReduce(largest, scratch, kNormThreads / kWarp, Max{}));
  if (threadIdx.x == 0) a.out.factors[i] = power;
  for (int part = threadIdx.x; part < a.out.groups() * 4; part += kNormThreads) {
    float values[8];
#pragma unroll
    for (int k = 0; k < 8; ++k) values[k] = normed(part * 8 + k);
    a.out.fragments[a.out.index(i, part)] = activationFragment(values, 1 / power, a.code);
  }
}

}  // namespace foretoken::cuda
