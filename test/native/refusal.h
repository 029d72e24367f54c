// How tests look at what is refused: the code of the error, and mutations of files that must be refused or survived.
#pragma once
#include <cstdint>
#include <exception>
#include <random>
#include <string>
#include <vector>

#include "common/error.h"

namespace foretoken::test {

/// The code of the FormatError that `read` throws; "" when it throws none; the message of any other exception.
template <typename Read>
std::string refusalOf(Read read) {
  try {
    read();
    return "";
  } catch (const FormatError& error) {
    return error.code();
  } catch (const std::exception& error) {
    return std::string("not a FormatError: ") + error.what();
  }
}

/// The code of the Error that `function` throws; "" when it throws none.
template <typename Function>
std::string codeOf(Function&& function) {
  try {
    function();
  } catch (const Error& error) {
    return error.code();
  }
  return "";
}

/// Whether `read(bytes)` of an exact copy of each proper prefix ends in a FormatError. Returns the first length for
/// which it does not, or the size of `file` when all are refused.
template <typename Read>
size_t firstAcceptedPrefix(const std::vector<uint8_t>& file, Read read) {
  for (size_t length = 0; length < file.size(); ++length) {
    const std::vector<uint8_t> prefix(file.begin(), file.begin() + static_cast<std::ptrdiff_t>(length));
    const std::string code = refusalOf([&] { read(prefix); });
    if (code.empty() || code.find(' ') != std::string::npos) return length;
  }
  return file.size();
}

/// Changes one to four bytes, `count` times over, and reads the result. Returns how many ended in anything but success
/// or a FormatError; `refused` says how many were refused.
template <typename Read>
int unexpectedAfterFlips(const std::vector<uint8_t>& file, int count, Read read, int& refused) {
  std::mt19937_64 random(20);
  int unexpected = 0;
  refused = 0;
  for (int i = 0; i < count; ++i) {
    std::vector<uint8_t> changed = file;
    for (uint64_t flips = 1 + random() % 4; flips > 0; --flips) {
      changed[random() % changed.size()] = static_cast<uint8_t>(random() % 3 == 0 ? 0xff : random());
    }
    const std::string code = refusalOf([&] { read(changed); });
    if (code.find(' ') != std::string::npos) ++unexpected;
    if (!code.empty()) ++refused;
  }
  return unexpected;
}

}  // namespace foretoken::test
