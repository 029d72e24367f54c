#include "speculate/memory.h"

#include <string>

#include "common/error.h"

namespace foretoken {

StaticMemory::StaticMemory(const MemoryImage& image, int32_t vocabulary)
    : text_(static_cast<int32_t>(image.tokens.size()) + 1, KeyForm::packed) {
  if (image.keys.size() != image.tokens.size() * kPackedKeyBytes)
    throw Error("INVALID_ARGUMENT", "a memory of " + std::to_string(image.tokens.size()) + " tokens needs " +
                                        std::to_string(image.tokens.size() * kPackedKeyBytes) + " bytes of keys, got " +
                                        std::to_string(image.keys.size()));
  for (size_t i = 0; i < image.tokens.size(); ++i) {
    const int32_t token = image.tokens[i];
    if (token == kBorder) {
      text_.endDocument();
      continue;
    }
    if (token < 0 || token >= vocabulary)
      throw Error("INVALID_ARGUMENT",
                  "token " + std::to_string(token) + " of the memory is not in the vocabulary: it is another model's");
    text_.setPackedKey(text_.size(), image.keys.data() + i * kPackedKeyBytes);
    text_.append(token);
  }
  text_.freeze();
}

}  // namespace foretoken
