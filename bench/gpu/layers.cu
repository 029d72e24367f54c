#include "bench/gpu/layers.h"

#include <atomic>
#include <chrono>
#include <exception>
#include <numeric>
#include <thread>

#include "bench/gpu/device.cuh"
#include "cuda/train/device_layers.h"
#include "learn/answer_blocks.h"

namespace foretoken::bench {
namespace {

using Clock = std::chrono::steady_clock;
using train::Floats;

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
constexpr int64_t kTextTokens = 544, kAnswer = 256, kDifferent = 64;
constexpr int kSteps = 15, kWarmUp = 5;

/// Numbers of no pattern around 0.
Floats numbers(int64_t count, float spread) {
  Floats out(static_cast<size_t>(count));
  uint32_t state = 1;
  for (float& x : out) x = (static_cast<float>((state = state * 1664525u + 1013904223u) >> 8) * 0x1p-23f - 1) * spread;
  return out;
}

/// What the learner of such a head holds of its target.
struct Target {
  const std::vector<uint16_t> embedding = std::vector<uint16_t>(kDifferent * kShape.width, 0x3c00);
  train::TargetTables tables;

  Target() {
    tables.embedding = embedding.data();
    tables.draft.resize(static_cast<size_t>(kShape.vocabulary));
    std::iota(tables.draft.begin(), tables.draft.end(), 0);
    tables.place = tables.draft;
    tables.output = numbers(kShape.vocabulary * kShape.width, 0.02f);
  }
};

train::LabelledBlocks blocks() {
  train::TrainSequence text;
  text.answer = kAnswer;
  for (int32_t i = 0; i < kTextTokens; ++i) text.token.push_back(i % kDifferent);
  for (int64_t l = 0; l < kShape.fused; ++l) text.features.push_back(numbers(kTextTokens * kShape.width, 1));
  text.state = numbers(kTextTokens * kShape.width, 1);
  return learn::blocksInAnswer(kShape, text, learn::LayerOptions().anchors, 0.5);
}

double medianStep(learn::LayerSteps& steps, const train::LabelledBlocks& batch) {
  std::vector<double> seconds;
  for (int i = 0; i < kWarmUp + kSteps; ++i) {
    const auto begin = Clock::now();
    if (!steps.step(batch)) throw Error("NOT_FINITE", "a step of layers was not taken");
    if (i >= kWarmUp) seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + kSteps / 2, seconds.end());
  return seconds[kSteps / 2];
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

/// The longest wait beside steps on another thread.
double longestWait(learn::LayerSteps& steps, const train::LabelledBlocks& batch) {
  Waiting waiting;
  std::atomic<bool> done = false;
  std::exception_ptr failure;
  std::thread learner([&] {
    try {
      medianStep(steps, batch);
    } catch (...) {
      failure = std::current_exception();
    }
    done = true;
  });
  double longest = 0;
  while (!done) longest = std::max(longest, waiting.seconds());
  learner.join();
  if (failure) std::rethrow_exception(failure);
  return longest;
}

}  // namespace

void layers(Report& report) {
  train::BlockHead head(kShape);
  const Target target;
  const Floats weights = numbers(head.parameters().size(), 0.03f);
  const learn::LearnedHead live = learn::inParts({weights, target.tables.draft, {}}, head.before());
  const auto steps = cuda::createLayerSteps(0, {head, target.tables, learn::LayerOptions(), live});
  const train::LabelledBlocks batch = blocks();
  report.add("training.layers.ms", 1e3 * medianStep(*steps, batch));
  report.add("training.layers.longestUs", 1e6 * longestWait(*steps, batch));
}

}  // namespace foretoken::bench
