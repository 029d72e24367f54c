// safetensors: one file, or a Hugging Face folder with one file or with shards and their index.
//
// A file is 8 bytes of header length, a JSON header, and tensor data that fills the rest without holes or overlap.
// F32, F16, BF16 and F8_E4M3 are read. docs/formats.md lists limits and error codes.
#pragma once
#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "format/mapped_file.h"
#include "format/tensor_source.h"

namespace foretoken {

class SafetensorsFile final : public TensorFile {
 public:
  /// `path`: a .safetensors file, or a folder with model.safetensors.index.json or model.safetensors. Throws Error
  /// (FILE_NOT_FOUND, FILE_UNREADABLE) or FormatError. A tensor of a type that is not read refuses the file with
  /// UNSUPPORTED_TENSOR_TYPE.
  static std::unique_ptr<SafetensorsFile> open(const std::string& path);
  /// A single file in memory that outlives the result; `name` stands for the file in messages.
  static std::unique_ptr<SafetensorsFile> fromMemory(std::span<const uint8_t> bytes, std::string name);

  /// The files, in the order they were read: shards sorted by name.
  const std::deque<std::string>& files() const { return files_; }
  /// The __metadata__ strings of all files; a key in several shards keeps its first value.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  SafetensorsFile() = default;
  void read(std::span<const uint8_t> bytes, std::string name);
  void openFile(const std::string& path);
  void openShards(const std::string& folder, const std::string& indexPath);

  std::vector<MappedFile> maps_;
  std::deque<std::string> files_;  // a deque: tensors keep views of these names
  std::map<std::string, std::string> metadata_;
};

}  // namespace foretoken
