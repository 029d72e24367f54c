#include "cpu/pack.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "common/error.h"
#include "cpu/layout.h"
#include "quant/float_codecs.h"
#include "quant/gguf_blocks.h"
#include "quant/quantize.h"

namespace foretoken {
namespace {

/// Where a row of the stacked matrix comes from.
struct SourceRow {
  FileType type;
  const uint8_t* data;
  const float* scale;  ///< null = none

  void expand(float* out, int64_t cols) const {
    dequantize(type, data, out, cols);
    for (int64_t k = 0; scale && k < cols; ++k) out[k] *= *scale;
  }
};

class Sources {
 public:
  Sources(std::span<const MatrixSource> sources, bool interleave) : sources_(sources), interleave_(interleave) {
    for (const MatrixSource& source : sources) {
      rows_ += source.rows;
      if (source.cols != sources[0].cols || (interleave && source.rows != sources[0].rows) ||
          source.cols % blockShape(source.type).elements != 0)
        throw Error("BAD_SHAPE", "matrices of different shapes cannot be packed into one");
    }
  }
  int64_t rows() const { return rows_; }
  int64_t cols() const { return sources_[0].cols; }

  SourceRow row(int64_t index) const {
    if (interleave_) {
      const int64_t count = static_cast<int64_t>(sources_.size());
      return rowOf(sources_[index % count], index / count);
    }
    size_t i = 0;
    while (index >= sources_[i].rows) index -= sources_[i++].rows;
    return rowOf(sources_[i], index);
  }

 private:
  static SourceRow rowOf(const MatrixSource& source, int64_t index) {
    const BlockShape shape = blockShape(source.type);
    const int64_t bytes = source.cols / shape.elements * shape.bytes;
    const auto* const data = static_cast<const uint8_t*>(source.data) + index * bytes;
    return {source.type, data, source.rowScale ? source.rowScale + index : nullptr};
  }

  std::span<const MatrixSource> sources_;
  bool interleave_;
  int64_t rows_ = 0;
};

/// Puts rows into their lane of a panel. One per thread; buffers are reused from row to row.
class RowPacker {
 public:
  RowPacker(Format format, const Layout& layout, float global)
      : format_(format),
        layout_(layout),
        global_(global),
        values_(layout.cols),
        codes_(layout.paddedCols()),
        halves_(layout.cols),
        scales_(layout.paddedCols() / 16) {}

  void pack(const SourceRow& source, int lane, uint8_t* panel) {
    switch (format_) {
      case Format::q8_0: return packQ8(source.data, lane, panel);
      case Format::q4_0: return packQ4<BlockQ4_0>(source.data, lane, panel);
      case Format::q4_1: return packQ4<BlockQ4_1>(source.data, lane, panel);
      default: break;
    }
    if (format_ == Format::fp8 && source.scale) return packFp8(source.data, *source.scale, lane, panel);
    source.expand(values_.data(), layout_.cols);
    switch (format_) {
      case Format::f32: return packFloats(lane, panel);
      case Format::f16:
        roundRowF16(values_.data(), layout_.cols, halves_.data());
        return packHalves(lane, panel, elementOf);
      case Format::bf16:
        roundRowBf16(values_.data(), layout_.cols, halves_.data());
        return packHalves(lane, panel, halfOfBf16);
      case Format::fp8: return quantizeFp8(lane, panel);
      case Format::nvfp4: return packNvfp4(lane, panel);
      default: return packMxfp4(lane, panel);
    }
  }

 private:
  uint8_t* block(uint8_t* panel, int64_t b) const { return panel + b * layout_.blockBytes; }

  void packQ8(const uint8_t* data, int lane, uint8_t* panel) {
    for (int64_t b = 0; b < layout_.blocks; ++b) {
      const auto* from = reinterpret_cast<const BlockQ8_0*>(data) + b;
      uint8_t* to = block(panel, b);
      for (int k = 0; k < kBlockCols; ++k) to[byteOf8(lane, k)] = static_cast<uint8_t>(from->q[k]);
      std::memcpy(to + layout_.codeBytes + 2 * lane, from->scale, 2);
    }
  }

  template <class Block>
  void packQ4(const uint8_t* data, int lane, uint8_t* panel) {
    for (int64_t b = 0; b < layout_.blocks; ++b) {
      const auto* from = reinterpret_cast<const Block*>(data) + b;
      uint8_t* to = block(panel, b);
      for (int k = 0; k < kBlockCols; ++k) putNibble(to, lane, k, static_cast<uint8_t>(from->q(k)));
      std::memcpy(to + layout_.codeBytes + 2 * lane, from->scale, 2);
      if constexpr (std::is_same_v<Block, BlockQ4_1>)
        std::memcpy(to + layout_.codeBytes + 2 * (kPanelRows + lane), from->minimum, 2);
    }
  }

  /// Panels start as zeros, so that or-ing sets.
  static void putNibble(uint8_t* block, int lane, int k, uint8_t code) {
    block[byteOf4(lane, k)] |= static_cast<uint8_t>(isHighNibble(k) ? code << 4 : code);
  }

  void packFloats(int lane, uint8_t* panel) {
    for (int64_t k = 0; k < layout_.cols; ++k)
      std::memcpy(block(panel, k / kBlockCols) + elementOf(lane, k % kBlockCols) * 4, &values_[k], 4);
  }

  void packHalves(int lane, uint8_t* panel, int (*place)(int, int)) {
    for (int64_t k = 0; k < layout_.cols; ++k)
      std::memcpy(block(panel, k / kBlockCols) + place(lane, k % kBlockCols) * 2, &halves_[k], 2);
  }

  void quantizeFp8(int lane, uint8_t* panel) {
    const float scale = quantizeRowFp8(values_.data(), layout_.cols, codes_.data());
    packFp8(codes_.data(), scale, lane, panel);
  }

  void packFp8(const uint8_t* codes, float scale, int lane, uint8_t* panel) {
    for (int64_t k = 0; k < layout_.cols; ++k) block(panel, k / kBlockCols)[byteOf8(lane, k % kBlockCols)] = codes[k];
    std::memcpy(block(panel, layout_.blocks) + lane * sizeof(float), &scale, sizeof(scale));
  }

  void packCodes4(int lane, uint8_t* panel) {
    for (int64_t k = 0; k < layout_.cols; ++k)
      putNibble(block(panel, k / kBlockCols), lane, static_cast<int>(k % kBlockCols), codes_[k]);
  }

  void packNvfp4(int lane, uint8_t* panel) {
    quantizeRowNvfp4(values_.data(), layout_.cols, global_, codes_.data(), scales_.data());
    packCodes4(lane, panel);
    for (int64_t g = 0; g < (layout_.cols + kNvfp4Block - 1) / kNvfp4Block; ++g)
      block(panel, g / 2)[layout_.codeBytes + g % 2 * kPanelRows + lane] = scales_[g];
  }

  void packMxfp4(int lane, uint8_t* panel) {
    quantizeRowMxfp4(values_.data(), layout_.cols, codes_.data(), scales_.data());
    packCodes4(lane, panel);
    for (int64_t b = 0; b < layout_.blocks; ++b) block(panel, b)[layout_.codeBytes + lane] = scales_[b];
  }

  Format format_;
  const Layout& layout_;
  float global_;
  std::vector<float> values_;
  std::vector<uint8_t> codes_;
  std::vector<uint16_t> halves_;
  std::vector<uint8_t> scales_;
};

/// nvfp4's factor for all sources together.
float globalOf(ThreadPool& threads, const Sources& sources) {
  std::vector<float> amax(threads.size(), 0.0f);
  std::vector<std::vector<float>> values(threads.size(), std::vector<float>(sources.cols()));
  threads.run(sources.rows(), [&](int64_t first, int64_t last, int thread) {
    float* const row = values[thread].data();
    for (int64_t r = first; r < last; ++r) {
      sources.row(r).expand(row, sources.cols());
      amax[thread] = std::max(amax[thread], maxMagnitude(row, sources.cols()));
    }
  });
  return nvfp4Global(*std::max_element(amax.begin(), amax.end()));
}

void checkTypes(Format format, std::span<const MatrixSource> sources) {
  if (sources.empty() || sources[0].cols <= 0) throw Error("BAD_SHAPE", "nothing to pack");
  const FileType kept = fileTypeOf(format);
  for (const MatrixSource& source : sources) {
    if (kept != FileType::f32 && source.type != kept)
      throw Error("UNSUPPORTED_CONVERSION", std::string(name(source.type)) + " cannot be packed as " +
                                                std::string(name(format)) + ", which keeps a file's own blocks");
  }
}

}  // namespace

void packMatrix(ThreadPool& threads, Format format, std::span<const MatrixSource> list, bool interleave, uint8_t* out) {
  checkTypes(format, list);
  const Sources sources(list, interleave);
  const Layout layout(format, sources.rows(), sources.cols());
  const float global = format == Format::nvfp4 ? globalOf(threads, sources) : 1.0f;
  std::memset(out, 0, kHeaderBytes);
  std::memcpy(out, &global, sizeof(global));
  std::vector<RowPacker> packers(threads.size(), RowPacker(format, layout, global));
  threads.run(layout.panels, [&](int64_t first, int64_t last, int thread) {
    for (int64_t p = first; p < last; ++p) {
      uint8_t* panel = out + kHeaderBytes + p * layout.panelBytes;
      std::memset(panel, 0, layout.panelBytes);
      for (int lane = 0; lane < kPanelRows && p * kPanelRows + lane < layout.rows; ++lane)
        packers[thread].pack(sources.row(p * kPanelRows + lane), lane, panel);
    }
  });
}

namespace {

float halfAt(const uint8_t* p) { return f16ToFloat(loadHalf(p)); }

/// The weight of one lane and column of a block.
float weightAt(Format format, const Layout& layout, const uint8_t* block, float global, int lane, int k) {
  const uint8_t* scales = block + layout.codeBytes;
  const auto nibble = [&] {
    const uint8_t byte = block[byteOf4(lane, k)];
    return static_cast<uint8_t>(isHighNibble(k) ? byte >> 4 : byte & 15);
  };
  switch (format) {
    case Format::f32: {
      float value;
      std::memcpy(&value, block + elementOf(lane, k) * 4, 4);
      return value;
    }
    case Format::f16: return halfAt(block + elementOf(lane, k) * 2);
    case Format::bf16: return bf16ToFloat(loadHalf(block + halfOfBf16(lane, k) * 2));
    case Format::fp8: return e4m3ToFloat(block[byteOf8(lane, k)]);
    case Format::nvfp4: return e2m1ToFloat(nibble()) * (e4m3ToFloat(scales[k / 16 * kPanelRows + lane]) * global);
    case Format::mxfp4: return e2m1ToFloat(nibble()) * e8m0ToFloat(scales[lane]);
    case Format::q8_0: return static_cast<int8_t>(block[byteOf8(lane, k)]) * halfAt(scales + 2 * lane);
    case Format::q4_0: return (nibble() - 8) * halfAt(scales + 2 * lane);
    case Format::q4_1: return nibble() * halfAt(scales + 2 * lane) + halfAt(scales + 2 * (kPanelRows + lane));
  }
  return 0;
}

}  // namespace

void unpackRow(Format format, int64_t rows, int64_t cols, const uint8_t* packed, int64_t row, float* out) {
  const Layout layout(format, rows, cols);
  const int lane = static_cast<int>(row % kPanelRows);
  const uint8_t* panel = packed + kHeaderBytes + row / kPanelRows * layout.panelBytes;
  float global, scale = 1.0f;
  std::memcpy(&global, packed, sizeof(global));
  if (format == Format::fp8) std::memcpy(&scale, panel + layout.blocks * layout.blockBytes + lane * 4, 4);
  for (int64_t k = 0; k < cols; ++k)
    out[k] = weightAt(format, layout, panel + k / kBlockCols * layout.blockBytes, global, lane,
                      static_cast<int>(k % kBlockCols)) *
             scale;
}

}  // namespace foretoken
