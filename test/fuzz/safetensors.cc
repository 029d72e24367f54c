// Any bytes as a safetensors file: refused with a FormatError, or readable to the last byte.
#include "format/safetensors.h"

#include "touch.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const auto file = foretoken::SafetensorsFile::fromMemory({data, size}, "input");
    foretoken::test::touchTensors(*file);
  } catch (const foretoken::FormatError&) {
  }
  return 0;
}
