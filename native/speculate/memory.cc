#include "speculate/memory.h"

#include <string>

#include "common/error.h"

namespace foretoken {

void requireFits(const MemoryImage& image, int32_t vocabulary) {
  const std::string tokens = std::to_string(image.tokens.size());
  const size_t bytes = image.tokens.size() * kPackedKeyBytes;
  if (image.keys.size() != bytes)
    throw Error("INVALID_ARGUMENT", "a memory of " + tokens + " tokens needs " + std::to_string(bytes) +
                                        " bytes of keys, got " + std::to_string(image.keys.size()));
  for (const int32_t token : image.tokens)
    if (token != kBorder && (token < 0 || token >= vocabulary))
      throw Error("INVALID_ARGUMENT",
                  "token " + std::to_string(token) + " of the memory is not in the vocabulary: it is another model's");
}

StaticMemory::StaticMemory(const MemoryImage& image, int32_t vocabulary)
    : text_(static_cast<int32_t>(image.tokens.size()) + 1, KeyForm::packed) {
  requireFits(image, vocabulary);
  for (size_t i = 0; i < image.tokens.size(); ++i) {
    if (image.tokens[i] == kBorder) {
      text_.endDocument();
      continue;
    }
    text_.setPackedKey(text_.size(), image.keys.data() + i * kPackedKeyBytes);
    text_.append(image.tokens[i]);
  }
  text_.freeze();
}

}  // namespace foretoken
