// One weight of a packed matrix (layout.h): what embeddings read.
#pragma once
#include "cuda/gemm/skinny.h"
#include "quant/float_codecs.h"

namespace foretoken::cuda {

/// Where things of a row and column are: tile and step, and the lane's place in them.
struct WeightPlace {
  SkinnyFormat format;
  int64_t block;   ///< tile * steps + step
  int half, g, t;  ///< row % 16 = 8 half + g, column % 32 / 8 = t
  int group;       ///< of 32 columns in the step
  int i;           ///< column % 8

  __host__ __device__ WeightPlace(const SkinnyLayout& layout, int64_t row, int64_t col)
      : format(layout.format),
        block(row / kTileRows * layout.steps() + col / stepCols(layout.format)),
        half(static_cast<int>(row % kTileRows / 8)),
        g(static_cast<int>(row % 8)),
        t(static_cast<int>(col % kGroupCols / 8)),
        group(static_cast<int>(col % stepCols(layout.format) / kGroupCols)),
        i(static_cast<int>(col % 8)) {}
  /// Byte `at` of the lane's 16 of a chunk.
  __host__ __device__ int64_t byte(int chunk, int at) const {
    return block * kStepBytes + chunkPlace(format, chunk, g * 4 + t) + at;
  }
};

/// Weight (row, col), in fp32 exactly code * scales.
__host__ __device__ inline float weightAt(SkinnyFormat format, const SkinnyWeights& w, int64_t row, int64_t col) {
  const SkinnyLayout layout{format, w.rows, w.cols};
  const WeightPlace p(layout, row, col);
  const unsigned char* const scales = w.packed + layout.scaleOffset();
  const float factor = reinterpret_cast<const float*>(w.packed + layout.rowFactorOffset())[row];
  if (format == SkinnyFormat::f16Rows)
    return f16ToFloat(*reinterpret_cast<const uint16_t*>(w.packed + p.byte(p.group * 2 + p.half, p.i * 2))) * factor;
  if (!isFp4(format)) {
    const float code = e4m3ToFloat(w.packed[p.byte(p.group / 2 * 2 + p.half, p.group % 2 * 8 + p.i)]);
    const int64_t column = row / kScaleBlockRows * layout.steps() + col / stepCols(format);
    return format == SkinnyFormat::fp8Rows ? code * factor
                                           : code * reinterpret_cast<const float*>(scales)[column] * factor;
  }
  const int both = w.packed[p.byte(p.group / 2, p.group % 2 * 8 + p.half * 4 + p.i / 2)];
  const float code = e2m1ToFloat(static_cast<uint8_t>(p.i % 2 ? both >> 4 : both & 15));
  if (format == SkinnyFormat::mxfp4)
    return code * e8m0ToFloat(scales[p.block * 128 + p.g * 16 + p.group * 2 + p.half]) * factor;
  return code * (e4m3ToFloat(scales[p.block * 256 + p.g * 32 + p.t / 2 * 16 + p.group * 2 + p.half]) * factor);
}

}  // namespace foretoken::cuda
