// The product for prefill with operands of 4 bits, as its callers see it: out = x W^T where the matrix unit of
// Blackwell multiplies scales of a few columns itself. scaled.cuh computes it; elsewhere there is no such product.
#pragma once
#include "cuda/common/scaled_kind.h"
#include "cuda/gemm/epilogue.cuh"

namespace foretoken::cuda {

enum class ScaledSide : uint8_t { inputs, weights };

/// How rows of one side lie in memory. Codes of a row fill whole 128 columns, those behind the last are zeros. Scales
/// lie in blocks of scaled_kind.h: all of the first 128 rows, by their columns, then those of the next; rows and
/// columns are rounded up to whole tiles, scales behind the last column are zeros.
struct ScaledLayout {
  static constexpr int kTileRows = 128;
  ScaledKind kind;
  ScaledSide side;
  int count, cols;

  /// Inputs of W4A8 are the only ones of eight bits.
  __host__ __device__ bool isE4m3() const { return kind == ScaledKind::mxfp8 && side == ScaledSide::inputs; }
  /// Bytes from row to row.
  __host__ __device__ int pitch() const { return roundUp(cols, 128) / (isE4m3() ? 1 : 2); }
  __host__ __device__ size_t codeBytes() const { return size_t(count) * pitch(); }
  /// Groups of columns with a scale, those that fill up the last tile included: a tile has 128 bytes of a row.
  __host__ __device__ int groups() const {
    return roundUp(cols, kind == ScaledKind::mxfp8 ? 128 : 256) / scaleGroup(kind);
  }
  __host__ __device__ size_t scaleBytes() const { return size_t(roundUp(count, kTileRows)) * groups(); }
  /// Where the blocks begin that hold this row and group.
  __host__ __device__ size_t scaleBlock(int row, int group) const {
    return size_t(row / kTileRows) * kTileRows * groups() + size_t(group / kScaleBlockGroups) * kScaleBlockBytes;
  }
  __host__ __device__ size_t scaleAt(int row, int group) const {
    return scaleBlock(row, group) + scaleInBlock(row, group);
  }
};

/// Rows of one side, as ScaledLayout says. `codes` is a multiple of 32, `scales` of 16.
struct ScaledRows {
  uint8_t *codes, *scales;
  float* factors;  ///< [count], what results of a row are multiplied by; null: all 1
  int count, cols;
};

/// Scales as files have them, [count][cols / group, rounded up], in the order of the layout.
inline void packScales(const ScaledLayout& layout, const uint8_t* in, uint8_t* out) {
  const int groups = ceilDiv(layout.cols, scaleGroup(layout.kind));
  for (size_t i = 0; i < layout.scaleBytes(); ++i) out[i] = 0;
  for (int row = 0; row < layout.count; ++row)
    for (int group = 0; group < groups; ++group) out[layout.scaleAt(row, group)] = in[size_t(row) * groups + group];
}

/// Quantises in [x.count][x.cols]; factors are written for nvfp4 and not looked at otherwise.
cudaError_t prepareScaled(ScaledKind kind, const float* in, const ScaledRows& x, cudaStream_t stream);

/// out = x W^T. cudaErrorNotSupported where the device is not a Blackwell with tensor memory.
cudaError_t multiplyScaled(ScaledKind kind, const ScaledRows& weights, const ScaledRows& x, const Output& out,
                           cudaStream_t stream);

}  // namespace foretoken::cuda
