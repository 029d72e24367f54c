// The small-float codecs against slow definitions written from the formats' descriptions: every code decoded, and
// encoding by search for the nearest value, ties to the even code.
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "check.h"
#include "quant/float_codecs.h"

using namespace foretoken;

namespace {

/// The value of a code with these field widths, by the textbook formula.
double textbook(unsigned code, int exponentBits, int mantissaBits, int bias) {
  const unsigned mantissa = code & ((1u << mantissaBits) - 1);
  const int exponent = static_cast<int>((code >> mantissaBits) & ((1u << exponentBits) - 1));
  const double sign = (code >> (exponentBits + mantissaBits)) & 1 ? -1.0 : 1.0;
  const double fraction = std::ldexp(static_cast<double>(mantissa), -mantissaBits);
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias);
  return sign * std::ldexp(1.0 + fraction, exponent - bias);
}

bool sameBits(float a, float b) { return std::memcmp(&a, &b, sizeof a) == 0; }

/// The code of the value nearest to `magnitude` among the ascending values of codes 0, 1, ...; ties go to the even
/// code; what lies above the last value saturates.
unsigned nearest(const std::vector<double>& values, double magnitude) {
  if (magnitude >= values.back()) return static_cast<unsigned>(values.size() - 1);
  unsigned low = 0;
  unsigned high = static_cast<unsigned>(values.size() - 1);
  while (high - low > 1) {
    const unsigned middle = (low + high) / 2;
    (values[middle] <= magnitude ? low : high) = middle;
  }
  const double below = magnitude - values[low];
  const double above = values[high] - magnitude;
  if (below != above) return below < above ? low : high;
  return low % 2 == 0 ? low : high;
}

/// Calls `use` for floats of every sign, exponent and leading seven mantissa bits, with tails around ties.
template <typename Use>
void forDenseFloats(Use use) {
  for (uint32_t top = 0; top < 65536; ++top) {
    for (const uint32_t tail : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) use(bitsFloat((top << 16) | tail));
  }
}

void e4m3() {
  std::vector<double> values;
  for (unsigned code = 0; code < 0x7f; ++code) values.push_back(textbook(code, 4, 3, 7));
  CHECK(values.back() == 448.0);
  for (unsigned code = 0; code < 256; ++code) {
    const float value = e4m3ToFloat(static_cast<uint8_t>(code));
    if ((code & 0x7f) == 0x7f) {
      CHECK(std::isnan(value));
    } else {
      CHECK(sameBits(value, static_cast<float>(textbook(code, 4, 3, 7))));
      CHECK(floatToE4m3(value) == code);
    }
  }
  forDenseFloats([&](float value) {
    const unsigned sign = std::signbit(value) ? 0x80 : 0;
    const unsigned expected = std::isnan(value) ? 0x7f : nearest(values, std::fabs(double{value})) | sign;
    CHECK(floatToE4m3(value) == expected);
  });
  for (size_t i = 0; i + 1 < values.size(); ++i) {
    const auto tie = static_cast<float>((values[i] + values[i + 1]) / 2);
    CHECK(floatToE4m3(tie) == (i % 2 == 0 ? i : i + 1));
    CHECK(floatToE4m3(std::nextafter(tie, 0.0f)) == i);
    CHECK(floatToE4m3(std::nextafter(tie, 1e9f)) == i + 1);
  }
  CHECK(floatToE4m3(449.0f) == 0x7e);
  CHECK(floatToE4m3(-1e30f) == 0xfe);
  CHECK(floatToE4m3(std::numeric_limits<float>::infinity()) == 0x7e);
  CHECK(floatToE4m3(-std::numeric_limits<float>::quiet_NaN()) == 0x7f);
}

void e2m1() {
  const std::vector<double> values = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
  for (unsigned code = 0; code < 16; ++code) {
    const float value = e2m1ToFloat(static_cast<uint8_t>(code));
    CHECK(value == (code & 8 ? -1 : 1) * values[code & 7]);
    CHECK(std::signbit(value) == ((code & 8) != 0));
    CHECK(e2m1Doubled(static_cast<uint8_t>(code)) == 2 * value);
    CHECK(floatToE2m1(value) == code);
  }
  forDenseFloats([&](float value) {
    const unsigned sign = std::signbit(value) ? 8 : 0;
    const unsigned expected = std::isnan(value) ? 7 : nearest(values, std::fabs(double{value})) | sign;
    CHECK(floatToE2m1(value) == expected);
  });
  // The documented ties of NVIDIA's conversion.
  CHECK(floatToE2m1(0.25f) == 0 && floatToE2m1(0.75f) == 2 && floatToE2m1(2.5f) == 4);
  CHECK(floatToE2m1(3.5f) == 6 && floatToE2m1(5.0f) == 6 && floatToE2m1(-0.1f) == 8 && floatToE2m1(7.0f) == 7);
}

void e8m0() {
  for (unsigned code = 0; code < 255; ++code) {
    const float value = e8m0ToFloat(static_cast<uint8_t>(code));
    CHECK(value == std::ldexp(1.0, static_cast<int>(code) - 127));
    CHECK(floatToE8m0Floor(value) == code);
    CHECK(floatToE8m0Ceil(value) == code);
  }
  CHECK(std::isnan(e8m0ToFloat(255)));
  forDenseFloats([](float value) {
    if (std::isnan(value)) {
      CHECK(floatToE8m0Floor(value) == 255 && floatToE8m0Ceil(value) == 255);
      return;
    }
    const double magnitude = std::fabs(double{value});
    int floored = 0;
    while (floored < 254 && std::ldexp(1.0, floored + 1 - 127) <= magnitude) ++floored;
    int raised = 0;
    while (raised < 254 && std::ldexp(1.0, raised - 127) < magnitude) ++raised;
    CHECK(floatToE8m0Floor(value) == floored);
    CHECK(floatToE8m0Ceil(value) == raised);
  });
}

void f16() {
  std::vector<double> values;
  for (unsigned code = 0; code < 65536; ++code) {
    const float value = f16ToFloat(static_cast<uint16_t>(code));
    const unsigned magnitude = code & 0x7fff;
    if (magnitude > 0x7c00) {
      CHECK(std::isnan(value) && std::signbit(value) == (code >= 0x8000));
      CHECK(floatToF16(value) == ((code & 0x8000) | 0x7e00));
      continue;
    }
    if (magnitude == 0x7c00) {
      CHECK(std::isinf(value) && std::signbit(value) == (code >= 0x8000));
    } else {
      CHECK(sameBits(value, static_cast<float>(textbook(code, 5, 10, 15))));
      if (code < 0x8000) values.push_back(value);
    }
    CHECK(floatToF16(value) == code);
  }
  // Midway to what would be the next value, infinity takes over.
  values.push_back(65536.0);
  for (unsigned i = 0; i + 1 < values.size(); ++i) {
    const auto tie = static_cast<float>((values[i] + values[i + 1]) / 2);
    CHECK(floatToF16(tie) == (i % 2 == 0 ? i : i + 1));
    CHECK(floatToF16(std::nextafter(tie, 0.0f)) == i);
    CHECK(floatToF16(-std::nextafter(tie, 1e9f)) == ((i + 1) | 0x8000));
  }
  forDenseFloats([&](float value) {
    if (std::isnan(value)) return;
    CHECK(floatToF16(value) == (nearest(values, std::fabs(double{value})) | (std::signbit(value) ? 0x8000u : 0u)));
  });
}

void bf16() {
  std::vector<double> values;
  for (uint32_t code = 0; code < 65536; ++code) {
    const float value = bf16ToFloat(static_cast<uint16_t>(code));
    if ((code & 0x7fff) > 0x7f80) {
      CHECK(std::isnan(value));
      CHECK(floatToBf16(value) == (code | 0x40));
      continue;
    }
    CHECK(floatToBf16(value) == code);
    if (code < 0x7f80) values.push_back(textbook(code, 8, 7, 127));
    if (code < 0x7f80) CHECK(value == values.back());
  }
  values.push_back(std::ldexp(1.0, 128));
  forDenseFloats([&](float value) {
    if (std::isnan(value)) return;
    CHECK(floatToBf16(value) == (nearest(values, std::fabs(double{value})) | (std::signbit(value) ? 0x8000u : 0u)));
  });
  CHECK((floatToBf16(bitsFloat(0x7f800001)) & 0x7fff) > 0x7f80);  // a NaN whose high bits alone would be infinity
}

// The codecs are usable in constant expressions.
static_assert(floatToE4m3(1.0f) == 0x38 && e4m3ToFloat(0x38) == 1.0f);
static_assert(floatToE2m1(3.0f) == 5 && e2m1ToFloat(5) == 3.0f);
static_assert(floatToF16(1.0f) == 0x3c00 && f16ToFloat(0x3c00) == 1.0f);
static_assert(floatToBf16(1.0f) == 0x3f80 && e8m0ToFloat(127) == 1.0f);

}  // namespace

int main() {
  e4m3();
  e2m1();
  e8m0();
  f16();
  bf16();
  return test::finish("quant_codecs");
}
