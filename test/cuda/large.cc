// The product for prefill: against a double reference over odd shapes, with copies and products as early and as late as
// they may be, and the bits of a token whoever stands beside it.
#include <cmath>

#include "cuda/gemm/large.cu"
#include "quant/float_codecs.h"
#include "test/cuda/prefill_rig.h"

namespace foretoken::test {

using namespace foretoken::cuda;

enum class Scales { blocks, rows };

/// Random weights with scales of one of both kinds.
struct Weights {
  int rows, cols, pitch;
  std::vector<uint8_t> codes;
  std::vector<float> blocks, factors;

  Weights(std::mt19937& random, Scales scales, int rows, int cols)
      : rows(rows), cols(cols), pitch(roundUp(cols, 16)), codes(size_t(rows) * pitch) {
    const auto values = normalFloats(random, codes.size(), 40);
    for (size_t i = 0; i < codes.size(); ++i) codes[i] = floatToE4m3(values[i]);
    auto& chosen = scales == Scales::blocks ? blocks : factors;
    chosen.resize(scales == Scales::blocks ? ceilDiv(rows, 128) * ceilDiv(cols, 128) : rows);
    for (float& scale : chosen) scale = 1e-4f * static_cast<float>(1 + random() % 1000);
  }

  LargeWeights view() const {
    return {codes.data(),
            rows,
            cols,
            pitch,
            blocks.empty() ? nullptr : blocks.data(),
            factors.empty() ? nullptr : factors.data()};
  }
  double value(int row, int col) const {
    double value = e4m3ToFloat(codes[size_t(row) * pitch + col]);
    if (!blocks.empty()) value *= blocks[row / 128 * ceilDiv(cols, 128) + col / 128];
    return factors.empty() ? value : value * factors[row];
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
    return double{e4m3ToFloat(codes[size_t(token) * view.pitch() + col])} *
           scales[size_t(col / 128) * view.tokens + token];
  }
};

std::vector<float> product(const Weights& weights, const Inputs& x, Finish how = Finish::store) {
  std::vector<float> out(size_t(x.view.tokens) * (isGated(how) ? weights.rows / 2 : weights.rows), NAN);
  multiplyLarge(weights.view(), x.view, {out.data(), how}, nullptr);
  return out;
}

void testQuantization() {
  std::mt19937 random(1);
  auto in = normalFloats(random, 3 * 300);
  for (int col = 0; col < 128; ++col) in[300 + col] = 0;
  const Inputs x(in, 3, 300);
  for (int m = 0; m < 3; ++m) {
    for (int block = 0; block < 3; ++block) {
      float largest = 0;
      for (int col = block * 128; col < std::min(300, block * 128 + 128); ++col)
        largest = std::max(largest, std::abs(in[m * 300 + col]));
      const float scale = x.scales[block * 3 + m];
      CHECK(scale == (largest > 0 ? largest / 448 : 1));
      for (int col = block * 128; col < block * 128 + 128; ++col)
        CHECK(x.codes[m * 384 + col] == (col < 300 ? floatToE4m3(in[m * 300 + col] / scale) : 0));
    }
  }
}

void testReference(const Shape& shape, Scales scales, int seeds) {
  std::mt19937 random(shape.tokens + shape.rows + shape.cols);
  const Weights weights(random, scales, shape.rows, shape.cols);
  const Inputs x(normalFloats(random, size_t(shape.tokens) * shape.cols), shape.tokens, shape.cols);
  checkReference([](const Weights& w, const Inputs& in) { return product(w, in); }, weights, x, shape, seeds);
}

void testRowInvariance() {
  constexpr int kCols = 400, kRows = 40;
  std::mt19937 random(3);
  const Weights weights(random, Scales::blocks, kRows, kCols);
  const auto in = normalFloats(random, 131 * kCols);
  checkRowInvariance(
      [&](int first, int tokens) {
        return product(weights, Inputs({in.begin() + first * kCols, in.end()}, tokens, kCols));
      },
      kRows);
}

void testFinish() {
  std::mt19937 random(4);
  const Weights weights(random, Scales::rows, 26, 130);
  const Inputs x(normalFloats(random, 3 * 130), 3, 130);
  checkGated([&](Finish how) { return product(weights, x, how); });
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
  for (const bool blackwell : {false, true}) {
    foretoken::simt::model.hasTensorMemory = blackwell;
    testReference({1, 1, 1}, Scales::rows, 3);
    testReference({70, 150, 1100}, Scales::blocks, longRun() ? 18 : 6);
    testReference({130, 30, 520}, Scales::rows, longRun() ? 9 : 3);
    testRowInvariance();
    testFinish();
    if (longRun()) testReference({200, 300, 2000}, Scales::blocks, 6);
  }
  return finish("large");
}
