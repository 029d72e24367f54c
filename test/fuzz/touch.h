// Reads everything that a reader promises to be readable: what fuzz targets and mutation tests do with an opened file.
#pragma once
#include <vector>

#include "common/error.h"
#include "format/gguf.h"
#include "format/tensor_source.h"

namespace foretoken::test {

/// Expands every tensor row by row, reads its last byte, and looks at its scales.
inline float touchTensors(const TensorFile& file) {
  float sum = 0;
  for (const TensorInfo& tensor : file.tensors()) {
    if (tensor.elements() == 0) continue;
    std::vector<float> row(static_cast<size_t>(tensor.cols()));
    const int64_t rowBytes = static_cast<int64_t>(tensor.bytes) / tensor.rows();
    for (int64_t i = 0; i < tensor.rows(); ++i) {
      dequantize(tensor.type, tensor.data + i * rowBytes, row.data(), tensor.cols());
      sum += row.back();
    }
    sum += tensor.data[tensor.bytes - 1];
    try {
      validateScales(tensor);
    } catch (const FormatError&) {  // NaN scales are a fair thing to find
    }
  }
  return sum;
}

inline size_t touchValue(const GgufValue& value) {
  switch (value.type()) {
    case GgufType::string: return value.string().size();
    case GgufType::boolean: return value.boolean();
    case GgufType::array: break;
    default: return value.number() != 0;
  }
  size_t sum = 0;
  switch (value.elementType()) {
    case GgufType::string:
      for (const auto text : value.strings()) sum += text.size();
      return sum;
    case GgufType::array:
      for (const GgufValue& inner : value.arrays()) sum += touchValue(inner);
      return sum;
    case GgufType::boolean: return value.count();
    default: return value.numbers().size();
  }
}

inline size_t touchMetadata(const GgufFile& file) {
  size_t sum = 0;
  for (const auto& entry : file.metadata()) sum += entry.key.size() + touchValue(entry.value);
  return sum;
}

}  // namespace foretoken::test
