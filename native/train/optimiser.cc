#include "train/optimiser.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "common/error.h"

namespace foretoken::train {
namespace {

/// Floats whose squares one thread sums; sums of pieces are added in order.
constexpr int64_t kPiece = 16384;

}  // namespace

float Schedule::at(int64_t step) const {
  if (step < warmup) return peak * static_cast<float>(step + 1) / static_cast<float>(warmup);
  const double done =
      std::min(1.0, static_cast<double>(step - warmup) / static_cast<double>(std::max<int64_t>(1, total - warmup)));
  return peak * static_cast<float>(floor + (1 - floor) * (1 + std::cos(std::numbers::pi * done)) / 2);
}

formula::AdamW adamwAt(int64_t step, float rate, const OptimiserOptions& options) {
  const auto steps = static_cast<double>(step);
  return {.rate = rate,
          .beta1 = options.beta1,
          .beta2 = options.beta2,
          .epsilon = options.epsilon,
          .decay = options.decay,
          .correction1 = static_cast<float>(1 - std::pow(options.beta1, steps)),
          .correction2 = static_cast<float>(1 - std::pow(options.beta2, steps))};
}

Optimiser::Optimiser(Ops& ops, const Parameters& parameters, std::vector<Rule> rules, OptimiserOptions options)
    : ops_(ops), parameters_(parameters), rules_(std::move(rules)), options_(options) {
  for (size_t i = 0; i < rules_.size(); ++i)
    if (rules_[i] == Rule::muon && !parameters.all()[i].isMatrix())
      throw Error("SHAPE_MISMATCH", "Muon moves matrices; " + parameters.all()[i].name + " is a vector");
  const auto& all = parameters.all();
  int64_t moving = 0;
  for (size_t i = 0; i < rules_.size(); ++i) {
    first_.push_back(moving);
    const int64_t end = i + 1 < all.size() ? all[i + 1].offset : parameters.size();
    if (rules_[i] != Rule::frozen) moving += end - all[i].offset;  // with what lies between it and the next one
  }
  moments_.resize(2 * moving);
}

double Optimiser::squares(const float* x, int64_t count) {
  partial_.assign((count + kPiece - 1) / kPiece, 0.0);
  ops_.threads().run(static_cast<int64_t>(partial_.size()), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i)
      partial_[i] = ops_.kernels().squares(x + i * kPiece, std::min(kPiece, count - i * kPiece));
  });
  double sum = 0;
  for (const double p : partial_) sum += p;
  return sum;
}

StepReport Optimiser::step(float rate, const float* gradient, float* weight) {
  StepReport report;
  double sum = 0;
  for (size_t i = 0; i < rules_.size(); ++i) {
    if (rules_[i] == Rule::frozen) continue;
    const Parameter& p = parameters_.all()[i];
    const double part = squares(gradient + p.offset, p.size());
    if (!std::isfinite(part) && report.notFinite.empty()) report.notFinite = p.name;
    sum += part;
  }
  report.norm = std::sqrt(sum);
  report.skipped = !report.notFinite.empty();
  if (report.skipped) return report;
  ++steps_;
  const float scale = static_cast<float>(std::min(1.0, options_.clip / (report.norm + 1e-6)));
  for (size_t i = 0; i < rules_.size(); ++i) {
    const Parameter& p = parameters_.all()[i];
    float* const moment = moments_.data() + first_[i];
    switch (rules_[i]) {
      case Rule::frozen: break;
      case Rule::sgd: sgd(p, moment, rate, scale, gradient, weight); break;
      case Rule::adamw: adamw(p, moment, rate, scale, gradient, weight); break;
      case Rule::muon: muon(p, moment, rate, scale, gradient, weight); break;
    }
  }
  return report;
}

void Optimiser::adamw(const Parameter& p, float* moment, float rate, float scale, const float* gradient,
                      float* weight) {
  const formula::AdamW step = adamwAt(steps_, rate, options_);
  float* const square = moment + moments_.size() / 2;
  ops_.threads().run(p.size(), [&](int64_t begin, int64_t end, int) {
    const int64_t at = p.offset + begin;
    ops_.kernels().adamw(step, scale, gradient + at, end - begin, weight + at, moment + begin, square + begin);
  });
}

void Optimiser::sgd(const Parameter& p, float* moment, float rate, float scale, const float* gradient, float* weight) {
  const formula::Momentum step{.rate = rate, .momentum = options_.momentum, .decay = options_.decay};
  ops_.threads().run(p.size(), [&](int64_t begin, int64_t end, int) {
    const int64_t at = p.offset + begin;
    ops_.kernels().sgd(step, scale, gradient + at, end - begin, weight + at, moment + begin);
  });
}

void Optimiser::muon(const Parameter& p, float* moment, float rate, float scale, const float* gradient, float* weight) {
  float* const w = weight + p.offset;
  float* const m = moment;
  const float* const g = gradient + p.offset;
  const float momentum = options_.momentum;
  x_.resize(p.size());
  ops_.threads().run(p.size(), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      m[i] = momentum * m[i] + scale * g[i];
      x_[i] = momentum * m[i] + scale * g[i];  // Nesterov's look ahead
    }
  });
  orthogonalise(p.rows, p.columns);
  const float length = rate * 0.2f * std::sqrt(static_cast<float>(std::max(p.rows, p.columns)));
  const float keep = 1 - rate * options_.decay;
  ops_.threads().run(p.size(), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) w[i] = keep * w[i] - length * x_[i];
  });
}

/// Takes x_ [rows, columns] near the closest matrix whose singular values are all 1, by five Newton-Schulz iterations
/// x = a x + (b x x^T + c (x x^T)^2) x. Their coefficients trade exactness for speed: singular values end up in
/// [0.7, 1.2].
void Optimiser::orthogonalise(int64_t rows, int64_t columns) {
  constexpr int kIterations = 5;
  constexpr float a = 3.4445f, b = -4.7750f, c = 2.0315f;
  const int64_t size = rows * columns, side = std::min(rows, columns);
  const float inverse = static_cast<float>(1 / (std::sqrt(squares(x_.data(), size)) + 1e-7));
  for (float& x : x_) x *= inverse;
  y_.resize(size), a_.resize(side * side), b_.resize(side * side);
  const MatrixView x = rowsOf(x_.data(), rows, columns), squareOfX = rowsOf(a_.data(), side, side);
  const bool tall = rows > columns;  // then x^T x is the smaller product, and multiplies from the right
  for (int i = 0; i < kIterations; ++i) {
    ops_.gemm().multiply(tall ? x.transposed() : x, tall ? x : x.transposed(), a_.data());
    ops_.gemm().multiply(squareOfX, squareOfX, b_.data());
    for (int64_t k = 0; k < side * side; ++k) b_[k] = b * a_[k] + c * b_[k];
    const MatrixView polynomial = rowsOf(b_.data(), side, side);
    ops_.gemm().multiply(tall ? x : polynomial, tall ? polynomial : x, y_.data());
    for (int64_t k = 0; k < size; ++k) x_[k] = a * x_[k] + y_[k];
  }
}

}  // namespace foretoken::train
