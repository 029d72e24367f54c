// The walk through a GGUF file: a cursor that never passes the end, and the checks of every field.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "format/gguf.h"

namespace foretoken {

class GgufParser {
 public:
  /// Parses `bytes`, the first of which is byte `base` of `file`.
  GgufParser(std::span<const uint8_t> bytes, uint64_t base, const std::string& file)
      : bytes_(bytes), base_(base), file_(file) {}

  /// The whole file into `out`, which carries the name `file`.
  void parse(GgufFile& out);

  /// A value of this type at the cursor; `depth` counts the arrays around it.
  GgufValue value(GgufType type, int depth);

  /// A string at the cursor.
  std::string_view string(std::string_view what);

 private:
  /// A tensor whose place is known only relative to the data section; `at` is where its entry lies.
  struct Entry {
    TensorInfo info;
    uint64_t relative;
    uint64_t at;
  };

  [[noreturn]] void refuse(const char* code, const std::string& message, uint64_t at) const;
  uint64_t here() const { return base_ + at_; }
  uint64_t remaining() const { return bytes_.size() - at_; }

  std::span<const uint8_t> take(uint64_t count, std::string_view what);
  template <typename T>
  T number(std::string_view what);
  std::string_view checkedName(uint64_t limit, std::string_view what);
  uint64_t count(uint64_t bytesEach, uint64_t limit, std::string_view what);
  GgufType valueType();

  uint32_t version();
  void keyValue(GgufFile& out);
  void array(GgufValue& out, int depth);
  uint64_t alignment(const GgufFile& file) const;
  void refuseSplit(const GgufFile& file) const;

  Entry tensor();
  void shape(TensorInfo& out);
  void type(TensorInfo& out);
  void place(std::vector<Entry>& entries, uint64_t alignment) const;
  void refuseOverlap(const std::vector<Entry>& entries) const;

  std::span<const uint8_t> bytes_;
  uint64_t base_;
  const std::string& file_;
  uint64_t at_ = 0;
};

}  // namespace foretoken
