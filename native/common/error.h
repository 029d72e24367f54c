// Errors that cross the Node border. `code` is stable and documented; `message` says what was wrong, where, and what to
// do.
#pragma once
#include <cstdint>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

namespace foretoken {

class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

/// A file that is not what it claims to be: which file, at which byte.
class FormatError : public Error {
 public:
  FormatError(std::string code, const std::string& message, std::string file, uint64_t offset)
      : Error(std::move(code), message + " (" + file + ", byte " + std::to_string(offset) + ")"),
        file_(std::move(file)),
        offset_(offset) {}
  const std::string& file() const { return file_; }
  uint64_t offset() const { return offset_; }

 private:
  std::string file_;
  uint64_t offset_;
};

/// The code by which an exception is told: OUT_OF_MEMORY of std::bad_alloc, INTERNAL_ERROR of what is no Error.
inline std::string errorCode(const std::exception& error) {
  if (const auto* own = dynamic_cast<const Error*>(&error)) return own->code();
  return dynamic_cast<const std::bad_alloc*>(&error) ? "OUT_OF_MEMORY" : "INTERNAL_ERROR";
}

}  // namespace foretoken
