#include "format/tensor_source.h"

#include <array>
#include <cstring>

#include "common/error.h"
#include "quant/gguf_blocks.h"

namespace foretoken {

int64_t TensorInfo::elements() const {
  int64_t product = 1;
  for (const int64_t dimension : shape) product *= dimension;
  return product;
}

const TensorInfo* TensorFile::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

bool TensorFile::add(TensorInfo tensor) {
  if (!index_.emplace(tensor.name, tensors_.size()).second) return false;
  tensors_.push_back(std::move(tensor));
  return true;
}

namespace {

bool finiteF16(const uint8_t* bytes) { return (loadHalf(bytes) & 0x7c00) != 0x7c00; }
bool finiteBf16(const uint8_t* bytes) { return (loadHalf(bytes) & 0x7f80) != 0x7f80; }
bool finiteE4m3(const uint8_t* bytes) { return (*bytes & 0x7f) != 0x7f; }
bool finiteF32(const uint8_t* bytes) { return finiteBf16(bytes + 2); }

/// Where the floats of a block are (its scales and minima, or the weight itself) and how to judge one.
struct FloatsOfBlock {
  std::array<int, 2> at;
  int count;
  bool (*finite)(const uint8_t*);
};

FloatsOfBlock floatsOfBlock(FileType type) {
  switch (type) {
    case FileType::f32: return {{0, 0}, 1, finiteF32};
    case FileType::bf16: return {{0, 0}, 1, finiteBf16};
    case FileType::f16:
    case FileType::q8_0:
    case FileType::q4_0: return {{0, 0}, 1, finiteF16};
    case FileType::q4_1:
    case FileType::q4_k:
    case FileType::q5_k: return {{0, 2}, 2, finiteF16};
    case FileType::q6_k: return {{208, 0}, 1, finiteF16};
    case FileType::e4m3: return {{0, 0}, 1, finiteE4m3};
  }
  return {{0, 0}, 0, finiteF16};
}

[[noreturn]] void refuse(const TensorInfo& tensor, uint64_t at) {
  const bool plain = blockShape(tensor.type).elements == 1;
  const std::string what = plain ? "a weight is NaN or infinite" : "the scale of a block is NaN or infinite";
  throw FormatError(plain ? "NON_FINITE_WEIGHT" : "NAN_SCALE", "tensor '" + tensor.name + "': " + what,
                    std::string(tensor.file), tensor.offset + at);
}

}  // namespace

void validateScales(const TensorInfo& tensor, int64_t first, int64_t count) {
  const FloatsOfBlock floats = floatsOfBlock(tensor.type);
  const int64_t stride = blockShape(tensor.type).bytes;
  for (int64_t at = first * stride; at < (first + count) * stride; at += stride) {
    for (int i = 0; i < floats.count; ++i) {
      if (!floats.finite(tensor.data + at + floats.at[i])) refuse(tensor, static_cast<uint64_t>(at + floats.at[i]));
    }
  }
}

void validateScales(const TensorInfo& tensor) {
  validateScales(tensor, 0, tensor.elements() / blockShape(tensor.type).elements);
}

}  // namespace foretoken
