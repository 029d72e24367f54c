// Matrices of checkpoints in fp8: codes in e4m3 and, in a tensor beside them, what they are multiplied by. That is
// "<matrix>_scale" (compressed-tensors, FBGEMM: one number, or one for each row) or "<matrix>_scale_inv" (DeepSeek and
// Qwen: one for each block of 128 x 128, which the name does not say).
#pragma once
#include <vector>

#include "format/tensor_source.h"

namespace foretoken {

class Fp8Scales {
 public:
  /// None: the numbers of a tensor are what it stands for.
  Fp8Scales() = default;
  /// Those of `codes`, a matrix in e4m3, in the same file. Throws MISSING_TENSOR, FormatError (WRONG_TENSOR_SHAPE,
  /// what validateScales finds).
  Fp8Scales(const TensorFile&, const TensorInfo& codes);

  bool any() const { return !values_.empty(); }
  /// The whole of each row has one scale, which fp8 can keep as it is.
  bool byRow() const { return any() && across_ == 1 && keepable_; }
  float of(int64_t row, int64_t col) const { return values_[row / blockRows_ * across_ + col / blockCols_]; }
  /// A scale for each row.
  std::vector<float> rows(int64_t count) const;
  /// The weights that codes stand for, [rows][cols], on all threads.
  std::vector<float> expand(const TensorInfo& codes) const;

 private:
  void setBlocks(const TensorInfo& codes, const TensorInfo& scales);

  std::vector<float> values_;  ///< [.][across_]
  int64_t blockRows_ = 1, blockCols_ = 1, across_ = 1;
  bool keepable_ = false;  ///< none is so small that a format would take its row for zeros
};

}  // namespace foretoken
