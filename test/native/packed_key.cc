// Keys in two bits a number: what is kept of them.
#include "speculate/packed_key.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "check.h"

namespace foretoken {
namespace {

constexpr Key kNone{};

double dotOf(const Key& a, const Key& b) {
  double sum = 0;
  for (int i = 0; i < kKeyWidth; ++i) sum += a[i] * b[i];
  return sum;
}

/// Of normal numbers, 127 long, as projections at random have them.
Key randomKey(std::mt19937& random) {
  std::normal_distribution<double> normal;
  std::array<double, kKeyWidth> direction;
  double square = 0;
  for (double& number : direction) number = normal(random), square += number * number;
  Key key;
  for (int i = 0; i < kKeyWidth; ++i) key[i] = static_cast<int8_t>(std::lround(127 * direction[i] / std::sqrt(square)));
  return key;
}

std::array<uint8_t, kPackedKeyBytes> packed(const Key& key) {
  std::array<uint8_t, kPackedKeyBytes> bytes;
  bytes.fill(0xaa);
  packKey(key.data(), bytes.data());
  return bytes;
}

void keepLengthAndDirection() {
  std::mt19937 random(5);
  double cosines = 0;
  for (int i = 0; i < 1000; ++i) {
    const Key key = randomKey(random), kept = unpackKey(packed(key).data());
    CHECK(packed(kept) == packed(key));
    CHECK(std::fabs(std::sqrt(dotOf(kept, kept)) - 127) < 6);  // levels are whole numbers
    cosines += dotOf(key, kept) / std::sqrt(dotOf(key, key) * dotOf(kept, kept));
  }
  CHECK(cosines / 1000 > 0.93);  // what four levels can keep of a normal distribution is 0.94
}

void noKeyStaysNone() {
  CHECK(packed(kNone) == (std::array<uint8_t, kPackedKeyBytes>{}));
  CHECK(unpackKey(packed(kNone).data()) == kNone);
  Key large;  // longer than any key is
  large.fill(16);
  CHECK(unpackKey(packed(large).data()) == kNone);
}

/// What files that exist mean: first number in the lowest bits, levels by how many are large.
void layoutStays() {
  Key key;
  key.fill(3);
  key[0] = -40, key[1] = -3, key[5] = 16;
  const auto bytes = packed(key);
  CHECK(bytes[0] == 0b10100100 && bytes[1] == 0b10101110 && bytes[2] == 0b10101010);
  const Key kept = unpackKey(bytes.data());
  CHECK(kept[0] == -46 && kept[1] == -14 && kept[2] == 14 && kept[5] == 46);
  const std::array<uint8_t, kPackedKeyBytes> half = {0,    0xff, 0,    0xff, 0,    0xff, 0,    0xff,
                                                     0x55, 0xaa, 0x55, 0xaa, 0x55, 0xaa, 0x55, 0xaa};
  const Key levels = unpackKey(half.data());
  CHECK(levels[0] == -21 && levels[4] == 21 && levels[32] == -6 && levels[36] == 6);
}

}  // namespace
}  // namespace foretoken

int main() {
  using namespace foretoken;
  keepLengthAndDirection();
  noKeyStaysNone();
  layoutStays();
  return test::finish("packed_key");
}
