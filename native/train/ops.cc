#include "train/ops.h"

#include <algorithm>
#include <cmath>

#include "common/error.h"
#include "quant/float_codecs.h"

namespace foretoken::train {
namespace {

/// Rows of logits that exist at a time.
constexpr int64_t kLossRows = 512;

void requireMultiple(int64_t width, const char* what) {
  if (width <= 0 || width % kRowMultiple != 0)
    throw Error("SHAPE_MISMATCH", std::string(what) + " of " + std::to_string(width) +
                                      " values: training needs multiples of " + std::to_string(kRowMultiple));
}

}  // namespace

RotaryTable::RotaryTable(int64_t positions, int64_t width, double base)
    : half_(width / 2), cosine_(positions * half_), sine_(positions * half_) {
  std::vector<double> frequency(half_);
  for (int64_t i = 0; i < half_; ++i) frequency[i] = std::pow(base, -2.0 * static_cast<double>(i) / width);
  for (int64_t p = 0; p < positions; ++p)
    for (int64_t i = 0; i < half_; ++i) {
      const double angle = static_cast<double>(p) * frequency[i];
      cosine_[p * half_ + i] = static_cast<float>(std::cos(angle));
      sine_[p * half_ + i] = static_cast<float>(std::sin(angle));
    }
}

Ops::Ops(ThreadPool& threads, const TrainKernels& kernels)
    : threads_(threads), kernels_(kernels), gemm_(threads, kernels), attending_(threads.size()) {}

void Ops::linear(const float* x, const float* w, int64_t rows, int64_t inputs, int64_t outputs, float* y, bool addTo) {
  gemm_.multiply(rowsOf(x, rows, inputs), rowsOf(w, outputs, inputs).transposed(), y, addTo);
}

void Ops::linearBackward(const float* x, const float* w, const float* dy, int64_t rows, int64_t inputs, int64_t outputs,
                         float* dx, float* dw, bool addTo) {
  const MatrixView gradient = rowsOf(dy, rows, outputs);
  if (dx) gemm_.multiply(gradient, rowsOf(w, outputs, inputs), dx, addTo);
  if (dw) gemm_.multiply(gradient.transposed(), rowsOf(x, rows, inputs), dw, true);
}

void Ops::norm(const float* x, const float* scale, float epsilon, int64_t rows, int64_t width, float* y,
               float* inverse) {
  requireMultiple(width, "a norm");
  threads_.run(rows, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r)
      inverse[r] = kernels_.norm(x + r * width, scale, epsilon, width, y + r * width);
  });
}

void Ops::normBackward(const float* x, const float* scale, const float* inverse, const float* dy, int64_t rows,
                       int64_t width, float* dx, float* dscale) {
  if (dx)
    threads_.run(rows, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r)
        kernels_.normBackward(x + r * width, scale, inverse[r], dy + r * width, width, dx + r * width);
    });
  if (!dscale) return;
  // By columns, so that one thread adds all rows of a column, in order.
  threads_.run(width / kRowMultiple, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = 0; r < rows; ++r)
      kernels_.addNormScale(x + r * width, inverse[r], dy + r * width, begin * kRowMultiple, end * kRowMultiple,
                            dscale);
  });
}

void Ops::swiglu(const float* gate, const float* up, int64_t rows, int64_t width, float* y) {
  requireMultiple(width, "a gate");
  threads_.run(rows, [&](int64_t begin, int64_t end, int) {
    const int64_t at = begin * width;
    kernels_.swiglu(gate + at, up + at, (end - begin) * width, y + at);
  });
}

void Ops::swigluBackward(const float* gate, const float* up, const float* dy, int64_t rows, int64_t width, float* dgate,
                         float* dup) {
  threads_.run(rows, [&](int64_t begin, int64_t end, int) {
    const int64_t at = begin * width;
    kernels_.swigluBackward(gate + at, up + at, dy + at, (end - begin) * width, dgate + at, dup + at);
  });
}

void Ops::rotate(float* x, const RotaryTable& table, std::span<const int32_t> position, int64_t heads, bool back) {
  const int64_t width = heads * table.width();
  threads_.run(static_cast<int64_t>(position.size()), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r)
      kernels_.rotate(x + r * width, heads, table.width(), table.cosine(position[r]), table.sine(position[r]), back);
  });
}

void Ops::embed(const uint16_t* table, std::span<const int32_t> token, int64_t width, float* y) {
  threads_.run(static_cast<int64_t>(token.size()), [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r)
      for (int64_t i = 0; i < width; ++i) y[r * width + i] = bf16ToFloat(table[token[r] * width + i]);
  });
}

/// Room for the most keys that a sequence of the plan has.
void Ops::sizeAttending(const Heads& heads, const AttentionPlan& plan) {
  int64_t most = 0;
  for (int64_t s = 0; s < plan.sequences(); ++s) {
    int64_t keys = 0;
    for (int64_t segment = plan.firstKeyRows[s]; segment < plan.firstKeyRows[s + 1]; ++segment)
      keys += plan.keyRows[segment].end - plan.keyRows[segment].begin;
    most = std::max(most, keys);
  }
  AttentionRows largest{};
  largest.keys = most, largest.width = heads.width;
  const auto grow = [](auto& list, int64_t size) {
    if (list.size() < static_cast<size_t>(size)) list.resize(size);
  };
  for (Attending& own : attending_) {
    grow(own.key, most), grow(own.value, most), grow(own.dkey, most), grow(own.dvalue, most);
    grow(own.scratch, attentionScratch(largest));
  }
}

/// Calls f(rows, first query, key head, what the thread attends with) for every sequence and key head. One call adds to
/// the gradients of its keys alone.
template <class F>
void Ops::forItems(const Heads& heads, const AttentionPlan& plan, const float* key, const float* value, F&& f) {
  requireMultiple(heads.width, "an attention head");
  sizeAttending(heads, plan);
  const int64_t keyStride = heads.keys * heads.width;
  threads_.run(plan.sequences() * heads.keys, [&](int64_t begin, int64_t end, int thread) {
    Attending& own = attending_[thread];
    for (int64_t item = begin; item < end; ++item) {
      const int64_t s = item / heads.keys, head = item % heads.keys;
      int64_t keys = 0;
      for (int64_t segment = plan.firstKeyRows[s]; segment < plan.firstKeyRows[s + 1]; ++segment)
        for (int64_t r = plan.keyRows[segment].begin; r < plan.keyRows[segment].end; ++r, ++keys) {
          const int64_t at = r * keyStride + head * heads.width;
          own.key[keys] = key + at, own.value[keys] = value + at;
        }
      const AttentionRows rows{.queries = plan.firstQuery[s + 1] - plan.firstQuery[s],
                               .keys = keys,
                               .heads = heads.group(),
                               .width = heads.width,
                               .queryStride = heads.queries * heads.width,
                               .firstRange = plan.firstRange.data() + plan.firstQuery[s],
                               .ranges = plan.ranges.data(),
                               .key = own.key.data(),
                               .value = own.value.data()};
      f(rows, plan.firstQuery[s], head, own);
    }
  });
}

void Ops::attend(const Heads& heads, const AttentionPlan& plan, const float* q, const float* key, const float* value,
                 float* out, float* logSum) {
  forItems(heads, plan, key, value, [&](const AttentionRows& rows, int64_t query, int64_t head, Attending& own) {
    const int64_t at = query * rows.queryStride + head * rows.heads * rows.width;
    const int64_t sums = (head * plan.queries() + query) * rows.heads;
    kernels_.attend(rows, q + at, out + at, logSum + sums, own.scratch.data());
  });
}

void Ops::attendBackward(const Heads& heads, const AttentionPlan& plan, const float* q, const float* key,
                         const float* value, const float* out, const float* logSum, const float* dout, float* dq,
                         float* dkey, float* dvalue) {
  forItems(heads, plan, key, value, [&](const AttentionRows& rows, int64_t query, int64_t head, Attending& own) {
    const int64_t at = query * rows.queryStride + head * rows.heads * rows.width;
    const int64_t sums = (head * plan.queries() + query) * rows.heads;
    for (int64_t k = 0; k < rows.keys; ++k) {
      own.dkey[k] = dkey + (own.key[k] - key);
      own.dvalue[k] = dvalue + (own.value[k] - value);
    }
    kernels_.attendBackward(rows, q + at, out + at, logSum + sums, dout + at, dq + at, own.dkey.data(),
                            own.dvalue.data(), own.scratch.data());
  });
}

void Ops::linearLoss(std::span<const LinearTerm> terms, int64_t rows, int64_t vocabulary, const Labels& labels,
                     const LossWeights& weights, const float* weight, std::span<RowLoss> loss) {
  requireMultiple(vocabulary, "a draft vocabulary");
  if (labels.count > kMostListed)
    throw Error("SHAPE_MISMATCH", "labels of " + std::to_string(labels.count) + " tokens a row: at most " +
                                      std::to_string(kMostListed) + " can be listed");
  logits_.resize(std::min(rows, kLossRows) * vocabulary);
  if (labels.state) target_.resize(logits_.size());
  for (int64_t first = 0; first < rows; first += kLossRows) {
    const int64_t count = std::min(kLossRows, rows - first);
    bool accumulate = false;
    for (const LinearTerm& t : terms) {
      gemm_.multiply(rowsOf(t.x + first * t.inputs, count, t.inputs), rowsOf(t.w, vocabulary, t.inputs).transposed(),
                     logits_.data(), accumulate);
      accumulate = true;
    }
    if (labels.state)
      linear(labels.state + first * labels.width, labels.output, count, labels.width, vocabulary, target_.data());
    threads_.run(count, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r) {
        float* const row = logits_.data() + r * vocabulary;
        float* const target = target_.data() + r * vocabulary;
        loss[first + r] = labels.state
                              ? kernels_.denseLoss(row, target, vocabulary, weights, weight[first + r])
                              : kernels_.listedLoss(row, vocabulary, labels.row(first + r), weights, weight[first + r]);
      }
    });
    for (const LinearTerm& t : terms)
      linearBackward(t.x + first * t.inputs, t.w, logits_.data(), count, t.inputs, vocabulary,
                     t.dx ? t.dx + first * t.inputs : nullptr, t.dw, false);
  }
}

}  // namespace foretoken::train
