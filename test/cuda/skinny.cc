// The skinny product in all its formats: against a double reference over odd shapes, the bits of a row whatever stands
// beside it and however the work is cut, both kinds of devices, many schedules.
#include <cmath>

#include "cuda/gemm/pack.h"
#include "cuda/gemm/skinny.cu"
#include "quant/quantize.h"
#include "test/cuda/schedules.h"
#include "test/native/check.h"

namespace foretoken::test {

using namespace foretoken::cuda;

/// A random matrix in a format: packed, and the values it stands for.
struct Matrix {
  SkinnyLayout layout;
  std::vector<uint8_t> packed;
  std::vector<double> value;

  Matrix(std::mt19937& random, SkinnyFormat format, int rows, int cols)
      : layout{format, rows, cols}, packed(layout.bytes() + 16), value(size_t(rows) * cols) {
    const auto weights = normalFloats(random, value.size(), 0.05f);
    codes_.resize(value.size() * (format == SkinnyFormat::f16Rows ? 2 : 1));
    factors_.assign(rows, 1.0f);
    for (int row = 0; row < rows; ++row) quantizeRow(random, row, weights.data() + size_t(row) * cols);
    if (format == SkinnyFormat::fp8Blocks) scaleBlocks(random);
    SkinnyPacker(layout, {codes_.data(), scales_.data(), blocks_.data(), factors_.data()}).pack(data());
  }

  SkinnyWeights weights() { return {data(), static_cast<int>(layout.rows), static_cast<int>(layout.cols)}; }

 private:
  uint8_t* data() { return packed.data() + (16 - reinterpret_cast<uintptr_t>(packed.data()) % 16) % 16; }

  void quantizeRow(std::mt19937& random, int row, const float* weights) {
    const auto cols = static_cast<int>(layout.cols);
    uint8_t* codes = codes_.data() + size_t(row) * cols;
    std::vector<float> values(cols);
    if (layout.format == SkinnyFormat::nvfp4) {
      std::vector<uint8_t> scales(ceilDiv(cols, 16));
      factors_[row] = nvfp4Global(0.3f) * static_cast<float>(1 + row / 5);  // q, k and v have globals of their own
      quantizeRowNvfp4(weights, cols, factors_[row], codes, scales.data());
      dequantizeRowNvfp4(codes, scales.data(), factors_[row], cols, values.data());
      scales_.insert(scales_.end(), scales.begin(), scales.end());
    } else if (layout.format == SkinnyFormat::mxfp4) {
      std::vector<uint8_t> scales(ceilDiv(cols, 32));
      quantizeRowMxfp4(weights, cols, codes, scales.data());
      for (uint8_t& scale : scales) scale = static_cast<uint8_t>(scale + random() % 40);  // beyond the range of f16
      dequantizeRowMxfp4(codes, scales.data(), cols, values.data());
      scales_.insert(scales_.end(), scales.begin(), scales.end());
    } else if (layout.format == SkinnyFormat::f16Rows) {
      factors_[row] = 0x1p-16f;
      for (int col = 0; col < cols; ++col) {
        const uint16_t half = floatToF16(weights[col] / factors_[row]);
        std::memcpy(codes_.data() + (size_t(row) * cols + col) * sizeof half, &half, sizeof half);
        values[col] = f16ToFloat(half) * factors_[row];
      }
    } else {
      factors_[row] = quantizeRowFp8(weights, cols, codes);
      if (layout.format == SkinnyFormat::fp8Blocks) factors_[row] = 1;
      for (int col = 0; col < cols; ++col) values[col] = e4m3ToFloat(codes[col]) * factors_[row];
    }
    std::copy(values.begin(), values.end(), value.begin() + static_cast<int64_t>(row) * cols);
  }

  void scaleBlocks(std::mt19937& random) {
    const int64_t across = ceilDiv<int64_t>(layout.cols, 128);
    blocks_.resize(ceilDiv<int64_t>(layout.rows, 128) * across);
    for (float& scale : blocks_) scale = 1e-4f * static_cast<float>(1 + random() % 1000);
    for (int64_t row = 0; row < layout.rows; ++row)
      for (int64_t col = 0; col < layout.cols; ++col)
        value[row * layout.cols + col] *= blocks_[row / 128 * across + col / 128];
  }

  std::vector<uint8_t> codes_, scales_;
  std::vector<float> blocks_, factors_;
};

/// The product of `tokens` rows of `in`; buffers are NaN before.
std::vector<float> product(Matrix& matrix, const SkinnyPlan& plan, const std::vector<float>& in, int tokens,
                           Finish how = Finish::store, const std::vector<float>& before = {}) {
  const int rows = static_cast<int>(matrix.layout.rows), cols = static_cast<int>(matrix.layout.cols);
  Activations x{nullptr, nullptr, tokens, cols};
  std::vector<uint4> fragments(x.size(), uint4{~0u, ~0u, ~0u, ~0u});
  std::vector<float> factors(tokens, NAN), sums(plan.sums(rows, tokens), NAN);
  x.fragments = fragments.data();
  x.factors = factors.data();
  prepareSkinny(matrix.layout.format, in.data(), x, nullptr);
  std::vector<float> out(size_t(tokens) * (isGated(how) ? rows / 2 : rows), NAN);
  if (!before.empty()) out = before;
  multiplySkinny(matrix.layout.format, plan, matrix.weights(), x, {{out.data(), how}, sums.data()}, nullptr);
  return out;
}

/// What f16 over the row's power of two keeps of an input.
double rounded(float value, float factor) { return double{f16ToFloat(floatToF16(value / factor))} * factor; }

float largestOf(const float* row, int cols) {
  float largest = 0;
  for (int col = 0; col < cols; ++col) largest = std::max(largest, std::abs(row[col]));
  return largest;
}

/// Largest difference to the double reference, in parts of the sum of magnitudes.
double worstError(const Matrix& matrix, const std::vector<float>& in, const std::vector<float>& out, int tokens) {
  const int rows = static_cast<int>(matrix.layout.rows), cols = static_cast<int>(matrix.layout.cols);
  double worst = 0;
  for (int m = 0; m < tokens; ++m) {
    const float* row = in.data() + size_t(m) * cols;
    const float factor = activationFactor(largestOf(row, cols));
    std::vector<double> x(cols);
    for (int col = 0; col < cols; ++col) x[col] = rounded(row[col], factor);
    for (int n = 0; n < rows; ++n) {
      double sum = 0, magnitude = 1e-30;
      for (int col = 0; col < cols; ++col) {
        const double part = matrix.value[size_t(n) * cols + col] * x[col];
        sum += part;
        magnitude += std::abs(part);
      }
      const double error = std::abs(out[size_t(m) * rows + n] - sum) / magnitude;
      worst = error <= worst ? worst : error;  // a NaN stays
    }
  }
  return worst;
}

constexpr SkinnyFormat kFormats[] = {SkinnyFormat::fp8Rows, SkinnyFormat::fp8Blocks, SkinnyFormat::nvfp4,
                                     SkinnyFormat::mxfp4, SkinnyFormat::f16Rows};
constexpr double kTolerance = 1e-6;

struct Shape {
  int rows, cols;
};

/// Tokens of very different sizes, one of zeros.
std::vector<float> tokensOf(std::mt19937& random, int tokens, int cols) {
  auto in = normalFloats(random, size_t(tokens) * cols);
  for (int m = 0; m < tokens; ++m)
    for (int col = 0; col < cols; ++col)
      in[size_t(m) * cols + col] *= m % 7 == 5 ? 0.0f : std::ldexp(1.0f, m % 5 * 9 - 18);
  return in;
}

void testReference(const Shape& shape, int seeds) {
  for (const SkinnyFormat format : kFormats) {
    std::mt19937 random(shape.rows * 1000 + shape.cols);
    Matrix matrix(random, format, shape.rows, shape.cols);
    for (const int tokens : {1, 7, 16, 33}) {
      const auto in = tokensOf(random, tokens, shape.cols);
      const SkinnyPlan plan = skinnyPlan(format, shape.rows, shape.cols, tokens);
      std::vector<float> first;
      forEachSchedule(seeds, [&] {
        const auto out = product(matrix, plan, in, tokens);
        if (first.empty()) {
          CHECK(worstError(matrix, in, out, tokens) < kTolerance);
          first = out;
        }
        CHECK(out == first);
      });
    }
  }
}

/// Every cut of the work that has the same splits gives a row the bits that it has alone.
void testRowInvariance(const Shape& shape, int splits, const std::vector<int>& counts) {
  for (const SkinnyFormat format : kFormats) {
    std::mt19937 random(shape.rows + shape.cols);
    Matrix matrix(random, format, shape.rows, shape.cols);
    const int most = counts.back();
    const auto in = tokensOf(random, most, shape.cols);
    std::vector<float> alone;
    for (int m = 0; m < most; ++m) {
      const std::vector<float> row(in.begin() + m * shape.cols, in.begin() + (m + 1) * shape.cols);
      const auto out = product(matrix, {1, 1, splits, false}, row, 1);
      alone.insert(alone.end(), out.begin(), out.end());
    }
    CHECK(worstError(matrix, in, alone, most) < kTolerance);
    for (const int tokens : counts) {
      const std::vector<float> expected(alone.begin(), alone.begin() + tokens * shape.rows);
      std::vector<SkinnyPlan> plans = {{2, 4, splits, true}};
      for (const int tiles : {1, 2, 4})
        if (tokens <= kNarrowTokens) plans.push_back({tiles, ceilDiv(tokens, kTokenTile), splits, false});
      for (const SkinnyPlan& plan : plans) CHECK(product(matrix, plan, in, tokens) == expected);
    }
  }
}

/// Both ways to decode e2m1 give the same bits.
void testDevices() {
  for (const SkinnyFormat format : {SkinnyFormat::nvfp4, SkinnyFormat::mxfp4}) {
    std::mt19937 random(11);
    Matrix matrix(random, format, 40, 600);
    const auto in = tokensOf(random, 9, 600);
    const SkinnyPlan plan = skinnyPlan(format, 40, 600, 9);
    simt::model.convertsE2m1 = true;
    const auto converted = product(matrix, plan, in, 9);
    simt::model.convertsE2m1 = false;
    CHECK(worstError(matrix, in, converted, 9) < kTolerance);
    CHECK(worstError(matrix, in, product(matrix, plan, in, 9), 9) < kTolerance);
  }
}

double activated(Finish how, double x) {
  if (how == Finish::swiglu) return x / (1 + std::exp(-x));
  return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

void testFinish() {
  std::mt19937 random(12);
  Matrix matrix(random, SkinnyFormat::nvfp4, 46, 300);
  for (const int tokens : {3, 20}) {
    const auto in = normalFloats(random, size_t(tokens) * 300), before = normalFloats(random, size_t(tokens) * 46);
    const SkinnyPlan plan = skinnyPlan(SkinnyFormat::nvfp4, 46, 300, tokens);
    const auto stored = product(matrix, plan, in, tokens),
               added = product(matrix, plan, in, tokens, Finish::add, before);
    for (size_t i = 0; i < stored.size(); ++i) CHECK(added[i] == before[i] + stored[i]);
    for (const Finish how : {Finish::swiglu, Finish::geglu}) {
      const auto gated = product(matrix, plan, in, tokens, how);
      for (size_t i = 0; i < gated.size(); ++i) {
        const double gate = stored[2 * i], up = stored[2 * i + 1];
        CHECK(std::abs(gated[i] - activated(how, gate) * up) <= 1e-6 * std::abs(gate * up));
      }
    }
  }
}

void testPlans() {
  for (const SkinnyFormat format : kFormats) {
    for (const Shape shape : {Shape{1024, 4096}, {4096, 4096}, {4096, 14336}, {28672, 4096}, {7168, 18432}}) {
      const int splits = skinnySplits(format, shape.rows, shape.cols);
      CHECK(splits >= 1 && splits <= 8);
      for (const int tokens : {1, 8, 9, 16, 17, 128}) {
        const SkinnyPlan plan = skinnyPlan(format, shape.rows, shape.cols, tokens);
        CHECK(plan.splits == splits && plan.wide == (tokens > kNarrowTokens));
      }
    }
  }
}

}  // namespace foretoken::test

int main() {
  using namespace foretoken::test;
  const bool thorough = longRun();
  testPlans();
  testReference({1, 1}, 2);
  testReference({37, 290}, thorough ? 9 : 3);
  testReference({150, 1030}, thorough ? 6 : 1);
  testRowInvariance({50, 700}, 1, {1, 2, 8, 9, 16, 33});
  testRowInvariance({18, 4100}, 2, {1, 5, 12, 17});
  testDevices();
  testFinish();
  if (thorough) {
    testReference({260, 2600}, 2);
    testRowInvariance({20, 9000}, 4, {1, 15, 64, 128});
  }
  return finish("skinny");
}
