// Rows on their way into a product: RMSNorm where there is one, and in the same pass what products read: f16 over a
// power of two of the row's own (gemm/activations.cuh), or e4m3 with a scale for each 128 columns (gemm/large.h).
//
//   y[k] = x[k] / sqrt(mean(x^2) + eps) * weight[k]
//
// A block takes a row, whatever their number; the mean's order of summation depends on the row's width alone.
#pragma once
#include "cuda/gemm/activations.cuh"
#include "cuda/gemm/quantize.cuh"
#include "cuda/step/pass_view.cuh"

namespace foretoken::cuda {

constexpr int kNormThreads = 256;

/// Rows of a pass as they are before a product. Those behind the pass's last are zeros.
struct NormInput {
  const int32_t* pass;
  const float* in;      ///< [.][width of the product's inputs]
  const float* weight;  ///< [width]; null: rows go as they are
  float eps;
  bool ofLogitRows;  ///< row i is the pass's i-th row whose logits are wanted, instead of its i-th row
  bool operator==(const NormInput&) const = default;
};

struct NormArgs : NormInput {
  Activations out;
  WeightCode code;
  bool operator==(const NormArgs&) const = default;
};

struct QuantizeArgs : NormInput {
  LargeInputs out;
  bool operator==(const QuantizeArgs&) const = default;
};

/// What a row is multiplied by before its weight.
__device__ inline float inverseRootMeanSquare(const float* x, int width, float eps, float* scratch) {
  float sum = 0;
  for (int k = threadIdx.x; k < width; k += kNormThreads) sum = fmaf(x[k], x[k], sum);
  return 1.0f / sqrtf(blockReduce(sum, scratch, kNormThreads / kWarp, Sum{}) / static_cast<float>(width) + eps);
}

/// The block's row, column by column; zeros behind the last one.
class NormedRow {
 public:
  __device__ NormedRow(const NormInput& a, int width, float* scratch) : weight_(a.weight), width_(width) {
    const PassView pass(a.pass);
    const int i = static_cast<int>(blockIdx.x);
    any_ = i < (a.ofLogitRows ? pass.header().logitRows : pass.rows());
    const int row = any_ && a.ofLogitRows ? pass.at(pass.header().logitRow)[i] : i;
    x_ = a.in + static_cast<size_t>(row) * width;
    factor_ = any_ && weight_ ? inverseRootMeanSquare(x_, width, a.eps, scratch) : 1.0f;
  }
  __device__ float operator[](int k) const {
    return any_ && k < width_ ? x_[k] * factor_ * (weight_ ? weight_[k] : 1.0f) : 0.0f;
  }

 private:
  const float *x_, *weight_;
  const int width_;
  bool any_;
  float factor_;
};

/// Grid: out.tokens.
static __global__ void __launch_bounds__(kNormThreads) normalise(NormArgs a) {
  __shared__ float scratch[kNormThreads / kWarp];
  const int width = a.out.cols;
  const NormedRow y(a, width, scratch);
  float largest = 0;
  for (int k = threadIdx.x; k < width; k += kNormThreads) largest = fmaxf(largest, fabsf(y[k]));
  const float power = activationFactor(blockReduce(largest, scratch, kNormThreads / kWarp, Max{}));
  if (threadIdx.x == 0) a.out.factors[blockIdx.x] = power;
  for (int part = threadIdx.x; part < a.out.groups() * 4; part += kNormThreads) {
    float values[8];
#pragma unroll
    for (int k = 0; k < 8; ++k) values[k] = y[part * 8 + k];
    a.out.fragments[a.out.index(static_cast<int>(blockIdx.x), part)] = activationFragment(values, 1 / power, a.code);
  }
}

/// Grid: out.tokens.
static __global__ void __launch_bounds__(kNormThreads) normaliseToCodes(QuantizeArgs a) {
  __shared__ float scratch[kNormThreads / kWarp];
  const NormedRow y(a, a.out.cols, scratch);
  const int lane = threadIdx.x % kWarp;
  for (int block = threadIdx.x / kWarp; block < a.out.blocks(); block += kNormThreads / kWarp) {
    float value[kQuantizedEach];
#pragma unroll
    for (int i = 0; i < kQuantizedEach; ++i) value[i] = y[block * kLargeTile + lane * kQuantizedEach + i];
    quantizeBlock(value, a.out, static_cast<int>(blockIdx.x), block);
  }
}

}  // namespace foretoken::cuda
