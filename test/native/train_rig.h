// What the tests of training share: random values, a number of threads for every instruction set, differences.
#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "common/error.h"
#include "cpu/thread_pool.h"
#include "quant/float_codecs.h"
#include "refusal.h"
#include "train/ops.h"

namespace foretoken::test {

using Floats = std::vector<float>;
using Doubles = std::vector<double>;

/// Normal values that bf16 holds exactly, so that products differ from the reference by fp32 sums alone.
inline Floats randomValues(int64_t count, uint32_t seed, float spread = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  Floats values(count);
  for (float& v : values) v = bf16ToFloat(floatToBf16(normal(random)));
  return values;
}
inline Doubles inDouble(const Floats& values) { return {values.begin(), values.end()}; }

/// The largest difference, relative to the largest value of the reference (or to 1e-3 of one).
template <class A, class B>
double difference(const A& values, const B& reference) {
  double most = 1e-3, worst = 0;
  for (size_t i = 0; i < reference.size(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(reference[i])));
    const double d = std::abs(static_cast<double>(values[i]) - reference[i]);
    worst = std::isnan(d) ? INFINITY : std::max(worst, d);
  }
  return values.size() == reference.size() ? worst / most : INFINITY;
}

/// d f / d x by central differences in double.
inline Doubles slopes(Doubles x, const std::function<double(const Doubles&)>& f) {
  constexpr double kStep = 1e-5;
  Doubles slope(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const double at = x[i];
    x[i] = at + kStep;
    const double above = f(x);
    x[i] = at - kStep;
    slope[i] = (above - f(x)) / (2 * kStep);
    x[i] = at;
  }
  return slope;
}
/// sum dy y: a loss whose gradient with respect to y is dy.
inline double dot(const Doubles& dy, const Doubles& y) {
  double sum = 0;
  for (size_t i = 0; i < y.size(); ++i) sum += dy[i] * y[i];
  return sum;
}

/// Calls test(ops) for every instruction set that this machine has.
inline void forEveryPath(const std::function<void(train::Ops&)>& test, int threads = 2) {
  for (const Isa isa : kIsas) {
    if (!isaAvailable(isa)) continue;
    ThreadPool pool(threads);
    train::Ops ops(pool, isa);
    test(ops);
  }
}

/// Checks that `run` gives the same bits for any path and number of threads.
inline void checkSameBits(const std::function<Floats(train::Ops&)>& run) {
  Floats first;
  for (const int threads : {1, 2, 3, 5})
    forEveryPath(
        [&](train::Ops& ops) {
          const Floats result = run(ops);
          if (first.empty()) first = result;
          CHECK(result == first);
        },
        threads);
}

}  // namespace foretoken::test
