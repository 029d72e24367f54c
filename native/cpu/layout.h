// How a matrix lies in memory, the same for every instruction set, so that one cached file serves all of them.
//
//   header  64 bytes: the fp32 factor of the whole matrix (nvfp4), zeros
//   panels  of 16 output rows, one after another; the last is filled up with zero rows
//     blocks  of 32 columns, one after another (zero columns fill up the last): codes, then the block's scales
//     tail    fp8: 16 fp32 row scales; zeros up to a multiple of 64 bytes
//
// A vector lane is an output row, so that a kernel never sums across lanes. Codes of a block, row r, column k:
//   8 bits   (q8_0, fp8)                   byte k / 4 * 64 + r * 4 + k % 4: a 32-bit lane holds four columns of a row
//   4 bits   (q4_0, q4_1, nvfp4, mxfp4)    byte k / 8 * 64 + r * 4 + k % 4: columns 0..3 of eight low, 4..7 high
//   bf16     half k / 2 * 32 + r * 2 + k % 2: a 32-bit lane holds two columns
//   f16, f32 element k * 16 + r
// Scales of a block: q8_0, q4_0 d[16] and q4_1 d[16], m[16] as f16; nvfp4 e4m3[2][16]; mxfp4 e8m0[16].
#pragma once
#include <cstddef>
#include <cstdint>

#include "quant/format.h"

namespace foretoken {

constexpr int kPanelRows = 16;
constexpr int kBlockCols = 32;
constexpr size_t kHeaderBytes = 64;

struct Layout {
  int64_t rows, cols;
  int64_t panels, blocks;  ///< blocks of one panel
  size_t codeBytes;        ///< of a block, before its scales
  size_t blockBytes;
  size_t panelBytes;

  Layout(Format, int64_t rows, int64_t cols);
  size_t bytes() const { return kHeaderBytes + static_cast<size_t>(panels) * panelBytes; }
  int64_t paddedCols() const { return blocks * kBlockCols; }
};

/// Formats whose blocks are integers times scales: products run on int8 activations, exactly within a block.
constexpr bool isInteger(Format format) { return format >= Format::nvfp4; }

/// Where the code of (row, column) of a block lies.
constexpr int byteOf8(int row, int col) { return col / 4 * 64 + row * 4 + col % 4; }
constexpr int byteOf4(int row, int col) { return col / 8 * 64 + row * 4 + col % 4; }
constexpr bool isHighNibble(int col) { return col % 8 >= 4; }
constexpr int halfOfBf16(int row, int col) { return col / 2 * 32 + row * 2 + col % 2; }
constexpr int elementOf(int row, int col) { return col * kPanelRows + row; }

}  // namespace foretoken
