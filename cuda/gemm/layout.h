// How weights of the skinny product lie in memory: the order in which a warp's lanes want them, so that a load of 16
// bytes a lane fills the registers of a tensor core's row operand without any exchange. Plain C++, for whoever packs.
//
// A tile is 16 rows. A chunk is one 16-byte load a lane, 512 bytes a tile: 64 columns of 4 bits, 32 of 8, or 16 of 16.
// A step is four chunks, with the scales of its columns. Columns go in groups of 32; lane l, g = l / 4, t = l % 4,
// holds columns 8t .. 8t + 7 of a group, of rows g and g + 8:
//
//   4 bits: a chunk is (group 0, row g), (group 0, row g + 8), (group 1, row g), (group 1, row g + 8), a word each
//   8 bits: a chunk is (row g, 8 bytes), (row g + 8, 8 bytes)
//   16 bits: a group is two chunks, row g and row g + 8
//
// Scales, a 16-byte load a lane and step, four lanes or two reading the same:
//   nvfp4 (16 columns a scale): [tile][step][g][t / 2] of [chunk][group][row half], e4m3; 256 bytes a step
//   mxfp4 (32 columns a scale): [tile][step][g] of [chunk][group][row half], e8m0; 128 bytes a step
//   fp8 by blocks of 128 x 128: [row block][step], fp32
//   fp8 by rows, f16: none
// and in all formats one fp32 factor a row.
#pragma once
#include <cstddef>
#include <cstdint>

namespace foretoken::cuda {

enum class SkinnyFormat : uint8_t { fp8Rows, fp8Blocks, nvfp4, mxfp4, f16Rows };

constexpr int kTileRows = 16;
constexpr int kGroupCols = 32;
constexpr int kStepChunks = 4;
constexpr int kChunkBytes = 512;
constexpr int kScaleBlockRows = 128;  ///< fp8Blocks

constexpr bool isFp4(SkinnyFormat format) { return format == SkinnyFormat::nvfp4 || format == SkinnyFormat::mxfp4; }
constexpr int stepCols(SkinnyFormat format) { return isFp4(format) ? 256 : format == SkinnyFormat::f16Rows ? 64 : 128; }

/// Where the parts of a packed matrix are. Rows and columns are padded with zeros.
struct SkinnyLayout {
  SkinnyFormat format;
  int64_t rows, cols;

  constexpr int64_t tiles() const { return (rows + kTileRows - 1) / kTileRows; }
  constexpr int64_t steps() const { return (cols + stepCols(format) - 1) / stepCols(format); }
  constexpr int64_t codeBytes() const { return tiles() * steps() * kStepChunks * kChunkBytes; }
  constexpr int64_t scaleBytes() const {
    switch (format) {
      case SkinnyFormat::nvfp4: return tiles() * steps() * 256;
      case SkinnyFormat::mxfp4: return tiles() * steps() * 128;
      case SkinnyFormat::fp8Blocks: return (rows + kScaleBlockRows - 1) / kScaleBlockRows * steps() * 4;
      case SkinnyFormat::fp8Rows:
      case SkinnyFormat::f16Rows: return 0;
    }
    return 0;
  }
  /// Codes lie first; then the scales; then the rows' factors, padded to whole tiles.
  constexpr int64_t scaleOffset() const { return codeBytes(); }
  constexpr int64_t rowFactorOffset() const { return scaleOffset() + (scaleBytes() + 255) / 256 * 256; }
  constexpr int64_t bytes() const { return rowFactorOffset() + tiles() * kTileRows * 4; }
};

}  // namespace foretoken::cuda
