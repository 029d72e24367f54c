// Weights on the device, in the order of the skinny product. Packed weights of the CPU are what they are made from, so
// that both backends share what is cached on disk.
//
// fp8, nvfp4 and mxfp4 keep their codes and scales; every other format becomes f16 with a power of two for each row,
// which keeps f16 and bf16 as they are but for numbers 2^27 times smaller than their row's largest.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "backend.h"
#include "cpu/layout.h"
#include "cpu/pack.h"
#include "cpu/thread_pool.h"
#include "cuda/common/memory.cuh"
#include "cuda/gemm/pack.h"
#include "cuda/gemm/skinny.h"
#include "quant/float_codecs.h"

namespace foretoken::cuda {

inline SkinnyFormat skinnyFormat(Format format) {
  switch (format) {
    case Format::fp8: return SkinnyFormat::fp8Rows;
    case Format::nvfp4: return SkinnyFormat::nvfp4;
    case Format::mxfp4: return SkinnyFormat::mxfp4;
    default: return SkinnyFormat::f16Rows;
  }
}

/// Makes tiles of the skinny product of panels of the CPU: both are sixteen rows. One per thread.
class TileRepacker {
 public:
  TileRepacker(Format format, int64_t rows, int64_t cols, const uint8_t* packed)
      : format_(format),
        packed_(packed),
        panels_(format, rows, cols),
        all_{skinnyFormat(format), rows, cols},
        one_{all_.format, kTileRows, cols},
        codes_(kTileRows * cols * (all_.format == SkinnyFormat::f16Rows ? 2 : 1)),
        scales_(kTileRows * panels_.paddedCols() / 16),
        row_(all_.format == SkinnyFormat::f16Rows ? cols : 0),
        tile_(one_.bytes()) {}

  /// Writes what belongs to a tile to its places in `out`, all of the matrix.
  void run(int64_t tile, uint8_t* out) {
    std::fill(codes_.begin(), codes_.end(), uint8_t{0});
    for (int lane = 0; lane < kTileRows; ++lane)
      if (tile * kTileRows + lane < all_.rows) takeRow(tile, lane);
    SkinnyPacker(one_, {codes_.data(), scales_.data(), nullptr, factors_}).pack(tile_.data());
    std::memcpy(out + tile * one_.codeBytes(), tile_.data(), one_.codeBytes());
    std::memcpy(out + all_.scaleOffset() + tile * one_.scaleBytes(), tile_.data() + one_.scaleOffset(),
                one_.scaleBytes());
    std::memcpy(out + all_.rowFactorOffset() + tile * sizeof factors_, tile_.data() + one_.rowFactorOffset(),
                sizeof factors_);
  }

 private:
  const uint8_t* block(int64_t tile, int64_t b) const {
    return packed_ + kHeaderBytes + tile * panels_.panelBytes + b * panels_.blockBytes;
  }

  void takeRow(int64_t tile, int lane) {
    switch (all_.format) {
      case SkinnyFormat::f16Rows: return takeHalves(tile, lane);
      case SkinnyFormat::fp8Rows:
        for (int64_t k = 0; k < all_.cols; ++k)
          code(lane, k) = block(tile, k / kBlockCols)[byteOf8(lane, static_cast<int>(k % kBlockCols))];
        std::memcpy(factors_ + lane, block(tile, panels_.blocks) + lane * sizeof(float), sizeof(float));
        return;
      default: return takeFp4(tile, lane);
    }
  }

  void takeFp4(int64_t tile, int lane) {
    for (int64_t k = 0; k < all_.cols; ++k) {
      const int column = static_cast<int>(k % kBlockCols);
      const uint8_t both = block(tile, k / kBlockCols)[byteOf4(lane, column)];
      code(lane, k) = isHighNibble(column) ? both >> 4 : both & 15;
    }
    const bool isNvfp4 = all_.format == SkinnyFormat::nvfp4;
    const int parts = isNvfp4 ? 2 : 1;  // scales of a block
    const int64_t perRow = (all_.cols + kBlockCols / parts - 1) / (kBlockCols / parts);
    for (int64_t i = 0; i < perRow; ++i)
      scales_[lane * perRow + i] = block(tile, i / parts)[panels_.codeBytes + i % parts * kPanelRows + lane];
    factors_[lane] = 1;
    if (isNvfp4) std::memcpy(factors_ + lane, packed_, sizeof(float));
  }

  void takeHalves(int64_t tile, int lane) {
    unpackRow(format_, all_.rows, all_.cols, packed_, tile * kTileRows + lane, row_.data());
    float largest = 0;
    for (const float x : row_) largest = std::max(largest, std::fabs(x));
    const float factor = largest > 0 ? std::exp2(static_cast<float>(std::ilogb(largest) - 13)) : 1.0f;
    factors_[lane] = factor;
    for (int64_t k = 0; k < all_.cols; ++k) {
      const uint16_t half = floatToF16(row_[k] / factor);
      std::memcpy(&codes_[(lane * all_.cols + k) * sizeof half], &half, sizeof half);
    }
  }

  uint8_t& code(int lane, int64_t k) { return codes_[lane * all_.cols + k]; }

  const Format format_;
  const uint8_t* const packed_;
  const Layout panels_;
  const SkinnyLayout all_, one_;
  std::vector<uint8_t> codes_, scales_;
  std::vector<float> row_;
  float factors_[kTileRows] = {};
  std::vector<uint8_t> tile_;
};

class CudaMatrix final : public Matrix {
 public:
  CudaMatrix(Format format, int64_t rows, int64_t cols, const uint8_t* packed, ThreadPool& threads)
      : Matrix(format, rows, cols) {
    const SkinnyLayout layout{skinnyFormat(format), rows, cols};
    std::vector<uint8_t> bytes(layout.bytes());
    std::vector<TileRepacker> repackers;  // made here: threads must not run out of memory
    for (int t = 0; t < threads.size(); ++t) repackers.emplace_back(format, rows, cols, packed);
    threads.run(layout.tiles(), [&](int64_t first, int64_t last, int thread) {
      for (int64_t tile = first; tile < last; ++tile) repackers[thread].run(tile, bytes.data());
    });
    memory_ = DeviceMemory(bytes.size());
    copyToDevice(memory_.data(), bytes.data(), bytes.size());
  }
  SkinnyFormat skinny() const { return skinnyFormat(format()); }
  SkinnyWeights weights() const { return {memory_.data(), static_cast<int>(rows()), static_cast<int>(cols())}; }

 private:
  DeviceMemory memory_;
};

}  // namespace foretoken::cuda
