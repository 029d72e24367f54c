#include "bench/gpu/layers.h"

#include <atomic>
#include <exception>
#include <thread>

#include "bench/gpu/device.cuh"
#include "bench/gpu/head_case.h"
#include "bench/gpu/random_model.h"
#include "bench/gpu/wall_time.h"
#include "cuda/backend/cuda_backend.h"
#include "cuda/train/device_layers.h"

namespace foretoken::bench {
namespace {

constexpr train::BlockHeadShape kShape{.width = 4096,
                                       .fused = 3,
                                       .layers = 1,
                                       .inner = 14336,
                                       .heads = {32, 8, 128},
                                       .vocabulary = 32000,
                                       .rank = 32,
                                       .slots = 4,
                                       .positions = 8192,
                                       .epsilon = 1e-5f,
                                       .rotaryBase = 500000};
constexpr int64_t kTextTokens = 544, kAnswer = 288;

void step(learn::LayerSteps& steps, const train::LabelledBlocks& batch) {
  if (!steps.step(batch)) throw Error("NOT_FINITE", "a step of layers was not taken");
}

/// The latest time at which a block began, nanoseconds.
__global__ void noteTime(unsigned long long* latest) {
  unsigned long long now = 0;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  if (threadIdx.x == 0) atomicMax(latest, now);
}

/// Launches of high priority that want every multiprocessor for themselves, as those of decoding do. Times are the
/// device's own, so what the host does meanwhile counts nothing.
class Waiting {
 public:
  Waiting()
      : graph_(stream_, [this] {
          stream_.clear(times_.get(), times_.bytes());
          FORETOKEN_CUDA_CHECK(cuda::launch(noteTime, dim3(1), dim3(cuda::kWarp), 0, stream_.get(), times_.get()));
          FORETOKEN_CUDA_CHECK(cuda::launch(noteTime, dim3(static_cast<unsigned>(cuda::multiprocessors())),
                                            dim3(cuda::kWarp), sharedBytes(), stream_.get(), times_.get() + 1));
        }) {}
  /// How long one waited.
  double seconds() {
    graph_.launch(stream_);
    stream_.synchronise();
    const std::vector<unsigned long long> times = times_.read();
    return 1e-9 * static_cast<double>(times[1] - times[0]);
  }

 private:
  /// All that a block can have: no other one has room beside it.
  static size_t sharedBytes() {
    int bytes = 0;
    FORETOKEN_CUDA_CHECK(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0));
    return static_cast<size_t>(bytes);
  }

  cuda::Stream stream_{cuda::Stream::Priority::high};
  DeviceArray<unsigned long long> times_{2};
  cuda::Graph graph_;
};

/// Steps one after the other on a thread of their own, until `end`.
class Learning {
 public:
  Learning(learn::LayerSteps& steps, const train::LabelledBlocks& batch)
      : thread_([this, &steps, &batch] {
          try {
            while (!ended_) step(steps, batch);
          } catch (...) {
            failure_ = std::current_exception();
          }
        }) {}
  ~Learning() { join(); }
  /// Throws what ended it before.
  void end() {
    join();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void join() {
    ended_ = true;
    if (thread_.joinable()) thread_.join();
  }

  std::atomic<bool> ended_ = false;
  std::exception_ptr failure_;
  std::thread thread_;
};

/// The longest wait beside steps.
double longestWait(learn::LayerSteps& steps, const train::LabelledBlocks& batch) {
  constexpr int kWaits = 2000;
  Waiting waiting;
  Learning learning(steps, batch);
  double longest = 0;
  for (int i = 0; i < kWaits; ++i) longest = std::max(longest, waiting.seconds());
  learning.end();
  return longest;
}

/// A decode step of a whole model, alone and beside steps.
void decodeBeside(Report& report, learn::LayerSteps& steps, const train::LabelledBlocks& batch) {
  constexpr int kContext = 1024, kRows = 8, kRepeats = 200;
  cuda::CudaBackend backend({0, static_cast<int>(std::thread::hardware_concurrency())});
  RandomModel model(backend, kLlama8B, KvFormat::bf16, Format::fp8, kLlamaDistinct, kContext, kRows);
  for (const int rows : {1, kRows}) {
    const auto median = [&] { return medianWallSeconds([&] { model.step(rows); }, kRepeats); };
    const double alone = median();
    Learning learning(steps, batch);
    const double beside = median();
    learning.end();
    const std::string key = "training.beside.m" + std::to_string(rows);
    report.add(key + ".ms", 1e3 * beside);
    report.add(key + ".cost", beside / alone);
  }
}

}  // namespace

void layers(Report& report) {
  HeadCase learned(kShape, learn::LayerOptions());
  const auto steps = cuda::createLayerSteps(0, learned.start());
  const train::LabelledBlocks batch = learned.blocks(kTextTokens, kAnswer);
  report.add("training.layers.ms", 1e3 * medianWallSeconds([&] { step(*steps, batch); }, 15));
  report.add("training.layers.longestUs", 1e6 * longestWait(*steps, batch));
  decodeBeside(report, *steps, batch);
}

}  // namespace foretoken::bench
