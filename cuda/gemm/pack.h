// Packs quantised weights in the order of layout.h, on the host, once per matrix.
#pragma once
#include <cstring>

#include "cuda/gemm/layout.h"

namespace foretoken::cuda {

/// A quantised matrix as quant/quantize.h gives it: weight (r, c) = code * its scales.
struct SkinnySource {
  const uint8_t* codes;             ///< [rows][cols], one code a byte; f16Rows: two bytes
  const uint8_t* scales = nullptr;  ///< nvfp4: [rows][cols / 16] e4m3, mxfp4: [rows][cols / 32] e8m0, rounded up
  const float* blocks = nullptr;    ///< fp8Blocks: [rows / 128][cols / 128], rounded up
  const float* factors = nullptr;   ///< [rows], e.g. an fp8 row's scale, an nvfp4 matrix's global one; null: all 1
};

class SkinnyPacker {
 public:
  SkinnyPacker(const SkinnyLayout& layout, const SkinnySource& source) : layout_(layout), source_(source) {}

  /// Writes layout.bytes() bytes.
  void pack(uint8_t* out) const {
    std::memset(out, 0, static_cast<size_t>(layout_.bytes()));
    for (int64_t tile = 0; tile < layout_.tiles(); ++tile) packTile(tile, out);
    if (layout_.format == SkinnyFormat::fp8Blocks)
      std::memcpy(out + layout_.scaleOffset(), source_.blocks, static_cast<size_t>(layout_.scaleBytes()));
    auto* factors = reinterpret_cast<float*>(out + layout_.rowFactorOffset());
    for (int64_t row = 0; row < layout_.rows; ++row) factors[row] = source_.factors ? source_.factors[row] : 1.0f;
  }

  /// Tiles are independent, so that several threads can share a matrix: the codes and block scales of one of them.
  void packTile(int64_t tile, uint8_t* out) const {
    const int64_t row = tile * kTileRows;
    for (int64_t step = 0; step < layout_.steps(); ++step) {
      uint8_t* codes = out + (tile * layout_.steps() + step) * kStepBytes;
      if (isFp8(layout_.format))
        packRows(row, step, codes);
      else
        for (int lane = 0; lane < 32; ++lane)
          for (int chunk = 0; chunk < kStepChunks; ++chunk)
            packLane(row + lane / 4, step, chunk, lane % 4, codes + chunkPlace(layout_.format, chunk, lane));
      if (isFp4(layout_.format)) packScales(tile, step, out + layout_.scaleOffset());
    }
  }

 private:
  uint8_t code(int64_t row, int64_t col) const {
    return row < layout_.rows && col < layout_.cols ? source_.codes[row * layout_.cols + col] : uint8_t{0};
  }

  void putHalf(int64_t row, int64_t col, uint8_t* out) const {
    if (row < layout_.rows && col < layout_.cols) std::memcpy(out, source_.codes + (row * layout_.cols + col) * 2, 2);
  }

  /// A step of 8 bits.
  void packRows(int64_t row, int64_t step, uint8_t* out) const {
    for (int r = 0; r < kTileRows; ++r)
      for (int col = 0; col < kFp8RowBytes; ++col)
        out[r * kFp8RowBytes + fp8Place(col)] = code(row + r, step * kFp8RowBytes + col);
  }

  /// The 16 bytes of a lane of one chunk, of 4 or 16 bits.
  void packLane(int64_t row, int64_t step, int chunk, int t, uint8_t* out) const {
    const int64_t first = step * stepCols(layout_.format) + 8 * t;
    if (layout_.format == SkinnyFormat::f16Rows) {
      row += chunk % 2 * 8;
      for (int i = 0; i < 8; ++i) putHalf(row, first + chunk / 2 * kGroupCols + i, out + 2 * i);
      return;
    }
    for (int word = 0; word < 4; ++word) {
      const int64_t col = first + (2 * chunk + word / 2) * kGroupCols;
      for (int i = 0; i < 4; ++i)
        out[word * 4 + i] = static_cast<uint8_t>(code(row + word % 2 * 8, col + 2 * i) & 15) |
                            static_cast<uint8_t>(code(row + word % 2 * 8, col + 2 * i + 1) << 4);
    }
  }

  void packScales(int64_t tile, int64_t step, uint8_t* out) const {
    const int parts = layout_.format == SkinnyFormat::nvfp4 ? 2 : 1;  // scales a row and group
    const int block = kGroupCols / parts;
    const int64_t perRow = (layout_.cols + block - 1) / block;
    for (int i = 0; i < 128 * parts; ++i) {
      const int half = i % 2, group = i / 2 % 8, part = i / 16 % parts, g = i / (16 * parts);
      const int64_t row = tile * kTileRows + g + 8 * half, column = (step * 8 + group) * parts + part;
      if (row < layout_.rows && column < perRow)
        out[(tile * layout_.steps() + step) * 128 * parts + i] = source_.scales[row * perRow + column];
    }
  }

  SkinnyLayout layout_;
  SkinnySource source_;
};

}  // namespace foretoken::cuda
