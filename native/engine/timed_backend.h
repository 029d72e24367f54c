// A Backend that forwards to another one and, when asked to, adds up the seconds of each operation: `bench decode
// --profile`.
#pragma once
#include <array>
#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "backend.h"

namespace foretoken {

/// Where the time of a pass goes. `bytes` = packed weights that the operation reads, 0 where it reads none.
struct OperationTime {
  std::string name;
  double seconds = 0;
  double bytes = 0;
};

class TimedBackend : public Backend {
 public:
  explicit TimedBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  Backend& inner() { return *inner_; }
  /// Starts over with all times at zero; operations are timed until `stop`. Not in the middle of a pass.
  void start() {
    times_.clear();
    timing_ = true;
  }
  /// The operations since `start`, in order of first use.
  std::vector<OperationTime> stop() {
    timing_ = false;
    return std::move(times_);
  }

  size_t packedBytes(Format format, int64_t rows, int64_t cols) const override {
    return inner_->packedBytes(format, rows, cols);
  }
  void pack(Format format, std::span<const MatrixSource> sources, bool interleave, uint8_t* out) override {
    inner_->pack(format, sources, interleave, out);
  }
  std::unique_ptr<Matrix> matrix(Format format, int64_t rows, int64_t cols, const uint8_t* packed) override {
    return inner_->matrix(format, rows, cols, packed);
  }
  bool promptsDiffer() const override { return inner_->promptsDiffer(); }
  std::unique_ptr<Tensor> tensor(int64_t rows, int64_t width) override { return inner_->tensor(rows, width); }
  size_t memoryLeft() const override { return inner_->memoryLeft(); }
  size_t kvBytes(const KvShape& shape) const override { return inner_->kvBytes(shape); }
  void allocateKv(const KvShape& shape) override { inner_->allocateKv(shape); }
  void copySlots(std::span<const int32_t> from, std::span<const int32_t> to) override { inner_->copySlots(from, to); }
  uint8_t* side(int32_t slot) override { return inner_->side(slot); }
  const float* read(const Tensor& tensor, int64_t rows) override { return inner_->read(tensor, rows); }
  void write(Tensor& tensor, const float* values, int64_t rows) override { inner_->write(tensor, values, rows); }

  void embed(const Pass& pass, const Matrix& table, Tensor& out) override {
    timed("embed", nullptr, [&] { inner_->embed(pass, table, out); });
  }
  void linear(const Pass& pass, const Matrix& w, const Tensor& in, const float* norm, float eps, Tensor& out,
              Epilogue epilogue) override {
    timed("linear", &w, [&] { inner_->linear(pass, w, in, norm, eps, out, epilogue); });
  }
  void logits(const Pass& pass, const Matrix& w, const Tensor& in, const float* norm, float eps, Tensor& out) override {
    timed("head", &w, [&] { inner_->logits(pass, w, in, norm, eps, out); });
  }
  void adjustHeads(const Pass& pass, int heads, const HeadRules& rules, Tensor& qkv) override {
    timed("adjust heads", nullptr, [&] { inner_->adjustHeads(pass, heads, rules, qkv); });
  }
  void attention(const Pass& pass, int layer, int heads, const Rope& rope, Tensor& qkv, Tensor& out) override {
    timed("attention", nullptr, [&] { inner_->attention(pass, layer, heads, rope, qkv, out); });
  }
  void project(const Pass& pass, const Tensor& in, const KeyProjection& projection) override {
    timed("project", nullptr, [&] { inner_->project(pass, in, projection); });
  }
  void keep(const Pass& pass, const Tensor& in, int32_t offset) override {
    timed("keep", nullptr, [&] { inner_->keep(pass, in, offset); });
  }
  void kept(const Pass& pass, int32_t offset, Tensor& out) override {
    timed("kept", nullptr, [&] { inner_->kept(pass, offset, out); });
  }
  void writeKeys(const Pass& pass, int layer, const Rope& rope, Tensor& kv) override {
    timed("write keys", nullptr, [&] { inner_->writeKeys(pass, layer, rope, kv); });
  }
  void addRows(const Tensor& in, std::span<const int32_t> row, Tensor& out, int64_t first) override {
    timed("add rows", nullptr, [&] { inner_->addRows(in, row, out, first); });
  }
  void sample(const Tensor& logits, int vocabulary, std::span<const SampleRow> rows,
              std::span<SampleResult> out) override {
    timed("sample", nullptr, [&] { inner_->sample(logits, vocabulary, rows, out); });
  }
  void spread(int64_t items, const std::function<void(int64_t, int64_t)>& job) override { inner_->spread(items, job); }
  void settle() override { inner_->settle(); }
  double waited() const override { return inner_->waited(); }

 private:
  template <typename Operation>
  void timed(const char* name, const Matrix* w, const Operation& operation) {
    if (!timing_) return operation();
    const auto begin = std::chrono::steady_clock::now();
    operation();
    inner_->settle();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    OperationTime& time = entry(name, w);
    time.seconds += seconds.count();
    if (w) time.bytes += static_cast<double>(unpaddedBytes(w->format(), w->rows(), w->cols()));
  }

  /// Matrices are told apart by shape, which in a model's layer is as good as a name.
  OperationTime& entry(const char* name, const Matrix* w) {
    std::string full = name;
    if (w) full += " " + std::to_string(w->rows()) + "x" + std::to_string(w->cols());
    for (OperationTime& time : times_) {
      if (time.name == full) return time;
    }
    return times_.emplace_back(OperationTime{full});
  }

  std::unique_ptr<Backend> inner_;
  std::vector<OperationTime> times_;
  bool timing_ = false;
};

}  // namespace foretoken
