// What every reader of model files gives: named tensors whose bytes lie in mapped memory.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "quant/format.h"

namespace foretoken {

/// One tensor of a file. `data` and `file` are valid while the TensorFile it came from lives.
struct TensorInfo {
  std::string name;
  FileType type = FileType::f32;
  /// Outermost first: [rows, cols] for a matrix (GGUF's dimensions reversed); empty for a scalar of a safetensors file.
  std::vector<int64_t> shape;
  /// Not aligned beyond what the format asks for: safetensors may put an fp32 at an odd address, so copy, don't cast.
  const uint8_t* data = nullptr;
  uint64_t bytes = 0;
  /// The file that holds it and the byte where it starts, for messages.
  std::string_view file;
  uint64_t offset = 0;

  /// Product of the shape; it fits, the reader has checked it.
  int64_t elements() const;
  /// Length of the innermost dimension, 1 for a scalar.
  int64_t cols() const { return shape.empty() ? 1 : shape.back(); }
  /// elements() / cols(), 0 for an empty tensor.
  int64_t rows() const { return cols() == 0 ? 0 : elements() / cols(); }
};

/// The tensors of an opened file or folder. Every TensorInfo is safe to read: its bytes lie within the mapped file and
/// are exactly what type and shape need; rows of quantised types are whole blocks.
class TensorFile {
 public:
  virtual ~TensorFile() = default;
  TensorFile(const TensorFile&) = delete;
  TensorFile& operator=(const TensorFile&) = delete;

  /// All tensors in file order.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  /// The tensor of that name, or nullptr.
  const TensorInfo* find(std::string_view name) const;

 protected:
  TensorFile() = default;
  /// Adds a checked tensor; returns false, adding nothing, when the name is taken.
  bool add(TensorInfo tensor);

 private:
  struct Hash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  };
  std::vector<TensorInfo> tensors_;
  std::unordered_map<std::string, size_t, Hash, std::equal_to<>> index_;
};

/// Refuses a tensor that no arithmetic survives: FormatError NAN_SCALE where a block's scale or minimum is NaN or
/// infinite, NON_FINITE_WEIGHT where a weight of an F32, F16 or BF16 tensor is; with the byte where it lies. Reads the
/// whole tensor: call it once, when the tensor is loaded or converted.
void validateScales(const TensorInfo& tensor);

/// The same for the blocks [first, first + count) of the tensor alone, so that threads can share the work. A block is
/// blockShape(type).elements weights.
void validateScales(const TensorInfo& tensor, int64_t first, int64_t count);

}  // namespace foretoken
