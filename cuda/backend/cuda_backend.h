// The Backend on a CUDA device, or on the executor of cuda/simt in tests.
//
// Operations of a pass are noted, not carried out: when somebody wants a result, all that was noted goes to the stream,
// as a graph that is recorded at the first pass of its kind, unless the pass is of prompts. Rows, tiles and splits are
// counted in steps, so that there are few kinds; kernels learn from the uploaded pass how many there are. Rows of a
// tensor behind the last one of a pass may be overwritten. The host waits in `sample`, `read` and `side` alone: once in
// a round.
#pragma once
#include <map>
#include <memory>
#include <vector>

#include "backend.h"
#include "cpu/thread_pool.h"
#include "cuda/attention/kv_pages.cuh"
#include "cuda/backend/sampler.cuh"
#include "cuda/backend/tape.cuh"
#include "cuda/backend/uploads.cuh"
#include "cuda/common/pipeline.cuh"
#include "cuda/gemm/epilogue.cuh"
#include "cuda/step/pass_words.h"
#include "cuda/step/rows.cuh"

namespace foretoken::cuda {

struct BackendOptions {
  int device = 0;
  int threads = 1;  ///< of the host, that pack weights and look drafts up
};

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(const BackendOptions&);
  ~CudaBackend() override;

  size_t packedBytes(Format, int64_t rows, int64_t cols) const override;
  void pack(Format, std::span<const MatrixSource>, bool interleave, uint8_t* out) override;
  std::unique_ptr<Matrix> matrix(Format, int64_t rows, int64_t cols, const uint8_t* packed) override;
  bool promptsDiffer() const override { return promptsDiffer_; }
  std::unique_ptr<Tensor> tensor(int64_t rows, int64_t width) override;
  size_t memoryLeft() const override;
  size_t kvBytes(const KvShape&) const override;
  void allocateKv(const KvShape&) override;
  void copySlots(std::span<const int32_t> from, std::span<const int32_t> to) override;
  uint8_t* side(int32_t slot) override;
  const float* read(const Tensor&, int64_t rows) override;
  void write(Tensor&, const float* values, int64_t rows) override;
  void embed(const Pass&, const Matrix& table, Tensor& out) override;
  void linear(const Pass&, const Matrix&, const Tensor& in, const float* norm, float eps, Tensor& out,
              Epilogue) override;
  void logits(const Pass&, const Matrix&, const Tensor& in, const float* norm, float eps, Tensor& out) override;
  void adjustHeads(const Pass&, int heads, const HeadRules&, Tensor& qkv) override;
  void attention(const Pass&, int layer, int heads, const Rope&, Tensor& qkv, Tensor& out) override;
  void project(const Pass&, const Tensor& in, const KeyProjection&) override;
  void keep(const Pass&, const Tensor& in, int32_t offset) override;
  void kept(const Pass&, int32_t offset, Tensor& out) override;
  void writeKeys(const Pass&, int layer, const Rope&, Tensor& kv) override;
  void addRows(const Tensor& in, std::span<const int32_t> row, Tensor& out, int64_t first) override;
  void sample(const Tensor& logits, int vocabulary, std::span<const SampleRow>, std::span<SampleResult> out) override;
  void spread(int64_t items, const std::function<void(int64_t, int64_t)>& job) override;
  void settle() override { finish(); }
  double waited() const override { return waited_; }

  /// Of the latest `sample`: from where the stream had done all before it to where it had the tokens.
  double drawingSeconds() const { return drawn_.since(passed_); }
  const GraphCache& graphs() const { return graphs_; }
  int64_t waits() const { return stream_.synchronised(); }
  size_t copies() const { return copies_.size(); }

 private:
  /// Memory of the host that a kernel reads, kept on the device as long as it says the same.
  struct Copy {
    std::vector<uint8_t> host;
    DeviceMemory device;
    uint64_t used = 0;  ///< the use of any copy that was its last
  };

  void begin(const Pass&);
  bool isCurrent(const Pass&) const;
  void beginAnew(const Pass&);
  void grown();
  void see(const Pass&, int group);
  void turn(const Pass&, const Rope&);
  void issue();
  void finish();
  template <class Work>
  void orDrop(const Work&);
  template <class Launch>
  void note(const Launch&);
  template <class T>
  const T* onDevice(const T* values, size_t count);
  void dropOldCopies();
  void* scratch(DeviceMemory&, size_t bytes);
  const int32_t* passWords() const { return upload_.as<int32_t>(); }
  KvPages layer(int index) const;
  Sides sides() const;
  bool hasLargeProduct(const Matrix&) const;
  void multiply(const Matrix&, const Tensor& in, const float* norm, float eps, bool ofLogitRows, int rows, Tensor& out,
                Finish);
  void multiplyPrompts(const Matrix&, const Tensor& in, const float* norm, float eps, int rows, Tensor& out, Finish);
  template <class Codec>
  void append(const Pass&, int layer, int heads, const Rope&, const float* in);
  template <class Codec>
  void attend(const Pass&, int layer, int heads, const Rope&, const float* qkv, float* out);

  /// Blocks that a multiprocessor should have to work on, and what partial results may take for that.
  static constexpr int kBlocksEach = 2;
  static constexpr size_t kMostPartialBytes = 256 << 20;
  static constexpr size_t kFewestCopies = 64;
  /// Items of the host's work between passes that one of its threads takes on: passes are long, so that it sleeps
  /// before, and to wake up takes as long as looking up a draft.
  static constexpr int64_t kItemsEach = 4;

  const BackendOptions options_;
  const int multiprocessors_;
  const MatrixUnit unit_;
  ThreadPool threads_;
  Stream stream_;
  bool promptsDiffer_ = false;  ///< some matrix is multiplied by the product for prefill
  GraphCache graphs_;
  Tape tape_;

  // The pass that operations are noted for.
  PassWords words_;
  Upload upload_;
  std::vector<int32_t> seen_;       ///< what it is recognised by
  std::vector<float> frequencies_;  ///< that its angles were made from
  int group_ = 0;                   ///< that its tiles were made for, 0 = none yet
  bool sent_ = false, prompts_ = false;
  bool waiting_ = false;  ///< something was issued since the host last waited

  KvShape kv_{};
  size_t headBytes_ = 0;
  DeviceMemory pool_, activations_, factors_, sums_, queries_, partials_;
  PinnedMemory sides_;
  Upload moved_;
  std::map<const void*, Copy> copies_;
  size_t manyCopies_ = kFewestCopies;  ///< so many make it worth while to look for those of heads that are gone
  uint64_t uses_ = 0;                  ///< of copies
  Sampler sampler_;
  Moment passed_, drawn_;  ///< of the latest `sample`
  double waited_ = 0;
};

}  // namespace foretoken::cuda
