// Training on the device: matrix products in all orientations, losses with their gradients, whole linear layers with
// loss and optimiser steps against double references, bit for bit the same under every schedule and however work is
// sliced.
#include <cmath>
#include <limits>

#include "cuda/train/linear_loss.cuh"
#include "cuda/train/optimiser.cuh"
#include "cuda/train/small_moments.cuh"
#include "quant/float_codecs.h"
#include "test/cuda/schedules.h"
#include "test/native/check.h"

namespace foretoken::test {
namespace {

using namespace foretoken::cuda;

size_t at(int64_t i) { return static_cast<size_t>(i); }

/// bf16 numbers, rows of `stride`; what lies between the rows is NaN.
struct Matrix16 {
  Matrix16(std::mt19937& random, int rows, int columns, float deviation = 1)
      : rows(rows),
        columns(columns),
        stride(roundUp(columns, 8)),
        memory(at(rows * stride) / 8 + 1, uint4{~0u, ~0u, ~0u, ~0u}) {
    const std::vector<float> values = normalFloats(random, at(rows * columns), deviation);
    for (int r = 0; r < rows; ++r)
      for (int c = 0; c < columns; ++c) data()[r * stride + c] = floatToBf16(values[at(r * columns + c)]);
  }
  uint16_t* data() { return reinterpret_cast<uint16_t*>(memory.data()); }
  double operator()(int r, int c) { return bf16ToFloat(data()[r * stride + c]); }

  int rows, columns, stride;
  std::vector<uint4> memory;
};

void runGemm(const GemmArgs& g, int processors) {
  for (const GemmSlice& slice : planGemm(g, processors)) launchGemm(g, slice, nullptr);
}

// --- products --------------------------------------------------------------------------------------------------------

void testGemm(int rows, int columns, int depth, bool aTransposed, bool bTransposed, bool accumulate) {
  std::mt19937 random(static_cast<unsigned>(rows * 31 + columns * 7 + depth));
  Matrix16 a = aTransposed ? Matrix16(random, depth, rows) : Matrix16(random, rows, depth);
  Matrix16 b = bTransposed ? Matrix16(random, depth, columns) : Matrix16(random, columns, depth);
  const std::vector<float> before = normalFloats(random, at(rows * columns));
  std::vector<float> out = before;
  GemmArgs g{{a.data(), a.stride, rows, aTransposed},
             {b.data(), b.stride, columns, bTransposed},
             depth,
             out.data(),
             columns,
             accumulate};
  runGemm(g, 3);
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < columns; ++c) {
      double exact = accumulate ? before[at(r * columns + c)] : 0, size = std::abs(exact);
      for (int k = 0; k < depth; ++k) {
        const double product = (aTransposed ? a(k, r) : a(r, k)) * (bTransposed ? b(k, c) : b(c, k));
        exact += product;
        size += std::abs(product);
      }
      CHECK(std::abs(out[at(r * columns + c)] - exact) <= 2e-6 * size + 1e-30);
    }
  // However sliced, under whatever schedule, and with fewer rows: the same bits.
  forEachSchedule(longRun() ? 6 : 2, [&] {
    std::vector<float> again = before;
    g.out = again.data();
    runGemm(g, 1);
    CHECK(again == out);
  });
  std::vector<float> fewer(before.begin(), before.begin() + (rows + 1) / 2 * columns);
  g.out = fewer.data();
  g.a.outer = (rows + 1) / 2;
  runGemm(g, 2);
  CHECK(std::equal(fewer.begin(), fewer.end(), out.begin()));
}

void testGemms() {
  const std::vector<std::array<int, 3>> shapes = {{1, 16, 16}, {5, 130, 40}, {129, 16, 33}, {140, 136, 200}};
  for (const auto& [rows, columns, depth] : shapes)
    for (const bool accumulate : {false, true}) {
      testGemm(rows, columns, depth, false, false, accumulate);
      testGemm(rows, columns, depth, false, true, accumulate);
      testGemm(rows, columns, depth, true, true, accumulate);
    }
  testGemm(3, 8, kDepthPart + 40, false, true, false);
}

void testPlan() {
  const GemmArgs g{{nullptr, 0, 300, false}, {nullptr, 0, 5000, false}, 3 * kDepthPart + 5, nullptr, 0, false};
  for (const int processors : {1, 16, 132}) {
    int64_t products = 0;
    for (const GemmSlice& s : planGemm(g, processors)) {
      const int64_t each = int64_t{kTile} * kTile * (s.depthEnd - s.depthBegin);
      CHECK(s.depthEnd - s.depthBegin <= kDepthPart);
      CHECK((s.tiles + processors - 1) / processors * each <= 2 * kProductsPerSlice);
      products += s.tiles * each;
    }
    CHECK(products == int64_t{3 * 40} * kTile * kTile * g.depth);
  }
}

// --- losses ----------------------------------------------------------------------------------------------------------

struct Label {
  std::vector<int32_t> token;
  std::vector<float> probability;
  std::vector<float> rest;
  int listed;
};

/// Labels of `listed` places a row, some of them empty; the last row lists all that matters, the first nothing.
Label randomLabels(std::mt19937& random, int rows, int listed, int vocabulary) {
  Label label{{}, {}, {}, listed};
  std::uniform_real_distribution<float> uniform(0, 1);
  for (int r = 0; r < rows; ++r) {
    std::vector<int32_t> all(at(vocabulary));
    for (int i = 0; i < vocabulary; ++i) all[at(i)] = i;
    std::shuffle(all.begin(), all.end(), random);
    float left = r % 2 == 0 ? 1 : 0.8f;
    for (int n = 0; n < listed; ++n) {
      const bool none = r == 0 || random() % 5 == 0;
      const float p = none ? 0 : left * uniform(random) * 0.5f;
      label.token.push_back(none ? -1 : all[at(n)]);
      label.probability.push_back(p);
      left -= p;
    }
    label.rest.push_back(r == rows - 1 ? 0 : left);
  }
  return label;
}

struct ExactLoss {
  double kl = 0, acceptance = 0;
  std::vector<double> gradient;
};

/// The target's probabilities of tokens, and of "any other" last; likewise the draft's. A gradient of "any other" is
/// shared by what the draft gives each.
ExactLoss exactLoss(const std::vector<double>& logits, const std::vector<double>& target,
                    const std::vector<bool>& listed, double rest, double kl, double rejection, double weight) {
  const int n = static_cast<int>(logits.size());
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0, others = 0;
  for (const double x : logits) sum += std::exp(x - top);
  std::vector<double> q;
  for (int i = 0; i < n; ++i) q.push_back(std::exp(logits[at(i)] - top) / sum), others += listed[at(i)] ? 0 : q.back();
  double mass = others > 0 ? rest : 0, falling = 0;
  ExactLoss loss;
  const auto add = [&](double draft, double p) {
    loss.kl += formula::klTerm(p, draft);
    loss.acceptance += std::min(p, draft);
    falling += draft < p ? draft : 0;
  };
  if (others > 0) add(others, rest);
  for (int i = 0; i < n; ++i)
    if (listed[at(i)]) add(q[at(i)], target[at(i)]), mass += target[at(i)];
  const auto gradient = [&](double draft, double p) {
    return weight *
           (kl * formula::klGradient(draft, p, mass) + rejection * formula::rejectionGradient(draft, p, falling));
  };
  for (int i = 0; i < n; ++i)
    loss.gradient.push_back(listed[at(i)] ? gradient(q[at(i)], target[at(i)])
                                          : gradient(others, rest) * q[at(i)] / others);
  return loss;
}

/// Results of rows of losses, poison before they are there.
struct Results {
  explicit Results(int rows) : kl(at(rows), -1), acceptance(at(rows), -1), top(at(rows), -1) {}
  void fill(LossArgs& a) { a.klOut = kl.data(), a.acceptance = acceptance.data(), a.top = top.data(); }
  std::vector<float> kl, acceptance;
  std::vector<int32_t> top;
};

void testLoss(int vocabulary, int listed, bool dense, float kl, float rejection, float spread) {
  constexpr int kRows = 4;
  std::mt19937 random(static_cast<unsigned>(vocabulary + listed));
  const std::vector<float> logits = normalFloats(random, at(kRows * vocabulary), spread);
  const std::vector<float> target = normalFloats(random, at(kRows * vocabulary), spread);
  const Label label = randomLabels(random, kRows, listed, vocabulary);
  const std::vector<float> weight = {1, 0.25f, 0, 2};
  Results results(kRows);
  std::vector<uint16_t> gradient(at(kRows * vocabulary), 0xffff);
  LossArgs a{};
  a.logits = logits.data();
  a.vocabulary = vocabulary;
  a.kl = kl, a.rejection = rejection;
  a.weight = weight.data();
  a.token = label.token.data(), a.probability = label.probability.data(), a.rest = label.rest.data(), a.listed = listed;
  a.target = dense ? target.data() : nullptr;
  a.gradient = gradient.data();
  results.fill(a);
  launchLoss(a, kRows, nullptr);
  for (int r = 0; r < kRows; ++r) {
    std::vector<double> x, p(at(vocabulary));
    std::vector<bool> isListed(at(vocabulary), dense);
    double targetSum = 0;
    for (int i = 0; i < vocabulary; ++i)
      x.push_back(logits[at(r * vocabulary + i)]),
          targetSum += std::exp(static_cast<double>(target[at(r * vocabulary + i)]));
    for (int i = 0; i < vocabulary && dense; ++i)
      p[at(i)] = std::exp(static_cast<double>(target[at(r * vocabulary + i)])) / targetSum;
    for (int n = 0; n < listed && !dense; ++n) {
      const int32_t token = label.token[at(r * listed + n)];
      if (token >= 0) p[at(token)] = label.probability[at(r * listed + n)], isListed[at(token)] = true;
    }
    const ExactLoss exact = exactLoss(x, p, isListed, dense ? 0 : label.rest[at(r)], kl, rejection, weight[at(r)]);
    CHECK(std::abs(results.kl[at(r)] - exact.kl) < 2e-5 * (1 + exact.kl));
    CHECK(std::abs(results.acceptance[at(r)] - exact.acceptance) < 1e-5);
    CHECK(results.top[at(r)] == std::max_element(x.begin(), x.end()) - x.begin());
    for (int i = 0; i < vocabulary; ++i) {
      const double expected = exact.gradient[at(i)];
      CHECK(std::abs(bf16ToFloat(gradient[at(r * vocabulary + i)]) - expected) <= 0.004 * std::abs(expected) + 2e-7);
    }
  }
  forEachSchedule(longRun() ? 4 : 2, [&] {
    Results again(kRows);
    std::vector<uint16_t> sameGradient(gradient.size());
    a.gradient = sameGradient.data();
    again.fill(a);
    launchLoss(a, kRows, nullptr);
    CHECK(sameGradient == gradient && again.kl == results.kl && again.acceptance == results.acceptance);
  });
}

void testLosses() {
  for (const int vocabulary : {16, 208, 1040}) {
    testLoss(vocabulary, std::min(vocabulary, 13), false, 1, 0, 2);
    testLoss(vocabulary, std::min(vocabulary, kMostListedOnDevice), false, 0.5f, 0.7f, 4);
    testLoss(vocabulary, 0, true, 1, 0.3f, 2);
  }
  testLoss(64, 5, false, 1, 1, 30);
}

/// Layers, loss and gradients together, from rows that need more than one chunk.
void testLinearLoss(bool dense) {
  const int rows = kChunkRows + 5, vocabulary = 144;
  std::mt19937 random(6);
  Matrix16 x(random, rows, 40), w(random, vocabulary, 40, 0.2f), x2(random, rows, 8), w2(random, vocabulary, 8, 0.2f);
  Matrix16 state(random, rows, 24), output(random, vocabulary, 24, 0.2f);
  std::vector<float> dx(at(rows * 40), NAN), dw = normalFloats(random, at(vocabulary * 40)), dx2(at(rows * 8), NAN);
  const std::vector<float> before = dw;
  const Label label = randomLabels(random, rows, 7, vocabulary);
  std::vector<float> weight = normalFloats(random, at(rows));
  Results results(rows);
  LossArgs loss{};
  loss.vocabulary = vocabulary;
  loss.kl = 1, loss.rejection = 0.5f;
  loss.weight = weight.data();
  loss.token = label.token.data(), loss.probability = label.probability.data(), loss.rest = label.rest.data(),
  loss.listed = 7;
  results.fill(loss);
  std::vector<float> logits(at(kChunkRows * vocabulary), NAN), target = logits;
  std::vector<uint4> gradient(at(kChunkRows * vocabulary) / 8, uint4{~0u, ~0u, ~0u, ~0u});
  const LossTerm terms[] = {{x.data(), w.data(), 40, dx.data(), dw.data()},
                            {x2.data(), w2.data(), 8, dx2.data(), nullptr}};
  const TargetState states{state.data(), output.data(), 24};
  const LinearLossPlan plan(terms, dense ? &states : nullptr, rows, loss,
                            {logits.data(), target.data(), reinterpret_cast<uint16_t*>(gradient.data())}, 2);
  for (size_t s = 0; s < plan.size(); ++s) plan.run(s, nullptr);
  CHECK(plan.size() == (dense ? 21 : 19));  // launches
  std::vector<double> exactDw(before.begin(), before.end()), sizeDw(before.size());
  for (int r = 0; r < rows; ++r) {
    std::vector<double> u(at(vocabulary)), p(at(vocabulary));
    std::vector<bool> isListed(at(vocabulary), dense);
    double targetSum = 0;
    for (int v = 0; v < vocabulary; ++v) {
      for (int i = 0; i < 40; ++i) u[at(v)] += x(r, i) * w(v, i);
      for (int i = 0; i < 8; ++i) u[at(v)] += x2(r, i) * w2(v, i);
      double t = 0;
      for (int i = 0; i < 24; ++i) t += state(r, i) * output(v, i);
      if (dense) targetSum += p[at(v)] = std::exp(t);
    }
    for (double& v : p) v /= dense ? targetSum : 1;
    for (int n = 0; n < 7 && !dense; ++n) {
      const int32_t token = label.token[at(r * 7 + n)];
      if (token >= 0) p[at(token)] = label.probability[at(r * 7 + n)], isListed[at(token)] = true;
    }
    const ExactLoss exact = exactLoss(u, p, isListed, dense ? 0 : label.rest[at(r)], 1, 0.5, weight[at(r)]);
    CHECK(std::abs(results.kl[at(r)] - exact.kl) < 1e-4 * (1 + exact.kl));
    for (int i = 0; i < 40; ++i) {
      double expected = 0, size = 0;
      for (int v = 0; v < vocabulary; ++v) {
        expected += exact.gradient[at(v)] * w(v, i);
        size += std::abs(exact.gradient[at(v)] * w(v, i));
        exactDw[at(v * 40 + i)] += exact.gradient[at(v)] * x(r, i);
        sizeDw[at(v * 40 + i)] += std::abs(exact.gradient[at(v)] * x(r, i));
      }
      CHECK(std::abs(dx[at(r * 40 + i)] - expected) <= 0.004 * size + 1e-6);
    }
    for (int i = 0; i < 8; ++i) {
      double expected = 0, size = 0;
      for (int v = 0; v < vocabulary; ++v)
        expected += exact.gradient[at(v)] * w2(v, i), size += std::abs(exact.gradient[at(v)] * w2(v, i));
      CHECK(std::abs(dx2[at(r * 8 + i)] - expected) <= 0.004 * size + 1e-6);
    }
  }
  for (size_t i = 0; i < dw.size(); ++i) CHECK(std::abs(dw[i] - exactDw[i]) <= 0.004 * sizeDw[i] + 1e-5);
}

// --- optimisers ------------------------------------------------------------------------------------------------------

struct Tensors {
  std::vector<float> gradient, weight, mean, square;
  std::vector<uint16_t> rounded;
};

/// One whole step of two tensors, one of AdamW and one of SGD; the clip it took.
Clip step(Tensors& t, int64_t first, int64_t count, const formula::AdamW& adamw, const formula::Momentum& momentum,
          float most) {
  const int64_t pieces = ceilDiv(first, int64_t{kNormPiece}), more = ceilDiv(count, int64_t{kNormPiece});
  std::vector<double> partial(at(pieces + more), NAN);
  Clip clip{};
  launch(sumSquares, dim3(static_cast<unsigned>(pieces)), dim3(kStepThreads), 0, nullptr, t.gradient.data(), first,
         partial.data());
  launch(sumSquares, dim3(static_cast<unsigned>(more)), dim3(kStepThreads), 0, nullptr, t.gradient.data() + first,
         count, partial.data() + pieces);
  launch(finishNorm, dim3(1), dim3(kStepThreads), 0, nullptr, partial.data(), static_cast<int>(pieces + more), most,
         &clip);
  const StepArgs one{t.gradient.data(), t.weight.data(), t.rounded.data(), t.mean.data(), t.square.data(), first};
  const StepArgs other{
      t.gradient.data() + first, t.weight.data() + first, nullptr, t.mean.data() + first, nullptr, count};
  launchStep(adamwStep, one, adamw, 0, &clip, nullptr);
  launchStep(sgdStep, other, momentum, 0, &clip, nullptr);
  return clip;
}

/// The rule of step n, counted from 1.
formula::AdamW adamwAt(int n) {
  const auto step = static_cast<float>(n);
  return {0.01f, 0.9f, 0.95f, 1e-8f, 0.1f, 1 - std::pow(0.9f, step), 1 - std::pow(0.95f, step)};
}

void testOptimisers() {
  constexpr int64_t kFirst = kNormPiece + 77, kCount = 2051;
  std::mt19937 random(8);
  Tensors t;
  t.weight = normalFloats(random, kFirst + kCount);
  t.mean.resize(t.weight.size()), t.square.resize(t.weight.size()), t.rounded.resize(t.weight.size(), 0xffff);
  std::vector<double> weight(t.weight.begin(), t.weight.end()), mean(weight.size()), square(weight.size());
  for (int n = 1; n <= 4; ++n) {
    t.gradient = normalFloats(random, t.weight.size(), n == 2 ? 1e-4f : 3);
    const formula::AdamW adamw = adamwAt(n);
    const formula::Momentum momentum{0.02f, 0.9f, 0.01f};
    const Tensors before = t;
    const Clip clip = step(t, kFirst, kCount, adamw, momentum, 1);
    double norm = 0;
    for (const float g : t.gradient) norm += static_cast<double>(g) * g;
    norm = std::sqrt(norm);
    const double scale = std::min(1.0, 1 / (norm + 1e-6));
    CHECK(std::abs(clip.norm - norm) < 1e-9 * norm && std::abs(clip.scale - scale) < 1e-6 * scale && clip.finite);
    for (size_t i = 0; i < weight.size(); ++i) {
      const double g = scale * t.gradient[i];
      if (i < kFirst) {
        mean[i] = 0.9 * mean[i] + 0.1 * g;
        square[i] = 0.95 * square[i] + 0.05 * g * g;
        const double corrected = mean[i] / (1 - std::pow(0.9, n)),
                     spread = std::sqrt(square[i] / (1 - std::pow(0.95, n))) + 1e-8;
        weight[i] = weight[i] * (1 - 0.01 * 0.1) - 0.01 * corrected / spread;
        CHECK(t.rounded[i] == floatToBf16(t.weight[i]));
      } else {
        mean[i] = 0.9 * mean[i] + (g + 0.01 * weight[i]);
        weight[i] -= 0.02 * mean[i];
        CHECK(t.rounded[i] == 0xffff);
      }
      CHECK(std::abs(t.weight[i] - weight[i]) < 2e-5);
    }
    forEachSchedule(2, [&] {
      Tensors again = before;
      step(again, kFirst, kCount, adamw, momentum, 1);
      CHECK(again.weight == t.weight && again.mean == t.mean && again.square == t.square);
    });
  }
  for (const float broken : {NAN, INFINITY}) {
    Tensors same = t;
    same.gradient[kFirst + 5] = broken;
    const Clip clip = step(same, kFirst, kCount, {}, {}, 1);
    CHECK(!clip.finite && same.weight == t.weight && same.mean == t.mean && same.square == t.square);
  }
}

/// AdamW whose moments are codes, and what they stand for.
struct SmallTensors {
  explicit SmallTensors(std::vector<float> start)
      : weight(std::move(start)),
        rounded(weight.size(), 0xffff),
        mean(weight.size()),
        root(weight.size()),
        meanScale(at(ceilDiv<int64_t>(static_cast<int64_t>(weight.size()), kMomentBlock))),
        rootScale(meanScale) {}
  void step(const std::vector<float>& gradient, const formula::AdamW& rule, uint64_t seed, const Clip& clip) {
    const StepArgs a{gradient.data(), weight.data(), rounded.data(),
                     nullptr,         nullptr,       static_cast<int64_t>(weight.size())};
    launchSmallStep(a, {mean.data(), root.data(), meanScale.data(), rootScale.data()}, rule, seed, 0, &clip, nullptr);
  }
  double meanOf(size_t i) const { return static_cast<double>(e4m3ToFloat(mean[i])) * meanScale[i / kMomentBlock]; }
  double rootOf(size_t i) const { return static_cast<double>(e4m3ToFloat(root[i])) * rootScale[i / kMomentBlock]; }

  std::vector<float> weight;
  std::vector<uint16_t> rounded;
  std::vector<uint8_t> mean, root;
  std::vector<float> meanScale, rootScale;
};

/// Weights move by the moments as they were, exactly; new moments are next to what they should be, and right on
/// average.
void testSmallMoments() {
  constexpr size_t kCount = 3 * kMomentBlock + 41;
  std::mt19937 random(10);
  SmallTensors t(normalFloats(random, kCount));
  for (int n = 1; n <= (longRun() ? 60 : 12); ++n) {
    const std::vector<float> gradient = normalFloats(random, kCount, 3);
    const Clip clip{1, 0.5f, 1};
    const SmallTensors before = t;
    t.step(gradient, adamwAt(n), static_cast<uint64_t>(n), clip);
    for (size_t i = 0; i < kCount; ++i) {
      const double g = 0.5 * gradient[i], root = before.rootOf(i);
      const double mean = 0.9 * before.meanOf(i) + 0.1 * g, square = 0.95 * root * root + 0.05 * g * g;
      const double expected =
          before.weight[i] * (1 - 0.01 * 0.1) -
          0.01 * (mean / (1 - std::pow(0.9, n))) / (std::sqrt(square / (1 - std::pow(0.95, n))) + 1e-8);
      CHECK(std::abs(t.weight[i] - expected) < 1e-5 && t.rounded[i] == floatToBf16(t.weight[i]));
      const double meanStep = std::max(std::abs(mean) / 8, t.meanScale[i / kMomentBlock] / 512.0);
      const double rootStep = std::max(std::sqrt(square) / 8, t.rootScale[i / kMomentBlock] / 512.0);
      CHECK(std::abs(t.meanOf(i) - mean) <= 1.001 * meanStep &&
            std::abs(t.rootOf(i) - std::sqrt(square)) <= 1.001 * rootStep);
    }
    SmallTensors again = before;
    simt::schedule = {static_cast<uint64_t>(n), {}};
    again.step(gradient, adamwAt(n), static_cast<uint64_t>(n), clip);
    simt::schedule = {};
    CHECK(again.weight == t.weight && again.mean == t.mean && again.root == t.root && again.meanScale == t.meanScale);
    SmallTensors skipped = before;
    skipped.step(gradient, adamwAt(n), 1, {1, 0.5f, 0});
    CHECK(skipped.weight == before.weight && skipped.mean == before.mean && skipped.root == before.root);
  }
}

/// Beside a number that keeps its size, others get smaller by 2.5 % a step, less than codes are apart: they get there
/// on average.
void testSmallMomentsMove() {
  constexpr int kSteps = 30;
  SmallTensors t(std::vector<float>(kMomentBlock, 1.0f));
  t.rootScale[0] = 1 / kGreatestCode;
  std::fill(t.root.begin(), t.root.end(), floatToE4m3(0.5f * kGreatestCode));
  t.root[0] = floatToE4m3(kGreatestCode);
  std::vector<float> gradient(kMomentBlock);
  gradient[0] = 1;
  for (int n = 1; n <= kSteps; ++n)
    t.step(gradient, {0.01f, 0.9f, 0.95f, 1e-8f, 0, 1, 1}, static_cast<uint64_t>(n), {1, 1, 1});
  double mean = 0;
  for (size_t i = 1; i < kMomentBlock; ++i) mean += t.rootOf(i) / (kMomentBlock - 1);
  const double expected = 0.5 * std::pow(0.95, 0.5 * kSteps);
  CHECK(std::abs(mean - expected) < 0.05 * expected);
}

/// Tensors with others between them move as one without gaps does, bit for bit, and the others stay.
void testStepRuns() {
  constexpr int64_t kCount = 2 * kMomentBlock + 900, kRoom = 2 * kCount;
  const std::vector<StepRun> runs = {{5, kCount + 100}, {kPiece + 1, -5}, {kCount, 30}};
  std::mt19937 random(11);
  const std::vector<float> gradient = normalFloats(random, kCount), start = normalFloats(random, kCount);
  struct Weights {
    std::vector<float> value, mean = std::vector<float>(kCount), square = mean;
    std::vector<uint16_t> rounded = std::vector<uint16_t>(value.size(), 0xffff);
  };
  Weights whole{start}, apart{std::vector<float>(kRoom, NAN)};
  std::vector<int64_t> place;
  for (int64_t i = 0; i < kCount; ++i) {
    const auto run = std::find_if(runs.begin(), runs.end(), [&](const StepRun& each) { return i < each.end; });
    place.push_back(i + run->shift);
    apart.value[at(place.back())] = start[at(i)];
  }
  const Clip clip{1, 0.5f, 1};
  const auto move = [&](Weights& w, const StepRun* of) {
    const StepArgs a{gradient.data(), w.value.data(), w.rounded.data(), w.mean.data(), w.square.data(), kCount, of};
    launchStep(adamwStep, a, adamwAt(1), 0, &clip, nullptr);
    launchStep(sgdStep, a, formula::Momentum{0.02f, 0.9f, 0.01f}, 0, &clip, nullptr);
    SmallTensors small(std::vector<float>(at(kCount)));
    launchSmallStep(a, {small.mean.data(), small.root.data(), small.meanScale.data(), small.rootScale.data()},
                    adamwAt(1), 1, 0, &clip, nullptr);
  };
  move(whole, nullptr), move(apart, runs.data());
  CHECK(apart.mean == whole.mean && apart.square == whole.square);
  for (int64_t i = 0; i < kCount; ++i) {
    CHECK(apart.value[at(place[at(i)])] == whole.value[at(i)]);
    CHECK(apart.rounded[at(place[at(i)])] == whole.rounded[at(i)]);
  }
  CHECK(std::count_if(apart.value.begin(), apart.value.end(), [](float x) { return std::isnan(x); }) == kRoom - kCount);
  CHECK(std::count(apart.rounded.begin(), apart.rounded.end(), 0xffff) == kRoom - kCount);
}

/// Slices of a large tensor are the whole.
void testStepSlices() {
  StepArgs a{};
  a.count = 2 * kElementSlice + 3;
  std::mt19937 random(9);
  std::vector<float> gradient(at(a.count), 0.5f), weight(at(a.count), 1), mean(at(a.count));
  a.gradient = gradient.data(), a.weight = weight.data(), a.mean = mean.data();
  const Clip clip{1, 1, 1};
  launchStep(sgdStep, a, formula::Momentum{1, 0, 0}, 2 * kElementSlice, &clip, nullptr);
  for (int64_t i = 2 * kElementSlice - 9; i < a.count; ++i) CHECK(weight[at(i)] == (i < 2 * kElementSlice ? 1 : 0.5f));
}

}  // namespace
}  // namespace foretoken::test

int main() {
  using namespace foretoken::test;
  testGemms();
  testPlan();
  testLosses();
  testLinearLoss(false);
  testLinearLoss(true);
  testOptimisers();
  testSmallMoments();
  testSmallMomentsMove();
  testStepRuns();
  testStepSlices();
  return finish("train");
}
