// Every operation of training: values against a reference in double, gradients against finite differences of it, and
// the same bits on every path with any number of threads.
#include "allocation_meter.h"
#include "train_rig.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;
using namespace foretoken::train;

constexpr double kClose = 2e-5;  ///< fp32 sums against double
constexpr double kSlope = 2e-4;  ///< gradients against finite differences

Doubles product(const Doubles& x, const Doubles& w, int64_t rows, int64_t inputs, int64_t outputs) {
  Doubles y(rows * outputs);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t o = 0; o < outputs; ++o)
      for (int64_t i = 0; i < inputs; ++i) y[r * outputs + o] += x[r * inputs + i] * w[o * inputs + i];
  return y;
}

void testLinear(int64_t rows, int64_t inputs, int64_t outputs) {
  const Floats x = randomValues(rows * inputs, 1), w = randomValues(outputs * inputs, 2);
  const Floats dy = randomValues(rows * outputs, 3);
  const Doubles X = inDouble(x), W = inDouble(w), DY = inDouble(dy);
  const Doubles y = product(X, W, rows, inputs, outputs);
  Doubles dx(rows * inputs), dw(outputs * inputs, 1);  // dw starts at 1: gradients are added to
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t o = 0; o < outputs; ++o)
      for (int64_t i = 0; i < inputs; ++i) {
        dx[r * inputs + i] += DY[r * outputs + o] * W[o * inputs + i];
        dw[o * inputs + i] += DY[r * outputs + o] * X[r * inputs + i];
      }
  forEveryPath([&](Ops& ops) {
    Floats out(y.size()), din(dx.size(), 5), dweight(dw.size(), 1);
    ops.linear(x.data(), w.data(), rows, inputs, outputs, out.data());
    ops.linearBackward(x.data(), w.data(), dy.data(), rows, inputs, outputs, din.data(), dweight.data(), false);
    CHECK(difference(out, y) < kClose);
    CHECK(difference(din, dx) < kClose);
    CHECK(difference(dweight, dw) < kClose);
  });
}

void testLinearBits() {
  const int64_t rows = 150, inputs = 202, outputs = 100;
  Floats x = randomValues(rows * inputs, 1), w = randomValues(outputs * inputs, 2);
  for (float& v : x) v *= 1.01f;  // not representable in bf16: rounding is part of the promise
  checkSameBits([&](Ops& ops) {
    Floats all(rows * outputs + outputs * inputs);
    ops.linear(x.data(), w.data(), rows, inputs, outputs, all.data());
    ops.linearBackward(x.data(), w.data(), all.data(), rows, inputs, outputs, nullptr, all.data() + rows * outputs);
    return all;
  });
  forEveryPath([&](Ops& ops) {  // a row alone
    Floats all(rows * outputs), one(outputs);
    ops.linear(x.data(), w.data(), rows, inputs, outputs, all.data());
    ops.linear(x.data() + 77 * inputs, w.data(), 1, inputs, outputs, one.data());
    CHECK(std::equal(one.begin(), one.end(), all.begin() + 77 * outputs));
  });
}

void testNorm() {
  const int64_t rows = 3, width = 32;
  const Floats x = randomValues(rows * width, 1, 3), scale = randomValues(width, 2), dy = randomValues(rows * width, 3);
  const auto forward = [&](const Doubles& X, const Doubles& W) {
    Doubles y(X.size());
    for (int64_t r = 0; r < rows; ++r) {
      double squares = 0;
      for (int64_t i = 0; i < width; ++i) squares += X[r * width + i] * X[r * width + i];
      for (int64_t i = 0; i < width; ++i)
        y[r * width + i] = X[r * width + i] / std::sqrt(squares / width + 1e-5) * W[i];
    }
    return y;
  };
  const Doubles X = inDouble(x), W = inDouble(scale), DY = inDouble(dy);
  const Doubles dx = slopes(X, [&](const Doubles& v) { return dot(DY, forward(v, W)); });
  const Doubles dscale = slopes(W, [&](const Doubles& v) { return dot(DY, forward(X, v)); });
  checkSameBits([&](Ops& ops) {
    Floats y(x.size()), inverse(rows), din(x.size()), ds(width);
    ops.norm(x.data(), scale.data(), 1e-5f, rows, width, y.data(), inverse.data());
    ops.normBackward(x.data(), scale.data(), inverse.data(), dy.data(), rows, width, din.data(), ds.data());
    CHECK(difference(y, forward(X, W)) < kClose);
    CHECK(difference(din, dx) < kSlope);
    CHECK(difference(ds, dscale) < kSlope);
    y.insert(y.end(), din.begin(), din.end());
    y.insert(y.end(), ds.begin(), ds.end());
    return y;
  });
}

void testSwiglu() {
  const int64_t rows = 3, width = 32, count = rows * width;
  const Floats gate = randomValues(count, 1, 3), up = randomValues(count, 2), dy = randomValues(count, 3);
  const Doubles G = inDouble(gate), U = inDouble(up), DY = inDouble(dy);
  const auto forward = [&](const Doubles& g, const Doubles& u) {
    Doubles y(count);
    for (int64_t i = 0; i < count; ++i) y[i] = g[i] / (1 + std::exp(-g[i])) * u[i];
    return y;
  };
  const Doubles dgate = slopes(G, [&](const Doubles& v) { return dot(DY, forward(v, U)); });
  const Doubles dup = slopes(U, [&](const Doubles& v) { return dot(DY, forward(G, v)); });
  checkSameBits([&](Ops& ops) {
    Floats y(count), dg = dy, du(count);
    ops.swiglu(gate.data(), up.data(), rows, width, y.data());
    ops.swigluBackward(gate.data(), up.data(), dg.data(), rows, width, dg.data(), du.data());
    CHECK(difference(y, forward(G, U)) < kClose);
    CHECK(difference(dg, dgate) < kSlope);
    CHECK(difference(du, dup) < kSlope);
    y.insert(y.end(), dg.begin(), dg.end());
    return y;
  });
}

void testRotate() {
  const int64_t heads = 2, width = 16;
  const std::vector<int32_t> position = {0, 3, 1000};
  const Floats x = randomValues(3 * heads * width, 1), dy = randomValues(3 * heads * width, 2);
  const RotaryTable table(1001, width, 10000);
  const auto forward = [&](const Doubles& in) {
    Doubles y(in.size());
    for (size_t r = 0; r < 3; ++r)
      for (int64_t h = 0; h < heads; ++h)
        for (int64_t i = 0; i < width / 2; ++i) {
          const size_t a = (r * heads + h) * width + i, b = a + width / 2;
          const double angle = position[r] * std::pow(10000.0, -2.0 * i / width);
          y[a] = in[a] * std::cos(angle) - in[b] * std::sin(angle);
          y[b] = in[b] * std::cos(angle) + in[a] * std::sin(angle);
        }
    return y;
  };
  const Doubles dx = slopes(inDouble(x), [&](const Doubles& v) { return dot(inDouble(dy), forward(v)); });
  forEveryPath([&](Ops& ops) {
    Floats y = x, din = dy;
    ops.rotate(y.data(), table, position, heads);
    ops.rotate(din.data(), table, position, heads, true);
    CHECK(difference(y, forward(inDouble(x))) < kClose);
    CHECK(difference(din, dx) < kSlope);
  });
}

void testEmbed() {
  const std::vector<uint16_t> table = {0x3f80, 0x4000, 0xbf80, 0x3f00};  // 1, 2; -1, 0.5
  forEveryPath([&](Ops& ops) {
    Floats y(4);
    ops.embed(table.data(), std::vector<int32_t>{1, 0}, 2, y.data());
    CHECK((y == Floats{-1, 0.5, 1, 2}));
  });
}

/// Two sequences with keys out of order in one matrix, among them long ranges, single keys and keys that nobody sees.
AttentionPlan twoSequences() {
  AttentionPlan plan;
  plan.keyRows = {{10, 80}, {0, 5}, {80, 100}};
  plan.firstKeyRows = {0, 2, 3};
  for (int64_t i = 0; i < 3; ++i) {
    plan.ranges.push_back({0, i + 1});
    plan.ranges.push_back({70 + i, 71 + i});
    plan.firstRange.push_back(static_cast<int64_t>(plan.ranges.size()));
  }
  plan.ranges.push_back({2, 75});
  plan.firstRange.push_back(static_cast<int64_t>(plan.ranges.size()));
  plan.firstQuery.push_back(4);
  for (int64_t i = 0; i < 2; ++i) {
    plan.ranges.push_back({3 * i, 3 * i + 17});
    plan.firstRange.push_back(static_cast<int64_t>(plan.ranges.size()));
  }
  plan.firstQuery.push_back(6);
  return plan;
}

/// Row of the key matrix of a sequence's key n.
int64_t keyRow(const AttentionPlan& plan, int64_t sequence, int64_t n) {
  for (int64_t s = plan.firstKeyRows[sequence];; ++s) {
    const int64_t size = plan.keyRows[s].end - plan.keyRows[s].begin;
    if (n < size) return plan.keyRows[s].begin + n;
    n -= size;
  }
}

Doubles attention(const Heads& heads, const AttentionPlan& plan, const Doubles& q, const Doubles& k, const Doubles& v) {
  Doubles out(q.size());
  const int64_t width = heads.width;
  for (int64_t s = 0; s < plan.sequences(); ++s)
    for (int64_t i = plan.firstQuery[s]; i < plan.firstQuery[s + 1]; ++i)
      for (int64_t h = 0; h < heads.queries; ++h) {
        const double* query = q.data() + (i * heads.queries + h) * width;
        double* y = out.data() + (i * heads.queries + h) * width;
        double sum = 0;
        for (int64_t r = plan.firstRange[i]; r < plan.firstRange[i + 1]; ++r)
          for (int64_t n = plan.ranges[r].begin; n < plan.ranges[r].end; ++n) {
            const int64_t at = (keyRow(plan, s, n) * heads.keys + h / heads.group()) * width;
            double score = 0;
            for (int64_t d = 0; d < width; ++d) score += query[d] * k[at + d];
            const double e = std::exp(score / std::sqrt(width));
            sum += e;
            for (int64_t d = 0; d < width; ++d) y[d] += e * v[at + d];
          }
        for (int64_t d = 0; d < width; ++d) y[d] /= sum;
      }
  return out;
}

void testAttention() {
  const Heads heads{4, 2, 16};
  const AttentionPlan plan = twoSequences();
  const Floats q = randomValues(6 * 64, 1), k = randomValues(100 * 32, 2), v = randomValues(100 * 32, 3);
  const Floats dy = randomValues(6 * 64, 4);
  const Doubles Q = inDouble(q), K = inDouble(k), V = inDouble(v), DY = inDouble(dy);
  const Doubles dq = slopes(Q, [&](const Doubles& x) { return dot(DY, attention(heads, plan, x, K, V)); });
  const Doubles dk = slopes(K, [&](const Doubles& x) { return dot(DY, attention(heads, plan, Q, x, V)); });
  const Doubles dv = slopes(V, [&](const Doubles& x) { return dot(DY, attention(heads, plan, Q, K, x)); });
  checkSameBits([&](Ops& ops) {
    Floats out(q.size()), sums(6 * heads.queries), gq(q.size()), gk(k.size()), gv(v.size());
    ops.attend(heads, plan, q.data(), k.data(), v.data(), out.data(), sums.data());
    ops.attendBackward(heads, plan, q.data(), k.data(), v.data(), out.data(), sums.data(), dy.data(), gq.data(),
                       gk.data(), gv.data());
    CHECK(difference(out, attention(heads, plan, Q, K, V)) < kClose);
    CHECK(difference(gq, dq) < kSlope);
    CHECK(difference(gk, dk) < kSlope);
    CHECK(difference(gv, dv) < kSlope);
    gq.insert(gq.end(), gk.begin(), gk.end());
    return gq;
  });
}

/// Once attention was as large, jobs on other threads, which must not throw, allocate nothing.
void testAttentionAllocates() {
  const Heads heads{4, 2, 16};
  const AttentionPlan plan = twoSequences();
  const Floats q = randomValues(6 * 64, 1), k = randomValues(100 * 32, 2), v = randomValues(100 * 32, 3);
  ThreadPool pool(2);
  Ops ops(pool, Isa::portable);
  Floats out(q.size()), sums(6 * heads.queries), gq(q.size()), gk(k.size()), gv(v.size());
  const auto bytes = [&] {
    return bytesAllocatedBy([&] {
      ops.attend(heads, plan, q.data(), k.data(), v.data(), out.data(), sums.data());
      ops.attendBackward(heads, plan, q.data(), k.data(), v.data(), out.data(), sums.data(), q.data(), gq.data(),
                         gk.data(), gv.data());
    });
  };
  CHECK(bytes() > 0);
  for (int call = 0; call < 20; ++call) CHECK(bytes() == 0);
}

constexpr int64_t kVocabulary = 48, kListed = 3, kInputs = 32;

/// The loss of one row of logits as its definition says; `dense` = probabilities of all, else listed and rest.
double lossOf(const double* logits, const Doubles& dense, const RowLabel& label, const LossWeights& weights) {
  Doubles q(kVocabulary);
  double sum = 0;
  for (int64_t i = 0; i < kVocabulary; ++i) sum += q[i] = std::exp(logits[i]);
  for (double& x : q) x /= sum;
  double kl = 0, acceptance = 0;
  const auto add = [&](double p, double share) {
    if (p > 0) kl += p * std::log(p / share);
    acceptance += std::min(p, share);
  };
  if (!dense.empty()) {
    for (int64_t i = 0; i < kVocabulary; ++i) add(dense[i], q[i]);
  } else {
    double others = 1;
    for (int64_t n = 0; n < label.count; ++n)
      if (label.token[n] >= 0) add(label.probability[n], q[label.token[n]]), others -= q[label.token[n]];
    add(label.rest, others);
  }
  return weights.kl * kl + weights.rejection * (1 - acceptance);
}

Doubles softmax(const double* logits) {
  Doubles p(logits, logits + kVocabulary);
  double sum = 0;
  for (double& x : p) sum += x = std::exp(x);
  for (double& x : p) x /= sum;
  return p;
}

/// Rows with labels of both kinds; logits are x w^T + y v^T.
struct LossCase {
  static constexpr int64_t kRows = 700, kSecond = 16, kState = 24;  // more rows than a chunk
  Floats x = randomValues(kRows * kInputs, 1), w = randomValues(kVocabulary * kInputs, 2, 0.3f);
  Floats y = randomValues(kRows * kSecond, 3), v = randomValues(kVocabulary * kSecond, 4, 0.3f);
  Floats state = randomValues(kRows * kState, 5), output = randomValues(kVocabulary * kState, 6, 0.3f);
  std::vector<int32_t> token;
  Floats probability, rest, weight;

  LossCase() {
    std::mt19937 random(3);
    for (int64_t r = 0; r < kRows; ++r) {
      const int32_t first = static_cast<int32_t>(random() % 16);
      for (int32_t n = 0; n < kListed; ++n) {
        token.push_back(n == 2 && r % 5 == 0 ? -1 : first + 16 * n);
        probability.push_back(0.5f / static_cast<float>(1 + n));
      }
      rest.push_back(r % 3 == 0 ? 0.0f : 0.05f);
      weight.push_back(r % 4 == 0 ? 0.0f : 0.01f * static_cast<float>(1 + r % 7));
    }
  }
  Labels labels(bool dense) const {
    if (dense) return {.state = state.data(), .output = output.data(), .width = kState};
    return {.token = token.data(), .probability = probability.data(), .rest = rest.data(), .count = kListed};
  }
};

void testLoss(bool dense, LossWeights weights) {
  const LossCase c;
  const int64_t rows = LossCase::kRows;
  Doubles logits = product(inDouble(c.x), inDouble(c.w), rows, kInputs, kVocabulary);
  const Doubles second = product(inDouble(c.y), inDouble(c.v), rows, LossCase::kSecond, kVocabulary);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] += second[i];
  const Doubles target = product(inDouble(c.state), inDouble(c.output), rows, LossCase::kState, kVocabulary);
  const auto total = [&](int64_t r, const double* row) {
    if (dense) return lossOf(row, softmax(target.data() + r * kVocabulary), {}, weights);
    return lossOf(row, {}, c.labels(false).row(r), weights);
  };
  Doubles dlogits;
  for (int64_t r = 0; r < rows; ++r) {
    const Doubles row(logits.begin() + r * kVocabulary, logits.begin() + (r + 1) * kVocabulary);
    for (const double s : slopes(row, [&](const Doubles& l) { return total(r, l.data()); }))
      dlogits.push_back(c.weight[r] * s);
  }
  Doubles dx(rows * kInputs), dv(kVocabulary * LossCase::kSecond);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t o = 0; o < kVocabulary; ++o) {
      const double d = dlogits[r * kVocabulary + o];
      for (int64_t i = 0; i < kInputs; ++i) dx[r * kInputs + i] += d * c.w[o * kInputs + i];
      for (int64_t i = 0; i < LossCase::kSecond; ++i)
        dv[o * LossCase::kSecond + i] += d * c.y[r * LossCase::kSecond + i];
    }
  checkSameBits([&](Ops& ops) {
    Floats din(dx.size(), 9), dweight(dv.size());
    std::vector<RowLoss> loss(rows), again(rows);
    const auto run = [&](float* gx, float* gv, std::vector<RowLoss>& out) {
      const LinearTerm terms[] = {{c.x.data(), c.w.data(), kInputs, gx, nullptr},
                                  {c.y.data(), c.v.data(), LossCase::kSecond, nullptr, gv}};
      ops.linearLoss(terms, rows, kVocabulary, c.labels(dense), weights, c.weight.data(), out);
    };
    run(din.data(), dweight.data(), loss);
    run(nullptr, nullptr, again);
    double worst = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const double* row = logits.data() + r * kVocabulary;
      const double value = weights.kl * loss[r].kl + weights.rejection * (1 - loss[r].acceptance);
      worst = std::max(worst, std::abs(value - total(r, row)));
      CHECK(loss[r].top == std::max_element(row, row + kVocabulary) - row);
      CHECK(again[r].kl == loss[r].kl && again[r].top == loss[r].top);
    }
    CHECK(worst < 1e-4);
    CHECK(difference(din, dx) < 5e-3);  // gradients of logits are rounded to bf16 on the way
    CHECK(difference(dweight, dv) < 5e-3);
    din.insert(din.end(), dweight.begin(), dweight.end());
    return din;
  });
}

/// The gradient of the logits alone, which nothing rounds.
void testLossRow() {
  const Floats logits = randomValues(kVocabulary, 1, 3), target = randomValues(kVocabulary, 2, 3);
  const std::vector<int32_t> token = {5, 40, 17};
  const Floats probability = {0.5f, 0.2f, 0.1f};
  const auto check = [&](const LossWeights& weights, const Doubles& dense, const RowLabel& label) {
    const Doubles slope =
        slopes(inDouble(logits), [&](const Doubles& l) { return lossOf(l.data(), dense, label, weights); });
    forEveryPath([&](Ops& ops) {
      Floats row = logits, other = target;
      if (dense.empty())
        ops.kernels().listedLoss(row.data(), kVocabulary, label, weights, 1);
      else
        ops.kernels().denseLoss(row.data(), other.data(), kVocabulary, weights, 1);
      CHECK(difference(row, slope) < 1e-5);
    });
  };
  for (const LossWeights weights : {LossWeights{1, 0}, LossWeights{0, 1}, LossWeights{0.3f, 2}}) {
    for (const float rest : {0.0f, 0.1f}) check(weights, {}, {token.data(), probability.data(), 3, rest});
    check(weights, softmax(inDouble(target).data()), {});
  }
}

}  // namespace

int main() {
  for (const int64_t rows : {1, 9, 130}) testLinear(rows, 40, 100);
  testLinear(64, 33, 16);
  testLinear(64, 128, 96);
  testLinear(57, 203, 101);
  testLinearBits();
  testNorm();
  testSwiglu();
  testRotate();
  testEmbed();
  testAttention();
  testAttentionAllocates();
  testLossRow();
  for (const bool dense : {false, true})
    for (const LossWeights weights : {LossWeights{1, 0}, LossWeights{0.2f, 1}}) testLoss(dense, weights);
  return foretoken::test::finish("train_ops");
}
