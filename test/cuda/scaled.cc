// The product for prefill with block-scaled operands: against a double reference over odd shapes, with copies and
// products as early and as late as they may be; its inputs against their rule; the bits of a token whoever stands
// beside it.
#include <cmath>

#include "cuda/gemm/scaled.cu"
#include "quant/float_codecs.h"
#include "test/cuda/prefill_rig.h"

namespace foretoken::test {

using namespace foretoken::cuda;

constexpr ScaledKind kKinds[] = {ScaledKind::nvfp4, ScaledKind::mxfp4, ScaledKind::mxfp8};

double scaleValue(ScaledKind kind, uint8_t code) {
  return kind == ScaledKind::nvfp4 ? e4m3ToFloat(code) : e8m0ToFloat(code);
}

/// One side in memory. What nobody has written is NaN as a scale.
struct Rows {
  ScaledLayout layout;
  std::vector<uint8_t> scales;
  std::vector<float> factors;

  explicit Rows(const ScaledLayout& layout)
      : layout(layout),
        scales(layout.scaleBytes(), 0xff),
        factors(layout.kind == ScaledKind::nvfp4 ? layout.count : 0, NAN),
        bytes_(layout.codeBytes() + 32, 0) {}
  Rows(Rows&&) = default;

  /// At a multiple of 32.
  uint8_t* codes() { return bytes_.data() + skipped(); }
  const uint8_t* codes() const { return bytes_.data() + skipped(); }
  ScaledRows view() {
    return {codes(), scales.data(), factors.empty() ? nullptr : factors.data(), layout.count, layout.cols};
  }
  uint8_t code(int row, int col) const {
    const uint8_t* const line = codes() + size_t(row) * layout.pitch();
    return layout.isE4m3() ? line[col] : line[col / 2] >> col % 2 * 4 & 15;
  }
  uint8_t scale(int row, int group) const { return scales[layout.scaleAt(row, group)]; }
  double value(int row, int col) const {
    const double code = layout.isE4m3() ? e4m3ToFloat(this->code(row, col)) : e2m1ToFloat(this->code(row, col));
    return code * scaleValue(layout.kind, scale(row, col / scaleGroup(layout.kind))) *
           (factors.empty() ? 1 : factors[row]);
  }

 private:
  size_t skipped() const { return -reinterpret_cast<uintptr_t>(bytes_.data()) % 32; }

  std::vector<uint8_t> bytes_;
};

Rows randomWeights(std::mt19937& random, ScaledKind kind, int rows, int cols) {
  Rows weights({kind, ScaledSide::weights, rows, cols});
  for (int row = 0; row < rows; ++row)
    for (int col = 0; col < cols; ++col)
      weights.codes()[size_t(row) * weights.layout.pitch() + col / 2] |= random() % 16 << col % 2 * 4;
  std::vector<uint8_t> scales(size_t(rows) * ceilDiv(cols, scaleGroup(kind)));
  for (uint8_t& scale : scales)
    scale = static_cast<uint8_t>(kind == ScaledKind::nvfp4 ? 1 + random() % 0x7e : 117 + random() % 20);
  packScales(weights.layout, scales.data(), weights.scales.data());
  for (float& factor : weights.factors) factor = 1e-4f * static_cast<float>(1 + random() % 1000);
  return weights;
}

Rows quantized(ScaledKind kind, const std::vector<float>& in, int tokens, int cols) {
  Rows x({kind, ScaledSide::inputs, tokens, cols});
  prepareScaled(kind, in.data(), x.view(), nullptr);
  return x;
}

std::vector<float> product(Rows& weights, Rows& x, Finish how = Finish::store) {
  const int rows = weights.layout.count, tokens = x.layout.count;
  std::vector<float> out(size_t(tokens) * (isGated(how) ? rows / 2 : rows), NAN);
  multiplyScaled(weights.layout.kind, weights.view(), x.view(), {out.data(), how}, nullptr);
  return out;
}

/// Rows of normal numbers, some much greater than others, one group of zeros, one of small numbers, one row of zeros.
std::vector<float> mixedInputs(std::mt19937& random, int tokens, int cols) {
  auto in = normalFloats(random, size_t(tokens) * cols);
  for (size_t i = 0; i < in.size(); i += 37) in[i] *= 50;
  for (int col = 0; col < std::min(32, cols); ++col) in[col] = 0;
  for (int col = 32; col < std::min(64, cols); ++col) in[col] *= 1e-7f;
  if (tokens > 2) std::fill_n(in.begin() + 2 * cols, cols, 0.0f);
  return in;
}

void testInputs(ScaledKind kind) {
  std::mt19937 random(1);
  const int tokens = 131, cols = 300, group = scaleGroup(kind);
  auto in = mixedInputs(random, tokens, cols);
  for (int col = 0; col < cols; ++col) in[3 * cols + col] = col % 2 == 0 ? 0 : 1e-43f;
  const Rows x = quantized(kind, in, tokens, cols);
  const double most = kind == ScaledKind::mxfp8 ? 448 : 6;
  for (int m = 0; m < tokens; ++m) {
    const float* row = in.data() + size_t(m) * cols;
    float largest = 0;
    for (int col = 0; col < cols; ++col) largest = std::max(largest, std::abs(row[col]));
    const float factor = kind == ScaledKind::nvfp4 ? largest > 1e-20f ? largest / (6.0f * 448.0f) : 1.0f : 1.0f;
    if (kind == ScaledKind::nvfp4) CHECK(x.factors[m] == factor);
    for (int g = 0; g < x.layout.groups(); ++g) {
      const int first = g * group, last = std::min(first + group, cols);
      float amax = 0;
      for (int col = first; col < last; ++col) amax = std::max(amax, std::abs(row[col]));
      const uint8_t code = x.scale(m, g);
      const double scale = scaleValue(kind, code) * factor;
      if (kind == ScaledKind::nvfp4) {
        CHECK(code == floatToE4m3(amax / (6.0f * factor)));
      } else {
        CHECK(code == 0 || (amax <= scale * most * 1.000001 && amax > scale * most / 2 * 0.999999));
        CHECK(code != 0 || amax < 1e-30f);
      }
      for (int col = first; col < last; ++col) {
        // Half a step at most of the codes near it, or what saturation takes off where a rounded scale is too small.
        const double inCodes = scale > 0 ? std::abs(row[col]) / scale : 0;
        const double step = kind == ScaledKind::mxfp8 ? std::max(0x1p-9, std::exp2(std::floor(std::log2(inCodes)) - 3))
                            : inCodes < 2             ? 0.5
                            : inCodes < 4             ? 1
                                                      : 2;
        const double allowed = scale * std::max(step / 2, inCodes - most) * 1.00001;
        CHECK(scale == 0 ? x.code(m, col) % 8 == 0 : std::abs(x.value(m, col) - row[col]) <= allowed);
      }
      if (first >= cols) CHECK(code == 0);
    }
    for (int col = cols; col < x.layout.pitch() * (x.layout.isE4m3() ? 1 : 2); ++col) CHECK(x.code(m, col) == 0);
  }
}

void testReference(ScaledKind kind, const Shape& shape, int seeds) {
  std::mt19937 random(shape.tokens + shape.rows + shape.cols);
  Rows weights = randomWeights(random, kind, shape.rows, shape.cols);
  Rows x = quantized(kind, mixedInputs(random, shape.tokens, shape.cols), shape.tokens, shape.cols);
  checkReference([](Rows& w, Rows& in) { return product(w, in); }, weights, x, shape, seeds);
}

void testRowInvariance(ScaledKind kind) {
  constexpr int kCols = 400, kRows = 40;
  std::mt19937 random(3);
  Rows weights = randomWeights(random, kind, kRows, kCols);
  const auto in = normalFloats(random, 131 * kCols);
  checkRowInvariance(
      [&](int first, int tokens) {
        Rows x = quantized(kind, {in.begin() + first * kCols, in.begin() + (first + tokens) * kCols}, tokens, kCols);
        return product(weights, x);
      },
      kRows);
}

void testFinish() {
  std::mt19937 random(4);
  Rows weights = randomWeights(random, ScaledKind::nvfp4, 26, 130);
  Rows x = quantized(ScaledKind::nvfp4, normalFloats(random, 3 * 130), 3, 130);
  checkGated([&](Finish how) { return product(weights, x, how); });
}

/// Hopper has no such products.
void testOthers() {
  std::mt19937 random(5);
  Rows weights = randomWeights(random, ScaledKind::mxfp4, 8, 64);
  Rows x = quantized(ScaledKind::mxfp4, normalFloats(random, 64), 1, 64);
  std::vector<float> out(8);
  simt::model.hasTensorMemory = false;
  CHECK(multiplyScaled(ScaledKind::mxfp4, weights.view(), x.view(), {out.data(), Finish::store}, nullptr) ==
        cudaErrorNotSupported);
  simt::model.hasTensorMemory = true;
}

}  // namespace foretoken::test

int main() {
  using namespace foretoken::test;
  foretoken::simt::model.hasTensorMemory = true;
  for (const ScaledKind kind : kKinds) {
    testInputs(kind);
    testReference(kind, {1, 1, 1}, 3);
    testReference(kind, {130, 150, 1100}, longRun() ? 12 : 3);
    testReference(kind, {70, 30, 2050}, longRun() ? 9 : 3);
    testRowInvariance(kind);
    if (longRun()) testReference(kind, {200, 300, 4000}, 3);
  }
  testFinish();
  testOthers();
  return finish("scaled");
}
