// How weights lie in memory: so that a load of 16 bytes a lane fills the registers of a tensor core's row operand
// without any exchange, which is what the skinny product wants, and weights of 8 bits so that they are tiles of whole
// rows as well, which is what the product for prefill wants. Plain C++, for whoever packs.
//
// A tile is 16 rows. A chunk is one 16-byte load a lane, 512 bytes a tile. A step is four chunks, 256 columns of 4
// bits, 128 of 8, or 64 of 16, with the scales of its columns. Columns go in groups of 32; lane l, g = l / 4, t = l %
// 4, holds columns 8t .. 8t + 7 of a group, of rows g and g + 8:
//
//   4 bits: a chunk is (group 0, row g), (group 0, row g + 8), (group 1, row g), (group 1, row g + 8), a word each
//   8 bits: two groups are two chunks, row g and row g + 8, of (group 0, 8 bytes), (group 1, 8 bytes)
//   16 bits: a group is two chunks, row g and row g + 8
//
// Chunks of 4 and 16 bits lie one behind the other, lane by lane. A step of 8 bits is 16 rows of 128 bytes, each one
// row's codes, in the order of fp8Place.
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
constexpr int kStepBytes = kStepChunks * kChunkBytes;
constexpr int kFp8RowBytes = kStepBytes / kTileRows;
constexpr int kScaleBlockRows = 128;  ///< fp8Blocks

constexpr bool isFp4(SkinnyFormat format) { return format == SkinnyFormat::nvfp4 || format == SkinnyFormat::mxfp4; }
constexpr bool isFp8(SkinnyFormat format) {
  return format == SkinnyFormat::fp8Rows || format == SkinnyFormat::fp8Blocks;
}
constexpr int stepCols(SkinnyFormat format) { return isFp4(format) ? 256 : format == SkinnyFormat::f16Rows ? 64 : 128; }

/// Where the code of a column lies in its row, in either operand of a product of 8-bit codes: of 64 columns, the eight
/// that lane t has of the first group and the eight it has of the second side by side.
constexpr int fp8Place(int col) { return col / 64 * 64 + col % 32 / 8 * 16 + col % 64 / 32 * 8 + col % 8; }

/// Where a lane's 16 bytes of a chunk begin in a step.
constexpr int chunkPlace(SkinnyFormat format, int chunk, int lane) {
  if (!isFp8(format)) return chunk * kChunkBytes + lane * 16;
  return (chunk % 2 * 8 + lane / 4) * kFp8RowBytes + fp8Place(chunk / 2 * 2 * kGroupCols + lane % 4 * 8);
}

/// The last group of a step that a chunk has codes of.
constexpr int lastGroup(SkinnyFormat format, int chunk) {
  return isFp4(format) ? 2 * chunk + 1 : isFp8(format) ? chunk / 2 * 2 + 1 : chunk / 2;
}

/// Where the parts of a packed matrix are. Rows and columns are padded with zeros.
struct SkinnyLayout {
  SkinnyFormat format;
  int64_t rows, cols;

  constexpr int64_t tiles() const { return (rows + kTileRows - 1) / kTileRows; }
  constexpr int64_t steps() const { return (cols + stepCols(format) - 1) / stepCols(format); }
  constexpr int64_t codeBytes() const { return tiles() * steps() * kStepBytes; }
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
