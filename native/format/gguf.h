// GGUF v2 and v3 files, little-endian, read through a memory map (format: ggml's docs/gguf.md).
//
// Nothing is believed: every count and size is checked against the bytes that are there before anything is allocated
// for it. docs/formats.md lists limits and error codes.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "format/mapped_file.h"
#include "format/tensor_source.h"

namespace foretoken {

/// Types of metadata values, numbered as in the file.
enum class GgufType : uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

std::string_view name(GgufType);

/// One metadata value: a view into the file, decoded when asked. The accessors throw FormatError WRONG_METADATA_TYPE
/// when the value is of another kind. Valid while the GgufFile lives.
class GgufValue {
 public:
  GgufType type() const { return type_; }
  /// Where the value lies in the file.
  uint64_t offset() const { return offset_; }

  /// Any integer type whose value fits.
  int64_t integer() const;
  /// Any integer or float type.
  double number() const;
  bool boolean() const;
  /// The bytes of a string: usually UTF-8, but nothing has checked that.
  std::string_view string() const;

  /// Of an array: what it holds and how many.
  GgufType elementType() const;
  uint64_t count() const;
  /// The elements of an array, decoded into a vector; strings stay views into the file, booleans are integers 0 and 1.
  std::vector<std::string_view> strings() const;
  std::vector<int64_t> integers() const;
  std::vector<double> numbers() const;
  /// The elements of an array of arrays.
  std::vector<GgufValue> arrays() const;

 private:
  friend class GgufParser;
  [[noreturn]] void wrongType(std::string_view wanted) const;

  GgufType type_ = GgufType::u8;
  GgufType elementType_ = GgufType::u8;
  uint64_t count_ = 0;             // of an array
  std::span<const uint8_t> data_;  // a scalar, a string's text, an array's elements
  uint64_t offset_ = 0;
  const std::string* file_ = nullptr;
};

class GgufFile final : public TensorFile {
 public:
  struct Entry {
    std::string_view key;
    GgufValue value;
  };

  /// Maps and checks the file. Throws Error (FILE_NOT_FOUND, FILE_UNREADABLE) or FormatError. A tensor of a type that
  /// is not read (FileType) refuses the whole file with UNSUPPORTED_TENSOR_TYPE, naming type and tensor.
  static std::unique_ptr<GgufFile> open(const std::string& path);
  /// The same over memory that outlives the result; `name` stands for the file in messages.
  static std::unique_ptr<GgufFile> fromMemory(std::span<const uint8_t> bytes, std::string name);

  uint32_t version() const { return version_; }
  /// Alignment of tensor data in bytes: general.alignment, 32 when absent.
  uint64_t alignment() const { return alignment_; }
  const std::string& file() const { return file_; }
  /// The whole mapped file.
  std::span<const uint8_t> bytes() const { return bytes_; }

  /// All metadata in file order.
  const std::vector<Entry>& metadata() const { return entries_; }
  /// The value of a key, or nullptr.
  const GgufValue* value(std::string_view key) const;

  /// A value that must be there: FormatError MISSING_METADATA names the key that is not.
  const GgufValue& required(std::string_view key) const;
  /// A value with a default for when the key is absent (a wrong type still throws).
  int64_t integerOr(std::string_view key, int64_t fallback) const;
  double numberOr(std::string_view key, double fallback) const;
  bool booleanOr(std::string_view key, bool fallback) const;
  std::string_view stringOr(std::string_view key, std::string_view fallback) const;

 private:
  friend class GgufParser;
  GgufFile() = default;

  std::optional<MappedFile> map_;
  std::span<const uint8_t> bytes_;
  std::string file_;
  uint32_t version_ = 0;
  uint64_t alignment_ = 32;
  std::vector<Entry> entries_;
  std::unordered_map<std::string_view, size_t> keys_;
};

}  // namespace foretoken
