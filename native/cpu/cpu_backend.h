// The Backend on CPU cores. Matrix products live in this folder's gemm files, attention, KV and sampling in files of
// their own; this class is where they share the threads and the instruction-set path.
#pragma once
#include <memory>

#include "backend.h"
#include "common/memory.h"
#include "cpu/isa.h"
#include "cpu/linear.h"
#include "cpu/thread_pool.h"

namespace foretoken {

struct CpuAttention;  // the KV pool and what attention and sampling keep between calls; defined by their files

/// Activations in plain memory.
class CpuTensor final : public Tensor {
 public:
  CpuTensor(int64_t rows, int64_t width) : width_(width), memory_(rows * width * sizeof(float), "a tensor") {}
  int64_t width() const override { return width_; }
  float* data() { return reinterpret_cast<float*>(memory_.data()); }
  const float* data() const { return reinterpret_cast<const float*>(memory_.data()); }
  float* row(int64_t index) { return data() + index * width_; }
  const float* row(int64_t index) const { return data() + index * width_; }

 private:
  int64_t width_;
  Memory memory_;
};

class CpuBackend final : public Backend {
 public:
  explicit CpuBackend(const CpuOptions&);
  ~CpuBackend() override;

  Isa isa() const { return isa_; }
  ThreadPool& threads() { return threads_; }

  size_t packedBytes(Format, int64_t rows, int64_t cols) const override;
  void pack(Format, std::span<const MatrixSource>, bool interleave, uint8_t* out) override;
  std::unique_ptr<Matrix> matrix(Format, int64_t rows, int64_t cols, const uint8_t* packed) override;
  std::unique_ptr<Tensor> tensor(int64_t rows, int64_t width) override;
  const float* read(const Tensor&, int64_t rows) override;
  void write(Tensor&, const float* values, int64_t rows) override;
  void embed(const Pass&, const Matrix& table, Tensor& out) override;
  void linear(const Pass&, const Matrix&, const Tensor& in, const float* norm, float eps, Tensor& out,
              Epilogue) override;
  void logits(const Pass&, const Matrix&, const Tensor& in, const float* norm, float eps, Tensor& out) override;
  void addRows(const Tensor& in, std::span<const int32_t> row, Tensor& out, int64_t first) override;

  void spread(int64_t items, const std::function<void(int64_t, int64_t)>& job) override {
    threads_.run(items, [&](int64_t first, int64_t last, int) { job(first, last); });
  }

  // Defined in attention's, kv's and sample's files.
  size_t memoryLeft() const override;
  size_t kvBytes(const KvShape&) const override;
  void allocateKv(const KvShape&) override;
  void copySlots(std::span<const int32_t> from, std::span<const int32_t> to) override;
  uint8_t* side(int32_t slot) override;
  void adjustHeads(const Pass&, int heads, const HeadRules&, Tensor& qkv) override;
  void attention(const Pass&, int layer, int heads, const Rope&, Tensor& qkv, Tensor& out) override;
  void project(const Pass&, const Tensor& in, const KeyProjection&) override;
  void keep(const Pass&, const Tensor& in, int32_t offset) override;
  void kept(const Pass&, int32_t offset, Tensor& out) override;
  void writeKeys(const Pass&, int layer, const Rope&, Tensor& kv) override;
  void sample(const Tensor& logits, int vocabulary, std::span<const SampleRow>, std::span<SampleResult> out) override;

 private:
  Isa isa_;
  ThreadPool threads_;
  Linear linear_;
  std::shared_ptr<CpuAttention> attention_;
};

}  // namespace foretoken
