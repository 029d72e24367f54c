// The product for prefill.
#include "cuda/gemm/large.cuh"
#include "cuda/gemm/large_tcgen05.cuh"

namespace foretoken::cuda {

cudaError_t prepareLarge(const float* in, const LargeInputs& x, cudaStream_t stream) {
  constexpr int kThreads = 256;
  const dim3 grid(ceilDiv(x.tokens * x.blocks(), kThreads / kWarp));
  return launch(quantizeTokens<kThreads>, grid, kThreads, 0, stream, in, x);
}

cudaError_t multiplyLarge(const LargeWeights& weights, const LargeInputs& x, const Output& out, cudaStream_t stream) {
  const MatrixUnit unit = currentUnit();
  if (unit == MatrixUnit::none || !isFp8(weights.format)) return cudaErrorNotSupported;
  TensorMap xTiles, wTiles;
  cudaError_t error = makeTensorMap(xTiles, x.codes, x.tokens, x.pitch(), x.pitch(), kLargeTile);
  const SkinnyLayout layout = weights.layout();
  if (error == cudaSuccess)
    error = makeTileMap(wTiles, weights.packed, layout.tiles(), layout.steps(), kTileRows, kLargeTile / kTileRows);
  if (error != cudaSuccess) return error;
  if (unit == MatrixUnit::tcgen05)
    return launchTensorProduct(xTiles, wTiles, PromotedProduct{weights, x}, x.tokens, weights.rows, out, stream);
  const int tiles = ceilDiv(x.tokens, kLargeTile) * ceilDiv(weights.rows, kLargeTile);
  return launch(largeProduct<>, tiles, kLargeThreads, LargeRing<>::kBytes, stream, xTiles, wTiles, weights, x, out);
}

}  // namespace foretoken::cuda
