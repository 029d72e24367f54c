#include "speculate/packed_key.h"

#include <algorithm>
#include <cmath>

namespace foretoken {
namespace {

constexpr double kNorm = 127, kDeviation = kNorm / 8;
static_assert(kKeyWidth == 8 * 8);
/// The least number beyond one deviation.
constexpr int kLarge = static_cast<int>(kDeviation) + 1;
/// Where numbers of a normal distribution lie on average, small and large ones.
constexpr double kMeanSmall = 0.46 * kDeviation, kMeanLarge = 1.53 * kDeviation;

KeyLevels makeLevels() {
  KeyLevels levels{};
  for (int large = 0; large < kKeyWidth; ++large) {
    const double length = std::sqrt((kKeyWidth - large) * kMeanSmall * kMeanSmall + large * kMeanLarge * kMeanLarge);
    const auto level = [&](double mean) { return static_cast<int8_t>(std::lround(mean * (kNorm / length))); };
    for (int i = 0; i < 16; i += 4) {
      levels[large][i] = static_cast<int8_t>(-level(kMeanLarge));
      levels[large][i + 1] = static_cast<int8_t>(-level(kMeanSmall));
      levels[large][i + 2] = level(kMeanSmall);
      levels[large][i + 3] = level(kMeanLarge);
    }
  }
  return levels;
}

}  // namespace

const KeyLevels& keyLevels() {
  static const KeyLevels levels = makeLevels();
  return levels;
}

void packKey(const int8_t* key, uint8_t* packed) {
  std::fill_n(packed, kPackedKeyBytes, uint8_t{0});
  for (int i = 0; i < kKeyWidth; ++i) {
    const int code = (key[i] > -kLarge) + (key[i] >= 0) + (key[i] >= kLarge);
    packed[i / 4] = static_cast<uint8_t>(packed[i / 4] | code << 2 * (i % 4));
  }
  const bool none = std::all_of(key, key + kKeyWidth, [](int8_t number) { return number == 0; });
  if (none || largeNumbers(packed) == kKeyWidth) std::fill_n(packed, kPackedKeyBytes, uint8_t{0});
}

Key unpackKey(const uint8_t* packed) {
  const auto& levels = keyLevels()[largeNumbers(packed)];
  Key key;
  for (int i = 0; i < kKeyWidth; ++i) key[i] = levels[packed[i / 4] >> 2 * (i % 4) & 3];
  return key;
}

}  // namespace foretoken
