#include "bench/gpu/drawing.h"

#include <random>

#include "bench/gpu/device.cuh"
#include "cuda/verify/verify.cuh"
#include "quant/float_codecs.h"

namespace foretoken::bench {
namespace {

constexpr int kVocabulary = 128256, kMostRows = 64;

struct Rules {
  const char* name;
  float temperature;
  int32_t topK;
  float topP, minP;
};
constexpr Rules kRules[] = {
    {"greedy", 0, 0, 1, 0}, {"sampled", 0.8f, 0, 1, 0}, {"filtered", 0.8f, 50, 0.95f, 0.02f}, {"topP", 1, 0, 0.95f, 0}};

/// Like a model's: a broad middle, and a few tokens far above it.
std::vector<uint16_t> logitRows(int rows) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0, 2);
  std::vector<uint16_t> logits(static_cast<size_t>(rows) * kVocabulary);
  for (uint16_t& x : logits) x = floatToBf16(normal(random));
  for (int r = 0; r < rows; ++r)
    for (int i = 0; i < 20; ++i)
      logits[static_cast<size_t>(r) * kVocabulary + random() % kVocabulary] =
          floatToBf16(16 - 0.4f * static_cast<float>(i));
  return logits;
}

cuda::DrawBatch batchOf(const Rules& rules, int firstRow, int rows) {
  cuda::DrawBatch batch;
  for (int r = firstRow; r < firstRow + rows; ++r) {
    SampleRow row{};
    row.logitRow = r;
    row.seed = 7;
    row.position = r;
    row.temperature = rules.temperature;
    row.topK = rules.topK;
    row.topP = rules.topP;
    row.minP = rules.minP;
    batch.add(row);
  }
  return batch;
}

/// A batch on the device, ready to be drawn any number of times.
class Drawing {
 public:
  Drawing(const Rules& rules, int firstRow, int rows)
      : batch_(batchOf(rules, firstRow, rows)),
        row_(batch_.rows),
        drawn_(static_cast<size_t>(rows)),
        scratch_(place(rows)) {
    FORETOKEN_CUDA_CHECK(cudaMemset(scratch_.get(), 0, scratch_.bytes()));
    cuda::placeScratch(args_, batch_.tableEntries, scratch_.get());
    args_.row = row_.get();
    args_.drawn = drawn_.get();
  }
  void run(const uint16_t* logits, cudaStream_t stream) {
    args_.logits = logits;
    FORETOKEN_CUDA_CHECK(cuda::drawRows(args_, batch_.kinds, stream));
  }
  std::vector<int32_t> tokens() const { return drawn_.read(); }

 private:
  size_t place(int rows) {
    args_.stride = args_.vocabulary = kVocabulary;
    args_.rows = rows;
    return cuda::placeScratch(args_, batch_.tableEntries, nullptr);
  }

  cuda::DrawBatch batch_;
  cuda::VerifyArgs<uint16_t> args_{};
  DeviceArray<cuda::DrawRow> row_;
  DeviceArray<int32_t> drawn_;
  DeviceArray<unsigned char> scratch_;
};

/// The launches of one drawing, recorded, so that only the device's time counts.
class Recorded {
 public:
  template <class Launches>
  explicit Recorded(Launches&& launches) {
    cudaStream_t stream;
    cudaGraph_t graph;
    FORETOKEN_CUDA_CHECK(cudaStreamCreate(&stream));
    FORETOKEN_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal));
    launches(stream);
    FORETOKEN_CUDA_CHECK(cudaStreamEndCapture(stream, &graph));
    FORETOKEN_CUDA_CHECK(cudaGraphInstantiate(&graph_, graph, 0));
    FORETOKEN_CUDA_CHECK(cudaGraphDestroy(graph));
    FORETOKEN_CUDA_CHECK(cudaStreamDestroy(stream));
  }
  Recorded(Recorded&& other) noexcept : graph_(std::exchange(other.graph_, nullptr)) {}
  ~Recorded() {
    if (graph_) cudaGraphExecDestroy(graph_);
  }
  void run() const { FORETOKEN_CUDA_CHECK(cudaGraphLaunch(graph_, nullptr)); }

 private:
  cudaGraphExec_t graph_ = nullptr;
};

double secondsOf(const Rules& rules, int rows, const DeviceArray<uint16_t>& logits, int copies) {
  Drawing drawing(rules, 0, rows);
  std::vector<Recorded> recorded;
  for (int c = 0; c < copies; ++c)
    recorded.emplace_back([&](cudaStream_t stream) {
      drawing.run(logits.get() + static_cast<size_t>(c) * kMostRows * kVocabulary, stream);
    });
  return medianSeconds([&](int i) { recorded[static_cast<size_t>(i % copies)].run(); });
}

bool check(const Rules& rules, const std::vector<uint16_t>& host, const uint16_t* logits) {
  Drawing all(rules, 0, kMostRows);
  all.run(logits, nullptr);
  const std::vector<int32_t> tokens = all.tokens();
  bool good = true;
  for (int r = 0; r < kMostRows; ++r) {
    Drawing alone(rules, r, 1);
    alone.run(logits, nullptr);
    good = good && alone.tokens()[0] == tokens[static_cast<size_t>(r)];
    if (rules.temperature > 0) continue;
    const uint16_t* const row = host.data() + static_cast<size_t>(r) * kVocabulary;
    const auto larger = [](uint16_t a, uint16_t b) { return bf16ToFloat(a) < bf16ToFloat(b); };
    good = good && tokens[static_cast<size_t>(r)] == std::max_element(row, row + kVocabulary, larger) - row;
  }
  if (!good) std::fprintf(stderr, "drawing.%s: tokens depend on the rows beside them, or are wrong\n", rules.name);
  return good;
}

}  // namespace

bool drawing(Report& report) {
  const std::vector<uint16_t> host = logitRows(kMostRows);
  const int copies = copiesBeyondCache(host.size() * sizeof(uint16_t));
  const DeviceArray<uint16_t> logits(host.size() * static_cast<size_t>(copies));
  for (int c = 0; c < copies; ++c)
    FORETOKEN_CUDA_CHECK(cudaMemcpy(logits.get() + host.size() * static_cast<size_t>(c), host.data(),
                                    host.size() * sizeof(uint16_t), cudaMemcpyHostToDevice));
  bool good = true;
  for (const Rules& rules : kRules) {
    good = check(rules, host, logits.get()) && good;
    for (const int rows : {1, 8, kMostRows})
      report.add(std::string("drawing.") + rules.name + ".r" + std::to_string(rows) + ".us",
                 1e6 * secondsOf(rules, rows, logits, copies));
  }
  return good;
}

}  // namespace foretoken::bench
