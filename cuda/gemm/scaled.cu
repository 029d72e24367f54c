// The product for prefill with block-scaled operands.
#include "cuda/gemm/scaled.cuh"

namespace foretoken::cuda {
namespace {

/// Describes the codes of one side.
cudaError_t makeTiles(TensorMap& map, const ScaledRows& rows, const ScaledLayout& layout, BoxRow box) {
  const int cols = box == BoxRow::bytes ? layout.pitch() : 2 * layout.pitch();
  return makeTensorMap(map, rows.codes, rows.count, cols, layout.pitch(), kLargeTile, box);
}

template <ScaledKind kKind>
cudaError_t prepare(const float* in, const ScaledRows& x, cudaStream_t stream) {
  constexpr int kThreads = 256;
  return launch(quantizeScaled<kKind, kThreads>, x.count, kThreads, 0, stream, in, x);
}

template <ScaledKind kKind>
cudaError_t multiply(const ScaledRows& weights, const ScaledRows& x, const Output& out, cudaStream_t stream) {
  TensorMap xTiles, wTiles;
  cudaError_t error = makeTiles(xTiles, x, {kKind, ScaledSide::inputs, x.count, x.cols}, BoxRow::bytes);
  if (error == cudaSuccess)
    error = makeTiles(wTiles, weights, {kKind, ScaledSide::weights, weights.count, weights.cols}, weightBox(kKind));
  if (error != cudaSuccess) return error;
  return launchTensorProduct(xTiles, wTiles, ScaledProduct<kKind>{weights, x}, x.count, weights.count, out, stream);
}

}  // namespace

cudaError_t prepareScaled(ScaledKind kind, const float* in, const ScaledRows& x, cudaStream_t stream) {
  switch (kind) {
    case ScaledKind::nvfp4: return prepare<ScaledKind::nvfp4>(in, x, stream);
    case ScaledKind::mxfp4: return prepare<ScaledKind::mxfp4>(in, x, stream);
    case ScaledKind::mxfp8: return prepare<ScaledKind::mxfp8>(in, x, stream);
  }
  return cudaErrorNotSupported;
}

cudaError_t multiplyScaled(ScaledKind kind, const ScaledRows& weights, const ScaledRows& x, const Output& out,
                           cudaStream_t stream) {
  if (currentUnit() != MatrixUnit::tcgen05) return cudaErrorNotSupported;
  switch (kind) {
    case ScaledKind::nvfp4: return multiply<ScaledKind::nvfp4>(weights, x, out, stream);
    case ScaledKind::mxfp4: return multiply<ScaledKind::mxfp4>(weights, x, out, stream);
    case ScaledKind::mxfp8: return multiply<ScaledKind::mxfp8>(weights, x, out, stream);
  }
  return cudaErrorNotSupported;
}

}  // namespace foretoken::cuda
