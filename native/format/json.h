// A small strict JSON reader (RFC 8259) for headers and configurations of model files.
//
// Strict: no duplicate keys, no lone surrogates, valid UTF-8 only, no trailing text. Depth, size and number of values
// are limited before anything is built, so that a hostile file cannot inflate memory or exhaust the stack.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace foretoken {

struct JsonLimits {
  uint64_t bytes = 100'000'000;
  int depth = 64;
  /// Values of all kinds together; each takes some 60 bytes of memory.
  uint64_t values = 4'000'000;
};

/// A value of a parsed document; valid while the JsonDocument lives. Accessors throw FormatError JSON_WRONG_TYPE when
/// the value is of another kind, and JSON_MISSING_KEY when a required member is absent.
class Json {
 public:
  using Array = std::vector<Json>;
  /// Sorted by key.
  using Object = std::vector<std::pair<std::string, Json>>;

  bool isNull() const { return std::holds_alternative<std::nullptr_t>(value_); }
  bool isBoolean() const { return std::holds_alternative<bool>(value_); }
  /// A number written without fraction and exponent that fits 64 bits.
  bool isInteger() const { return std::holds_alternative<int64_t>(value_); }
  bool isNumber() const { return isInteger() || std::holds_alternative<double>(value_); }
  bool isString() const { return std::holds_alternative<std::string>(value_); }
  bool isArray() const { return std::holds_alternative<Array>(value_); }
  bool isObject() const { return std::holds_alternative<Object>(value_); }

  bool boolean() const;
  int64_t integer() const;
  double number() const;
  const std::string& string() const;
  const Array& array() const;
  const Object& object() const;

  /// A member of an object, or nullptr when absent.
  const Json* find(std::string_view key) const;
  /// A member that must be there.
  const Json& at(std::string_view key) const;
  /// A member with a default for when it is absent or null (any other kind still throws).
  bool booleanOr(std::string_view key, bool fallback) const;
  int64_t integerOr(std::string_view key, int64_t fallback) const;
  double numberOr(std::string_view key, double fallback) const;
  std::string stringOr(std::string_view key, std::string_view fallback) const;

  /// Where the value starts in its file.
  uint64_t offset() const { return offset_; }

 private:
  friend class JsonParser;
  [[noreturn]] void wrongType(std::string_view wanted) const;

  std::variant<std::nullptr_t, bool, int64_t, double, std::string, Array, Object> value_ = nullptr;
  uint64_t offset_ = 0;
  const std::string* file_ = nullptr;
};

/// A parsed text with the name of the file it came from.
class JsonDocument {
 public:
  /// Parses `text`, which starts at byte `offset` of `file`. Throws FormatError: JSON_SYNTAX, JSON_BAD_UTF8,
  /// JSON_BAD_NUMBER, JSON_DUPLICATE_KEY, JSON_TOO_DEEP, JSON_TOO_LARGE.
  static JsonDocument parse(std::string_view text, std::string file, uint64_t offset = 0,
                            const JsonLimits& limits = {});
  /// Reads and parses a file. Throws Error (FILE_NOT_FOUND, FILE_UNREADABLE) as well.
  static JsonDocument open(const std::string& path, const JsonLimits& limits = {});

  const Json& root() const { return root_; }
  const std::string& file() const { return *file_; }

 private:
  JsonDocument() = default;

  std::unique_ptr<std::string> file_;
  Json root_;
};

}  // namespace foretoken
