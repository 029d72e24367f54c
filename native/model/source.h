// A model as it lies on disk: its tensors, and whichever description of it the file or folder carries.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "format/gguf.h"
#include "format/json.h"
#include "format/tensor_source.h"

namespace foretoken {

/// The tensors of a GGUF file, of a .safetensors file, or of a folder of them. Throws what their readers do.
std::unique_ptr<TensorFile> openTensors(const std::string& path);

struct ModelSource {
  std::string path;
  std::unique_ptr<TensorFile> tensors;
  const GgufFile* gguf = nullptr;      ///< the same object as `tensors` when it is a GGUF file
  std::optional<JsonDocument> config;  ///< config.json of a safetensors folder
  std::vector<std::string> files;      ///< every file whose bytes make the model

  /// general.architecture, or model_type of config.json.
  std::string architecture() const;
  /// Of all bytes of the files: what the model is known by.
  std::string hash() const;

  /// Opens a GGUF file, or a folder with config.json and safetensors. Throws Error (FILE_NOT_FOUND, FILE_UNREADABLE,
  /// UNKNOWN_MODEL_FILE) or FormatError.
  static ModelSource open(const std::string& path);
};

}  // namespace foretoken
