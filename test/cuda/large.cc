// The product for prefill: against a double reference over odd shapes, with copies and products as early and as late as
// they may be, and the bits of a token whoever stands beside it.
#include <cmath>

#include "cuda/gemm/large.cu"
#include "cuda/gemm/pack.h"
#include "quant/float_codecs.h"
#include "test/cuda/prefill_rig.h"

namespace foretoken::test {

using namespace foretoken::cuda;

/// Random weights, packed, and what they stand for.
struct Weights {
  SkinnyLayout layout;
  std::vector<uint8_t> codes;
  std::vector<float> blocks, factors;
  std::vector<uint4> packed;

  Weights(std::mt19937& random, SkinnyFormat format, int rows, int cols)
      : layout{format, rows, cols},
        codes(size_t(rows) * cols),
        blocks(ceilDiv(rows, 128) * ceilDiv(cols, 128)),
        factors(rows),
        packed(static_cast<size_t>(layout.bytes()) / sizeof(uint4)) {
    const auto values = normalFloats(random, codes.size(), 40);
    for (size_t i = 0; i < codes.size(); ++i) codes[i] = floatToE4m3(values[i]);
    for (auto* scales : {&blocks, &factors})
      for (float& scale : *scales) scale = 1e-4f * static_cast<float>(1 + random() % 1000);
    SkinnyPacker(layout, {codes.data(), nullptr, blocks.data(), factors.data()})
        .pack(reinterpret_cast<uint8_t*>(packed.data()));
  }

  int rows() const { return static_cast<int>(layout.rows); }
  LargeWeights view() const {
    return {{reinterpret_cast<const unsigned char*>(packed.data()), rows(), static_cast<int>(layout.cols)},
            layout.format};
  }
  double value(int row, int col) const {
    const double value = double{e4m3ToFloat(codes[row * layout.cols + col])} * factors[row];
    return layout.format == SkinnyFormat::fp8Rows ? value : value * blocks[row / 128 * layout.steps() + col / 128];
  }
};

struct Inputs {
  std::vector<uint8_t> codes;
  std::vector<float> scales;
  LargeInputs view;

  Inputs(const std::vector<float>& in, int tokens, int cols) : view{nullptr, nullptr, tokens, cols} {
    codes.assign(size_t(tokens) * view.pitch(), 0x7f);
    scales.assign(size_t(tokens) * view.blocks(), NAN);
    view.codes = codes.data();
    view.scales = scales.data();
    prepareLarge(in.data(), view, nullptr);
  }
  double value(int token, int col) const {
    return double{e4m3ToFloat(codes[size_t(token) * view.pitch() + fp8Place(col)])} *
           scales[size_t(col / 128) * view.tokens + token];
  }
};

std::vector<float> product(const Weights& weights, const Inputs& x, Finish how = Finish::store) {
  std::vector<float> out(size_t(x.view.tokens) * (isGated(how) ? weights.rows() / 2 : weights.rows()), NAN);
  multiplyLarge(weights.view(), x.view, {out.data(), how}, nullptr);
  return out;
}

void testQuantization() {
  std::mt19937 random(1);
  auto in = normalFloats(random, 3 * 300);
  for (int col = 0; col < 128; ++col) in[300 + col] = 0;
  for (int col = 0; col < 128; ++col) in[600 + col] = col % 2 == 0 ? 0 : 1e-43f;
  const Inputs x(in, 3, 300);
  for (int m = 0; m < 3; ++m) {
    for (int block = 0; block < 3; ++block) {
      float largest = 0;
      for (int col = block * 128; col < std::min(300, block * 128 + 128); ++col)
        largest = std::max(largest, std::abs(in[m * 300 + col]));
      const float scale = x.scales[block * 3 + m];
      CHECK(scale == (largest > 1e-20f ? largest / 448 : 1));
      for (int col = block * 128; col < block * 128 + 128; ++col)
        CHECK(x.codes[m * 384 + fp8Place(col)] == (col < 300 ? floatToE4m3(in[m * 300 + col] / scale) : 0));
    }
  }
}

void testReference(const Shape& shape, SkinnyFormat format, int seeds) {
  std::mt19937 random(shape.tokens + shape.rows + shape.cols);
  const Weights weights(random, format, shape.rows, shape.cols);
  const Inputs x(normalFloats(random, size_t(shape.tokens) * shape.cols), shape.tokens, shape.cols);
  checkReference([](const Weights& w, const Inputs& in) { return product(w, in); }, weights, x, shape, seeds);
}

void testRowInvariance() {
  constexpr int kCols = 400, kRows = 40;
  std::mt19937 random(3);
  const Weights weights(random, SkinnyFormat::fp8Blocks, kRows, kCols);
  const auto in = normalFloats(random, 131 * kCols);
  checkRowInvariance(
      [&](int first, int tokens) {
        return product(weights, Inputs({in.begin() + first * kCols, in.end()}, tokens, kCols));
      },
      kRows);
}

void testFinish() {
  std::mt19937 random(4);
  const Weights weights(random, SkinnyFormat::fp8Rows, 26, 130);
  const Inputs x(normalFloats(random, 3 * 130), 3, 130);
  checkGated([&](Finish how) { return product(weights, x, how); });
}

/// Weights of other formats have no such product.
void testOthers() {
  std::mt19937 random(5);
  const Weights weights(random, SkinnyFormat::fp8Rows, 8, 64);
  const Inputs x(normalFloats(random, 64), 1, 64);
  LargeWeights other = weights.view();
  other.format = SkinnyFormat::nvfp4;
  std::vector<float> out(8);
  CHECK(multiplyLarge(other, x.view, {out.data(), Finish::store}, nullptr) == cudaErrorNotSupported);
}

/// Every tile is somebody's, once.
void testPlaces() {
  for (const auto& [tokens, rows] : {std::pair{1, 1}, {8, 5}, {9, 3}, {19, 7}}) {
    std::vector<int> seen(tokens * rows, 0);
    for (int i = 0; i < tokens * rows; ++i) {
      const LargePlace place = largePlace(i, tokens, rows);
      ++seen[place.token / kLargeTile * rows + place.row / kLargeTile];
    }
    CHECK(std::count(seen.begin(), seen.end(), 1) == tokens * rows);
  }
}

}  // namespace foretoken::test

int main() {
  using namespace foretoken::test;
  testPlaces();
  testQuantization();
  testOthers();
  for (const bool blackwell : {false, true}) {
    foretoken::simt::model.hasTensorMemory = blackwell;
    testReference({1, 1, 1}, SkinnyFormat::fp8Rows, 3);
    testReference({70, 150, 1100}, SkinnyFormat::fp8Blocks, longRun() ? 18 : 6);
    testReference({130, 30, 520}, SkinnyFormat::fp8Rows, longRun() ? 9 : 3);
    testRowInvariance();
    testFinish();
    if (longRun()) testReference({200, 300, 2000}, SkinnyFormat::fp8Blocks, 6);
  }
  return finish("large");
}
