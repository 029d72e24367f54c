// The skinny product in all formats.
#include "cuda/gemm/skinny.cuh"

namespace foretoken::cuda {

cudaError_t prepareSkinny(SkinnyFormat format, const float* in, const Activations& x, cudaStream_t stream) {
  return launch(prepareActivations<256>, x.tokens, 256, 0, stream, in, x, weightCode(format));
}

cudaError_t multiplySkinny(SkinnyFormat format, const SkinnyPlan& plan, const SkinnyWeights& weights,
                           const Activations& x, const SkinnyOutput& out, cudaStream_t stream) {
  switch (format) {
    case SkinnyFormat::fp8Rows: return SkinnyLauncher<Fp8Rows>(plan, weights, x, out, stream).run();
    case SkinnyFormat::fp8Blocks: return SkinnyLauncher<Fp8Blocks>(plan, weights, x, out, stream).run();
    case SkinnyFormat::nvfp4: return SkinnyLauncher<Nvfp4>(plan, weights, x, out, stream).run();
    case SkinnyFormat::f16Rows: return SkinnyLauncher<F16Rows>(plan, weights, x, out, stream).run();
    case SkinnyFormat::mxfp4: return SkinnyLauncher<Mxfp4>(plan, weights, x, out, stream).run();
  }
  return cudaSuccess;
}

}  // namespace foretoken::cuda
