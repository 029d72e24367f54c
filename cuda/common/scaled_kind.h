// Products of rows whose columns have scales in groups, which the matrix unit itself multiplies: what their operands
// are. Plain C++, for kernels, for the executor and for whoever packs.
//
// Scales lie in blocks of 512 bytes: of 128 rows, four scales of neighbouring groups each, as tensor memory wants them:
// [row modulo 32][row / 32][group modulo 4].
#pragma once
#include <cstdint>

namespace foretoken::cuda {

enum class ScaledKind : uint8_t {
  nvfp4,  ///< e2m1 by e2m1, an e4m3 scale for 16 columns (PTX: mxf4nvf4, scale_vec::4X)
  mxfp4,  ///< e2m1 by e2m1, a power of two for 32 columns (mxf4nvf4, scale_vec::2X)
  mxfp8,  ///< e4m3 by e2m1, a power of two for 32 columns (mxf8f6f4, scale_vec::1X)
};

/// Columns that share a scale.
constexpr int scaleGroup(ScaledKind kind) { return kind == ScaledKind::nvfp4 ? 16 : 32; }
/// Columns of one product.
constexpr int productCols(ScaledKind kind) { return kind == ScaledKind::mxfp8 ? 32 : 64; }
/// Scales of a row in one product.
constexpr int productScales(ScaledKind kind) { return productCols(kind) / scaleGroup(kind); }

constexpr int kScaleBlockBytes = 512, kScaleBlockGroups = 4;

/// Where the scale of a row and a group lies in its block.
constexpr int scaleInBlock(int row, int group) {
  return row % 32 * 16 + row % 128 / 32 * kScaleBlockGroups + group % kScaleBlockGroups;
}

}  // namespace foretoken::cuda
