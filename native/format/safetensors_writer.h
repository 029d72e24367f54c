// Writes safetensors files: whole or not at all.
#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "quant/format.h"

namespace foretoken {

struct TensorToWrite {
  std::string name;
  FileType type;  ///< f32, f16, bf16 or e4m3
  std::vector<int64_t> shape;
  const void* data;
};

/// Writes to a file beside `path`, to the disk, and then to that name, so that a process that dies leaves the old file
/// or the new one. Names and metadata are UTF-8. Throws WRITE_FAILED.
void writeSafetensors(const std::string& path, std::span<const TensorToWrite> tensors,
                      const std::map<std::string, std::string>& metadata);

}  // namespace foretoken
