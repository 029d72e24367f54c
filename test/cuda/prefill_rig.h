// What all products for prefill promise, whatever their operands are.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "cuda/gemm/epilogue.cuh"
#include "test/cuda/schedules.h"
#include "test/native/check.h"

namespace foretoken::test {

struct Shape {
  int tokens, rows, cols;
};

/// The worst error of a result, by the magnitudes that it is a sum of. Operands have `value(row, column)`.
template <class Weights, class Inputs>
double worstError(const Weights& weights, const Inputs& x, const Shape& shape, const std::vector<float>& out) {
  double worst = 0;
  for (int m = 0; m < shape.tokens; ++m) {
    for (int n = 0; n < shape.rows; ++n) {
      double sum = 0, magnitude = 1e-30;
      for (int col = 0; col < shape.cols; ++col) {
        const double part = weights.value(n, col) * x.value(m, col);
        sum += part;
        magnitude += std::abs(part);
      }
      const double error = std::abs(out[size_t(m) * shape.rows + n] - sum) / magnitude;
      worst = error <= worst ? worst : error;  // a NaN stays
    }
  }
  return worst;
}

/// Near the double reference, and the same bits under every schedule.
template <class Product, class Weights, class Inputs>
void checkReference(const Product& product, Weights& weights, Inputs& x, const Shape& shape, int seeds) {
  std::vector<float> first;
  forEachSchedule(seeds, [&] {
    const std::vector<float> out = product(weights, x);
    if (first.empty()) {
      CHECK(worstError(weights, x, shape, out) < 1e-6);
      first = out;
    }
    CHECK(out == first);
  });
}

/// The bits of a token, whoever stands beside it. `of` multiplies so many of 131 tokens, from the first one named on.
template <class Of>
void checkRowInvariance(const Of& of, int rows) {
  const std::vector<float> all = of(0, 131);
  for (const int tokens : {1, 64, 129}) {
    const std::vector<float> some = of(0, tokens);
    CHECK(std::equal(some.begin(), some.end(), all.begin()));
  }
  const std::vector<float> alone = of(130, 1);
  CHECK(std::equal(alone.begin(), alone.end(), all.begin() + 130 * rows));
}

/// Gated results are made of the stored ones, two by two. `product` takes a Finish.
template <class Product>
void checkGated(const Product& product) {
  const std::vector<float> stored = product(cuda::Finish::store);
  const std::vector<float> silus = product(cuda::Finish::swiglu), gelus = product(cuda::Finish::geglu);
  for (size_t i = 0; i < silus.size(); ++i) {
    CHECK(silus[i] == cuda::silu(stored[2 * i]) * stored[2 * i + 1]);
    CHECK(gelus[i] == cuda::gelu(stored[2 * i]) * stored[2 * i + 1]);
  }
}

}  // namespace foretoken::test
