// Tensors that a caller hands over in memory instead of a file.
#pragma once
#include <deque>
#include <span>
#include <string>
#include <vector>

#include "common/memory.h"
#include "format/tensor_source.h"

namespace foretoken {

class TensorBuffers final : public TensorFile {
 public:
  /// Copies a tensor: F32, F16 or BF16 as `dtype` says. Throws UNSUPPORTED_TENSOR_TYPE, BAD_SHAPE, SIZE_MISMATCH where
  /// the bytes are not those of the shape, DUPLICATE_TENSOR, OUT_OF_MEMORY.
  void add(const std::string& name, const std::string& dtype, std::vector<int64_t> shape,
           std::span<const uint8_t> bytes);

 private:
  std::deque<Memory> copies_;
};

}  // namespace foretoken
