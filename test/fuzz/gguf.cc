// Any bytes as a GGUF file: refused with a FormatError, or readable to the last byte.
#include "format/gguf.h"

#include "touch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto file = foretoken::GgufFile::fromMemory({data, size}, "input");
    foretoken::test::touchMetadata(*file);
    foretoken::test::touchTensors(*file);
  } catch (const foretoken::FormatError&) {
  }
  return 0;
}
