#include "model/scaled_fp8.h"

#include <algorithm>
#include <string>

#include "common/error.h"
#include "model/parallel.h"
#include "quant/float_codecs.h"
#include "quant/quantize.h"

namespace foretoken {
namespace {

constexpr int64_t kBlock = 128;
constexpr int64_t kRowsAtOnce = 64;  ///< that a thread expands at a time

int64_t blocksOf(int64_t size) { return (size + kBlock - 1) / kBlock; }

const TensorInfo& scalesOf(const TensorFile& file, const TensorInfo& codes) {
  for (const char* ending : {"_scale_inv", "_scale"})
    if (const TensorInfo* found = file.find(codes.name + ending)) return *found;
  throw Error("MISSING_TENSOR", "'" + codes.name + "' is in fp8, and the checkpoint has no scales for it ('" +
                                    codes.name + "_scale' or '" + codes.name + "_scale_inv')");
}

}  // namespace

Fp8Scales::Fp8Scales(const TensorFile& file, const TensorInfo& codes) {
  const TensorInfo& scales = scalesOf(file, codes);
  setBlocks(codes, scales);
  validateScales(scales);
  values_.resize(scales.elements());
  dequantize(scales.type, scales.data, values_.data(), scales.elements());
  keepable_ = std::all_of(values_.begin(), values_.end(), [](float scale) { return scale >= kSmallestScale; });
}

/// What each scale is of, by how many there are.
void Fp8Scales::setBlocks(const TensorInfo& codes, const TensorInfo& scales) {
  const int64_t rows = codes.rows(), cols = codes.cols();
  const std::vector<int64_t>& shape = scales.shape;
  if (scales.elements() == 1) {
    blockRows_ = rows, blockCols_ = cols;
  } else if (scales.elements() == rows && shape[0] == rows) {
    blockRows_ = 1, blockCols_ = cols;
  } else if (shape == std::vector<int64_t>{blocksOf(rows), blocksOf(cols)}) {
    blockRows_ = blockCols_ = kBlock;
  } else {
    throw FormatError("WRONG_TENSOR_SHAPE",
                      "'" + scales.name +
                          "' is neither one scale, nor one for each row, nor one for each block of 128 x "
                          "128 of a matrix of " +
                          std::to_string(rows) + " x " + std::to_string(cols),
                      std::string(scales.file), scales.offset);
  }
  across_ = (cols + blockCols_ - 1) / blockCols_;
}

std::vector<float> Fp8Scales::rows(int64_t count) const {
  std::vector<float> scales(count);
  for (int64_t row = 0; row < count; ++row) scales[row] = of(row, 0);
  return scales;
}

std::vector<float> Fp8Scales::expand(const TensorInfo& codes) const {
  const int64_t cols = codes.cols();
  std::vector<float> weights(codes.elements());
  parallelFor((codes.rows() + kRowsAtOnce - 1) / kRowsAtOnce, [&](size_t part) {
    const int64_t first = static_cast<int64_t>(part) * kRowsAtOnce;
    for (int64_t row = first; row < std::min(codes.rows(), first + kRowsAtOnce); ++row)
      for (int64_t col = 0; col < cols; ++col)
        weights[row * cols + col] = e4m3ToFloat(codes.data[row * cols + col]) * of(row, col);
  });
  return weights;
}

}  // namespace foretoken
