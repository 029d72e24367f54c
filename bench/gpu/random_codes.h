// Operands of the benches: what they are does not matter, but that bits change does.
#pragma once
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

namespace foretoken::bench {

/// Codes that are small and finite in every format.
inline std::vector<uint8_t> randomCodes(size_t bytes) {
  std::mt19937_64 random(1);
  std::vector<uint8_t> codes((bytes + 7) / 8 * 8);
  for (size_t i = 0; i < codes.size(); i += 8) {
    const uint64_t word = random() & 0x3f3f3f3f3f3f3f3full;
    std::memcpy(codes.data() + i, &word, 8);
  }
  return codes;
}

/// Numbers of [-1, 1).
inline std::vector<float> randomInputs(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i)
    values[i] = static_cast<float>(static_cast<int32_t>(static_cast<uint32_t>(i) * 2654435761u)) * 0x1p-31f;
  return values;
}

}  // namespace foretoken::bench
