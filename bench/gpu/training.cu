#include "bench/gpu/training.h"

#include "bench/gpu/device.cuh"
#include "cuda/train/linear_loss.cuh"
#include "cuda/train/optimiser.cuh"

namespace foretoken::bench {
namespace {

constexpr int kRows = 256, kWidth = 4096, kTokens = 32000, kListed = 64, kProcessors = 16;
constexpr int64_t kWeights = int64_t{64} << 20;

template <class T>
DeviceArray<T> zeros(int64_t count) {
  DeviceArray<T> array(static_cast<size_t>(count));
  FORETOKEN_CUDA_CHECK(cudaMemset(array.get(), 0, array.bytes()));
  return array;
}

/// All launches, one after the other: run(i) for i < count.
template <class Run>
void report(Report& report, const std::string& name, size_t count, Run run) {
  double all = 0, longest = 0;
  for (size_t i = 0; i < count; ++i) {
    const double seconds = medianSeconds([&](int) { FORETOKEN_CUDA_CHECK(run(i)); }, 3, 1);
    all += seconds;
    longest = std::max(longest, seconds);
  }
  report.add("training." + name + ".ms", 1e3 * all);
  report.add("training." + name + ".longestUs", 1e6 * longest);
}

void linearLoss(Report& out) {
  const auto x = zeros<uint16_t>(int64_t{kRows} * kWidth), w = zeros<uint16_t>(int64_t{kTokens} * kWidth);
  const auto dx = zeros<float>(int64_t{kRows} * kWidth), dw = zeros<float>(int64_t{kTokens} * kWidth);
  const auto logits = zeros<float>(int64_t{cuda::kChunkRows} * kTokens);
  const auto gradient = zeros<uint16_t>(int64_t{cuda::kChunkRows} * kTokens);
  std::vector<int32_t> listed(kRows * kListed);
  for (int i = 0; i < kRows * kListed; ++i) listed[static_cast<size_t>(i)] = i % kListed * 401;
  const DeviceArray<int32_t> token(listed), top(kRows);
  const DeviceArray<float> probability(std::vector<float>(kRows * kListed, 0.9f / kListed));
  const DeviceArray<float> rest(std::vector<float>(kRows, 0.1f)), weight(std::vector<float>(kRows, 1));
  const DeviceArray<float> kl(kRows), acceptance(kRows);
  cuda::LossArgs loss{};
  loss.vocabulary = kTokens;
  loss.kl = 1, loss.rejection = 0.5f;
  loss.weight = weight.get();
  loss.token = token.get(), loss.probability = probability.get(), loss.rest = rest.get(), loss.listed = kListed;
  loss.klOut = kl.get(), loss.acceptance = acceptance.get(), loss.top = top.get();
  const cuda::LossTerm term{x.get(), w.get(), kWidth, dx.get(), dw.get()};
  const cuda::LinearLossPlan plan({&term, 1}, nullptr, kRows, loss, {logits.get(), nullptr, gradient.get()},
                                  kProcessors);
  report(out, "linearLoss", plan.size(), [&](size_t i) { return plan.run(i, nullptr); });
}

void step(Report& out) {
  const auto gradient = zeros<float>(kWeights), weight = zeros<float>(kWeights), mean = zeros<float>(kWeights),
             square = zeros<float>(kWeights);
  const auto rounded = zeros<uint16_t>(kWeights);
  const DeviceArray<cuda::Clip> clip(std::vector<cuda::Clip>{{1, 1, 1}});
  const cuda::StepArgs a{gradient.get(), weight.get(), rounded.get(), mean.get(), square.get(), kWeights};
  const formula::AdamW rule{1e-4f, 0.9f, 0.95f, 1e-8f, 0, 0.1f, 0.05f};
  report(out, "adamw", static_cast<size_t>(cuda::ceilDiv(kWeights, cuda::kElementSlice)), [&](size_t i) {
    return cuda::launchStep(cuda::adamwStep, a, rule, static_cast<int64_t>(i) * cuda::kElementSlice, clip.get(),
                            nullptr);
  });
}

}  // namespace

void training(Report& report) {
  linearLoss(report);
  step(report);
}

}  // namespace foretoken::bench
