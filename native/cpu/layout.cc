#include "cpu/layout.h"

namespace foretoken {
namespace {

struct BlockBytes {
  size_t codes, scales, tail;
};

BlockBytes blockBytesOf(Format format) {
  constexpr size_t weights = size_t{kPanelRows} * kBlockCols;
  switch (format) {
    case Format::f32: return {weights * 4, 0, 0};
    case Format::f16:
    case Format::bf16: return {weights * 2, 0, 0};
    case Format::fp8: return {weights, 0, kPanelRows * sizeof(float)};
    case Format::nvfp4: return {weights / 2, 2 * kPanelRows, 0};
    case Format::mxfp4: return {weights / 2, kPanelRows, 0};
    case Format::q8_0: return {weights, 2 * kPanelRows, 0};
    case Format::q4_0: return {weights / 2, 2 * kPanelRows, 0};
    case Format::q4_1: return {weights / 2, 4 * kPanelRows, 0};
  }
  return {0, 0, 0};
}

}  // namespace

Layout::Layout(Format format, int64_t rowCount, int64_t colCount)
    : rows(rowCount),
      cols(colCount),
      panels((rowCount + kPanelRows - 1) / kPanelRows),
      blocks((colCount + kBlockCols - 1) / kBlockCols) {
  const BlockBytes bytes = blockBytesOf(format);
  codeBytes = bytes.codes;
  blockBytes = bytes.codes + bytes.scales;
  panelBytes = (static_cast<size_t>(blocks) * blockBytes + bytes.tail + 63) / 64 * 64;
}

}  // namespace foretoken
