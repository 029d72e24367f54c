// Remembered text as it is stored and carried: its tokens and the key of each position.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "speculate/segment.h"

namespace foretoken {

/// Documents one after another, each ended by kBorder (votes.h); keys [tokens][kPackedKeyBytes].
struct MemoryImage {
  std::vector<int32_t> tokens;
  std::vector<uint8_t> keys;
};

/// Throws INVALID_ARGUMENT where keys and tokens differ in number or a token is not below `vocabulary`.
void requireFits(const MemoryImage& image, int32_t vocabulary);

/// Text that was known before any traffic, such as what ships with a model: of no tenant, never changed and never
/// forgotten while the engine lives. Every sequence may draft from it.
class StaticMemory final : public TextSource {
 public:
  /// Throws what requireFits() throws.
  StaticMemory(const MemoryImage& image, int32_t vocabulary);
  std::span<const TextSegment* const> segments() const override { return {&listed_, 1}; }
  uint64_t version() const override { return 0; }
  size_t bytes() const { return text_.bytes(); }

 private:
  TextSegment text_;
  const TextSegment* listed_ = &text_;
};

}  // namespace foretoken
