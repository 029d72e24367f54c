#include "format/tensor_buffers.h"

#include <cstring>

#include "common/error.h"

namespace foretoken {
namespace {

constexpr std::string_view kPlace = "tensors given as buffers";

FileType typeOf(const std::string& name, const std::string& dtype) {
  if (dtype == "F32") return FileType::f32;
  if (dtype == "F16") return FileType::f16;
  if (dtype == "BF16") return FileType::bf16;
  throw Error("UNSUPPORTED_TENSOR_TYPE", "tensor '" + name + "' is of type " + dtype + "; give F32, F16 or BF16");
}

}  // namespace

void TensorBuffers::add(const std::string& name, const std::string& dtype, std::vector<int64_t> shape,
                        std::span<const uint8_t> bytes) {
  TensorInfo tensor;
  tensor.name = name;
  tensor.type = typeOf(name, dtype);
  tensor.file = kPlace;
  uint64_t left = bytes.size() / blockShape(tensor.type).bytes;  // what the dimensions so far leave for the others
  bool fits = left * blockShape(tensor.type).bytes == bytes.size();
  for (const int64_t size : shape) {
    if (size < 1) throw Error("BAD_SHAPE", "tensor '" + name + "' has a dimension that is not positive");
    fits = fits && left % static_cast<uint64_t>(size) == 0;
    left /= static_cast<uint64_t>(size);
  }
  if (!fits || left != 1)
    throw Error("SIZE_MISMATCH", "tensor '" + name + "' has " + std::to_string(bytes.size()) +
                                     " bytes of data, which are not those of its shape in " + dtype);
  tensor.shape = std::move(shape);
  tensor.bytes = bytes.size();
  if (find(name)) throw Error("DUPLICATE_TENSOR", "there are two tensors '" + name + "'");
  tensor.data = copies_.emplace_back(bytes.size(), "a copy of an update's tensor").data();
  std::memcpy(copies_.back().data(), bytes.data(), bytes.size());
  TensorFile::add(std::move(tensor));
}

}  // namespace foretoken
