// A file mapped read-only into memory for as long as the object lives.
#pragma once
#include <cstdint>
#include <span>
#include <string>

namespace foretoken {

class MappedFile {
 public:
  /// Maps the whole file. Throws Error: FILE_NOT_FOUND, or FILE_UNREADABLE (no permission, a folder, mapping refused).
  explicit MappedFile(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  /// Starts at a page boundary; empty for an empty file.
  std::span<const uint8_t> bytes() const { return {data_, size_}; }

 private:
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace foretoken
