// What learns on the device: layers and rows of a head, and the steps of an optimiser that no engine takes yet.
#include <cmath>

#include "bench/gpu/device_array.cuh"
#include "bench/gpu/head_case.h"
#include "bench/gpu/trials.h"
#include "cuda/train/device_layers.h"
#include "cuda/train/device_rows.h"
#include "cuda/train/small_moments.cuh"

namespace foretoken::bench {
namespace {

using namespace foretoken::cuda;

/// How far two steps of layers have moved each weight. A small gradient moves little, so that rounding decides no
/// direction. NaN where a step was not taken.
std::vector<float> movedLayers() {
  constexpr train::BlockHeadShape kShape{.width = 48,
                                         .fused = 2,
                                         .layers = 2,
                                         .inner = 80,
                                         .heads = {4, 2, 32},
                                         .vocabulary = 96,
                                         .rank = 8,
                                         .slots = 3,
                                         .positions = 128};
  learn::LayerOptions options;
  options.rate = 0.02f, options.anchors = 9, options.optimiser.epsilon = 0.01f;
  HeadCase learned(kShape, options);
  const auto steps = createLayerSteps(0, learned.start());
  const train::LabelledBlocks batch = learned.blocks(70, 30);
  const bool taken = steps->step(batch) && steps->step(batch);
  std::vector<float> moved = *steps->learned().layers;
  for (size_t i = 0; i < moved.size(); ++i) moved[i] -= (*learned.live().layers)[i];
  if (!taken) moved.push_back(NAN);
  return moved;
}

std::vector<float> movedRows() {
  constexpr int kSlots = 12, kListed = 9, kRows = 40, kWidth = 72, kRank = 10;
  learn::RowSlots slots;
  for (int s = 0; s < kSlots; ++s) {
    for (int i = 0; i < kListed; ++i) slots.row.push_back((s * 7 + i * 4) % kRows);
    slots.first.push_back(static_cast<int32_t>(slots.row.size()));
    slots.before.push_back(s * 3 % kRows), slots.truth.push_back(s % kListed);
    slots.rest.push_back(-1 + 0.1f * static_cast<float>(s)), slots.weight.push_back(s % 3 == 0 ? 1 : 0.6f);
  }
  slots.logit = numbers(kSlots * kListed, 2);
  for (const float x : numbers(kSlots * kWidth, 1)) slots.state.push_back(floatToBf16(x));
  learn::MovedRows rows{kWidth,
                        kRank,
                        numbers(kRows * kRank, 0.5f),
                        numbers(kRows * kRank, 0.5f),
                        std::vector<float>(kRows * kWidth),
                        std::vector<uint8_t>(kRows),
                        kRows / 2};
  DeviceRowSteps device(0);
  std::vector<float> all{static_cast<float>(device.step(slots, rows, {.markov = 0.2f, .output = 0.3f}))};
  for (const std::vector<float>* each : {&rows.before, &rows.after, &rows.delta})
    all.insert(all.end(), each->begin(), each->end());
  all.push_back(static_cast<float>(rows.room));
  return all;
}

/// Weights after some steps: with momentum, and AdamW with moments of 8 bits.
std::vector<float> stepped() {
  constexpr int64_t kCount = 5003, kGap = 70;
  const DeviceArray<float> gradient(numbers(kCount, 1));
  const DeviceArray<Clip> clip(std::vector<Clip>{{1, 0.7f, 1}});
  const auto zeros = [](int64_t count) { return std::vector<float>(static_cast<size_t>(count)); };
  const DeviceArray<StepRun> runs(std::vector<StepRun>{{1100, 0}, {kCount, kGap}});
  const DeviceArray<float> weight(numbers(kCount + kGap, 0.5f)), mean(zeros(kCount)), small(numbers(kCount, 0.5f));
  const std::vector<uint8_t> none(static_cast<size_t>(kCount));
  const DeviceArray<uint8_t> meanCodes(none), rootCodes(none);
  const int64_t blocks = ceilDiv(kCount, int64_t{kMomentBlock});
  const DeviceArray<float> meanScale(zeros(blocks)), rootScale(zeros(blocks));
  const StepArgs withMomentum{gradient.get(), weight.get(), nullptr, mean.get(), nullptr, kCount, runs.get()};
  const StepArgs ofSmall{gradient.get(), small.get(), nullptr, nullptr, nullptr, kCount};
  for (int n = 1; n <= 3; ++n) {
    const auto correction = static_cast<float>(n) / 3;
    FORETOKEN_CUDA_CHECK(
        launchStep(sgdStep, withMomentum, formula::Momentum{0.02f, 0.9f, 0.01f}, 0, clip.get(), nullptr));
    FORETOKEN_CUDA_CHECK(launchSmallStep(ofSmall, {meanCodes.get(), rootCodes.get(), meanScale.get(), rootScale.get()},
                                         {0.01f, 0.9f, 0.95f, 1e-8f, 0.1f, correction, correction},
                                         static_cast<uint64_t>(n), 0, clip.get(), nullptr));
  }
  std::vector<float> all = weight.read();
  const std::vector<float> others = small.read();
  all.insert(all.end(), others.begin(), others.end());
  return all;
}

}  // namespace

std::vector<Trial> trainingTrials() {
  return {{"training.layers", MatrixUnit::none, 0.02, movedLayers},
          {"training.rows", MatrixUnit::none, 1e-4, movedRows},
          {"training.steps", MatrixUnit::none, 1e-5, stepped}};
}

}  // namespace foretoken::bench
