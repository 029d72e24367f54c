// Quantisers of rows: exact where the grid holds the values, no worse than the plain scale rules, bounded error, tails,
// zeros and values that are no numbers.
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "check.h"
#include "quant/float_codecs.h"
#include "quant/quantize.h"

using namespace foretoken;

namespace {

std::vector<float> gaussian(int64_t count, uint32_t seed, float sigma = 0.05f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, sigma);
  std::vector<float> out(static_cast<size_t>(count));
  for (float& value : out) value = normal(random);
  return out;
}

double squaredError(const float* a, const float* b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += (double{a[i]} - b[i]) * (double{a[i]} - b[i]);
  return sum;
}

/// The error of a block in e2m1 with this scale.
double errorWith(const float* values, int count, float scale) {
  std::vector<float> out;
  for (int i = 0; i < count; ++i) out.push_back(e2m1ToFloat(floatToE2m1(values[i] / scale)) * scale);
  return squaredError(values, out.data(), count);
}

struct Quantised {
  std::vector<uint8_t> codes, scales;
  std::vector<float> values;
};

Quantised nvfp4(const std::vector<float>& row, float global) {
  const auto cols = static_cast<int64_t>(row.size());
  Quantised out{std::vector<uint8_t>(row.size()), std::vector<uint8_t>((row.size() + 15) / 16), row};
  quantizeRowNvfp4(row.data(), cols, global, out.codes.data(), out.scales.data());
  dequantizeRowNvfp4(out.codes.data(), out.scales.data(), global, cols, out.values.data());
  return out;
}

Quantised mxfp4(const std::vector<float>& row) {
  const auto cols = static_cast<int64_t>(row.size());
  Quantised out{std::vector<uint8_t>(row.size()), std::vector<uint8_t>((row.size() + 31) / 32), row};
  quantizeRowMxfp4(row.data(), cols, out.codes.data(), out.scales.data());
  dequantizeRowMxfp4(out.codes.data(), out.scales.data(), cols, out.values.data());
  return out;
}

void fp8() {
  for (const int64_t cols : {1, 7, 64, 577}) {
    const std::vector<float> row = gaussian(cols, static_cast<uint32_t>(cols));
    std::vector<uint8_t> codes(row.size());
    std::vector<float> back(row.size());
    const float scale = quantizeRowFp8(row.data(), cols, codes.data());
    CHECK(scale == maxMagnitude(row.data(), cols) / 448.0f);
    dequantizeRowFp8(codes.data(), scale, cols, back.data());
    for (size_t i = 0; i < row.size(); ++i) {
      CHECK(codes[i] == floatToE4m3(row[i] / scale));
      // Half a step: 2^-4 of a normal value, 2^-10 of the scale among subnormals.
      CHECK(std::fabs(row[i] - back[i]) <= std::fabs(row[i]) * 0x1.001p-4f + scale * 0x1.001p-10f);
    }
  }
}

/// Every pair of a code and a scale within the search is reproduced exactly.
void exactOnTheGrid() {
  std::mt19937 random(7);
  for (int scaleCode = 0x08; scaleCode <= 0x78; ++scaleCode) {
    const float scale = e4m3ToFloat(static_cast<uint8_t>(scaleCode));
    std::vector<float> row(16);
    for (float& value : row) value = e2m1ToFloat(static_cast<uint8_t>(random() % 16)) * scale;
    row[5] = 6.0f * scale;
    CHECK(nvfp4(row, 1.0f).values == row);
    for (float& value : row) value = std::fabs(value) > 4.0f * scale ? 4.0f * scale : value;
    CHECK(nvfp4(row, 1.0f).values == row);
  }
  for (int exponent = -100; exponent <= 100; exponent += 5) {
    std::vector<float> row(32);
    for (float& value : row) value = std::ldexp(e2m1ToFloat(static_cast<uint8_t>(random() % 16)), exponent);
    row[31] = std::ldexp(-6.0f, exponent);
    const Quantised out = mxfp4(row);
    CHECK(out.values == row);
    CHECK(out.scales[0] == 127 + exponent);
  }
}

/// Each block's error is at most that of the plain rules it searches around.
void noWorseThanPlainRules() {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    const std::vector<float> row = gaussian(64, seed);
    const float amax = maxMagnitude(row.data(), 64);
    const float global = nvfp4Global(amax);
    const Quantised four = nvfp4(row, global);
    for (int block = 0; block < 4; ++block) {
      const float* values = row.data() + 16 * block;
      const double error = squaredError(values, four.values.data() + 16 * block, 16);
      for (const float divisor : {6.0f, 4.0f}) {
        const float scale = e4m3ToFloat(floatToE4m3(maxMagnitude(values, 16) / divisor / global)) * global;
        CHECK(error <= errorWith(values, 16, scale) * 1.0001);
      }
    }
    const Quantised mx = mxfp4(row);
    for (int block = 0; block < 2; ++block) {
      const float* values = row.data() + 32 * block;
      const double error = squaredError(values, mx.values.data() + 32 * block, 32);
      const uint8_t floored = static_cast<uint8_t>(floatToE8m0Floor(maxMagnitude(values, 32)) - 2);
      CHECK(error <= errorWith(values, 32, e8m0ToFloat(floored)) * 1.0001);
      CHECK(error <= errorWith(values, 32, e8m0ToFloat(floored + 1)) * 1.0001);
    }
  }
}

/// Gaussian weights: the relative errors that the formats are known for.
void relativeErrors() {
  const std::vector<float> row = gaussian(65536, 1);
  const std::vector<float> zeros(row.size());
  const double power = squaredError(row.data(), zeros.data(), 65536);
  const auto relative = [&](const Quantised& out) {
    return std::sqrt(squaredError(row.data(), out.values.data(), 65536) / power);
  };
  const double four = relative(nvfp4(row, nvfp4Global(maxMagnitude(row.data(), 65536))));
  const double mx = relative(mxfp4(row));
  CHECK(four > 0.05 && four < 0.092);
  CHECK(mx > four && mx < 0.125);
}

/// A short last block is quantised as if zeros followed, and writes nothing beyond its codes.
void tails() {
  for (size_t cols = 1; cols <= 70; ++cols) {
    std::vector<float> row = gaussian(static_cast<int64_t>(cols), 100 + static_cast<uint32_t>(cols));
    std::vector<float> padded = row;
    padded.resize((cols + 31) / 32 * 32);
    const Quantised shortFour = nvfp4(row, 0.001f);
    const Quantised longFour = nvfp4(padded, 0.001f);
    const Quantised shortMx = mxfp4(row);
    const Quantised longMx = mxfp4(padded);
    for (size_t i = 0; i < cols; ++i) {
      CHECK(shortFour.codes[i] == longFour.codes[i]);
      CHECK(shortMx.codes[i] == longMx.codes[i]);
    }
  }
  std::vector<uint8_t> codes(18, 0xaa);
  std::vector<uint8_t> scales(3, 0xaa);
  const std::vector<float> row(17, 1.0f);
  quantizeRowNvfp4(row.data(), 17, 0.01f, codes.data(), scales.data());
  CHECK(codes[17] == 0xaa && scales[2] == 0xaa);
  quantizeRowMxfp4(row.data(), 17, codes.data(), scales.data());
  CHECK(codes[17] == 0xaa);
}

void zerosAndTinyValues() {
  for (const float tiny : {0.0f, 1e-45f, 1e-38f}) {
    const std::vector<float> row(32, tiny);
    std::vector<uint8_t> codes(32);
    CHECK(quantizeRowFp8(row.data(), 32, codes.data()) == 1.0f);
    CHECK(codes == std::vector<uint8_t>(32));
    CHECK(nvfp4Global(tiny) == 1.0f);
    for (const float value : nvfp4(row, nvfp4Global(tiny)).values) CHECK(value == 0.0f);
    for (const float value : mxfp4(row).values) CHECK(std::fabs(value - tiny) <= 1e-38f);
  }
  CHECK(mxfp4(std::vector<float>(32)).scales[0] == 127);
  CHECK(maxMagnitude(nullptr, 0) == 0.0f);
  const std::vector<float> huge(32, 3e38f);
  for (const float value : mxfp4(huge).values) CHECK(std::isfinite(value) && value > 2e38f);
}

/// What a reader would have refused must still not end in undefined behaviour.
void notFinite() {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> row = gaussian(40, 3);
    row[11] = bad;
    std::vector<uint8_t> codes(40);
    quantizeRowFp8(row.data(), 40, codes.data());
    CHECK(nvfp4(row, nvfp4Global(1.0f)).codes.size() == 40);
    CHECK(nvfp4(row, nvfp4Global(bad)).codes.size() == 40);
    CHECK(mxfp4(row).codes.size() == 40);
  }
}

void halves() {
  const std::vector<float> row = gaussian(1000, 9, 1e4f);
  std::vector<uint16_t> out(1000);
  roundRowBf16(row.data(), 1000, out.data());
  for (size_t i = 0; i < row.size(); ++i) CHECK(out[i] == floatToBf16(row[i]));
  roundRowF16(row.data(), 1000, out.data());
  for (size_t i = 0; i < row.size(); ++i) CHECK(out[i] == floatToF16(row[i]));
}

}  // namespace

int main() {
  fp8();
  exactOnTheGrid();
  noWorseThanPlainRules();
  relativeErrors();
  tails();
  zerosAndTinyValues();
  notFinite();
  halves();
  return test::finish("quant_quantize");
}
