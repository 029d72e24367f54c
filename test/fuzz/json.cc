// Any bytes as JSON: refused with a FormatError, or a tree in which every member is found again.
#include "format/json.h"

#include <cstdlib>

#include "common/error.h"

namespace {

size_t walk(const foretoken::Json& value) {
  size_t count = 1;
  if (value.isArray()) {
    for (const auto& element : value.array()) count += walk(element);
  } else if (value.isObject()) {
    for (const auto& [key, member] : value.object()) {
      if (value.find(key) != &member) std::abort();
      count += walk(member);
    }
  }
  return count;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    walk(foretoken::JsonDocument::parse(text, "input").root());
  } catch (const foretoken::FormatError&) {
  }
  return 0;
}
