// Steps of layers on the device: tensor for tensor what the CPU makes of the same blocks, over shapes and seeds, some
// steps long, under other rows and with gradients that are clipped or not finite; the same bits under every schedule.
#include <numeric>

#include "cuda/train/device_layers.cu"
#include "learn/cpu_layer_steps.h"
#include "learn/head_learner.h"
#include "test/cuda/schedules.h"
#include "test/native/train_rig.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;
using foretoken::test::Floats;
using learn::HeadLearner;
using learn::LayerOptions;
using learn::LayerSteps;
using train::BlockHeadShape;
using train::HeadNumbers;
using train::LabelledBlocks;

constexpr int64_t kMoreTokens = 8;  ///< that the target has beside the first draft vocabulary

BlockHeadShape shapeOf(int64_t width, int64_t layers, int64_t inner, const train::Heads& heads, int64_t slots) {
  return {.width = width,
          .fused = 1 + layers,
          .layers = layers,
          .inner = inner,
          .heads = heads,
          .vocabulary = 48,
          .rank = 8,
          .slots = slots,
          .positions = 128,
          .epsilon = 1e-5f,
          .rotaryBase = 10000};
}

/// A head with weights that say something, for a target of random rows.
struct Rig {
  explicit Rig(const BlockHeadShape& shape, uint32_t seed = 1) : head(shape) {
    const int64_t tokens = shape.vocabulary + kMoreTokens, width = shape.width;
    for (const float x : randomValues(tokens * width, seed)) embedding.push_back(floatToBf16(x));
    target.embedding = embedding.data();
    target.draft.resize(static_cast<size_t>(shape.vocabulary));
    std::iota(target.draft.begin(), target.draft.end(), 0);
    target.place = train::placesOf(target.draft, tokens);
    target.rowsOf = [this, width](std::span<const int32_t> wanted) {
      Floats rows;
      for (const int32_t token : wanted)
        for (int64_t i = 0; i < width; ++i) rows.push_back(bf16ToFloat(embedding[token * width + i]));
      return rows;
    };
    target.output = target.rowsOf(target.draft);
    start = {head.initial(seed, 1), target.draft, {{2, 7}, randomValues(2 * width, seed + 1, 0.3f)}};
    for (const train::Parameter& p : head.parameters().all()) {
      const Floats noise =
          randomValues(p.size(), seed + static_cast<uint32_t>(p.offset), 1 / std::sqrt(static_cast<float>(p.columns)));
      const bool isScale = p.name.find("norm") != std::string::npos;
      for (int64_t i = 0; i < p.size(); ++i) start.weights[p.offset + i] += (isScale ? 0.3f : 1) * noise[i];
    }
    live = learn::inParts(start, head.before());
  }
  Rig(const Rig&) = delete;
  Rig& operator=(const Rig&) = delete;

  /// Two texts with blocks here and there.
  LabelledBlocks blocks(uint32_t seed, int64_t length = 45) const {
    const BlockHeadShape& shape = head.shape();
    const auto text = [&](int64_t tokens, uint32_t of) {
      train::TrainSequence out;
      out.first = 3;
      std::mt19937 random(of);
      for (int64_t i = 0; i < tokens; ++i)
        out.token.push_back(static_cast<int32_t>(random() % (shape.vocabulary + kMoreTokens)));
      for (int64_t l = 0; l < shape.fused; ++l)
        out.features.push_back(randomValues(tokens * shape.width, of + 10 * static_cast<uint32_t>(l)));
      out.state = randomValues(tokens * shape.width, of + 100);
      return out;
    };
    const train::TrainSequence texts[] = {text(length / 3, seed), text(length, seed + 1)};
    const auto isAnchor = [&](size_t n, int32_t i) { return n == 0 ? i == 4 : i == 0 || i == 31 || i > length - 6; };
    return train::labelledBlocks(shape, texts, isAnchor, 0.8f);
  }
  VerifiedText text(uint32_t seed) const {
    const BlockHeadShape& shape = head.shape();
    VerifiedText out{"a", "a", {}, 2, 6, {}};
    std::mt19937 random(seed);
    for (int i = 0; i < 30; ++i) out.token.push_back(static_cast<int32_t>(random() % shape.vocabulary));
    for (const float x : randomValues(30 * (shape.fused + 1) * shape.width, seed)) out.kept.push_back(floatToBf16(x));
    return out;
  }
  std::unique_ptr<LayerSteps> onCpu(const LayerOptions& options) {
    return std::make_unique<learn::CpuLayerSteps>(ops, learn::LayerStart{head, target, options, live});
  }
  std::unique_ptr<LayerSteps> onDevice(const LayerOptions& options) {
    return cuda::createLayerSteps(0, {head, target, options, live});
  }

  train::BlockHead head;
  ThreadPool pool{1};
  train::Ops ops{pool, selectIsa("")};
  std::vector<uint16_t> embedding;
  train::TargetTables target;
  HeadNumbers start;
  learn::LearnedHead live;  ///< start in its parts
};

HeadNumbers numbersOf(LayerSteps& steps) { return learn::together(steps.learned()); }

/// Steps in which a small gradient moves little, so that rounding doesn't decide a direction.
LayerOptions smooth(float clip = 1) {
  LayerOptions options;
  options.rate = 0.02f;
  options.optimiser.epsilon = 0.01f, options.optimiser.decay = 0.01f, options.optimiser.clip = clip;
  return options;
}

/// What moves has moved alike, but for 0.3 % a step, which rounding to bf16 on the way makes of other orders of sums;
/// all else not at all.
void checkAlike(const Rig& rig, const HeadNumbers& device, const HeadNumbers& cpu, const HeadNumbers& before,
                int steps = 1) {
  CHECK(device.draft == cpu.draft && device.delta.place == cpu.delta.place && device.delta.row == cpu.delta.row);
  for (const train::Parameter& p : rig.head.parameters().all()) {
    double moved = 0, apart = 0;  // squares
    for (int64_t i = p.offset; i < p.offset + p.size(); ++i) {
      moved += std::pow(static_cast<double>(cpu.weights[i]) - before.weights[i], 2);
      apart += std::pow(static_cast<double>(device.weights[i]) - cpu.weights[i], 2);
    }
    CHECK(learn::isLearned(p) ? moved > 0 && std::sqrt(apart) <= 0.003 * steps * std::sqrt(moved) : moved + apart == 0);
  }
}

void testAgainstCpu(const BlockHeadShape& shape, uint32_t seed, const LayerOptions& options) {
  Rig rig(shape, seed);
  const auto cpu = rig.onCpu(options), device = rig.onDevice(options);
  // Weights, theirs in bf16; and rows twice.
  const int64_t weights = rig.head.parameters().size(), rows = shape.vocabulary * shape.width;
  CHECK(cpu->deviceBytes() == 0 && device->deviceBytes() > static_cast<size_t>(6 * weights + 4 * rows));
  for (int step = 1; step <= 3; ++step) {
    // Longer, then shorter ones: memory of a step grows, and is used again.
    const LabelledBlocks blocks = rig.blocks(seed + 7 * static_cast<uint32_t>(step), step == 2 ? 60 : 45);
    const size_t held = device->deviceBytes();
    CHECK(cpu->step(blocks) && device->step(blocks));
    CHECK(step == 3 ? device->deviceBytes() == held : device->deviceBytes() > held);
    checkAlike(rig, numbersOf(*device), numbersOf(*cpu), rig.start, step);
  }
}

/// Other tokens, other additions to output rows, other Markov rows.
void testOtherRows(const BlockHeadShape& shape) {
  Rig rig(shape);
  const auto cpu = rig.onCpu(smooth()), device = rig.onDevice(smooth()), as = rig.onDevice(smooth());
  HeadNumbers other = rig.start;
  other.draft[5] = static_cast<int32_t>(shape.vocabulary) + 3;
  other.delta = {{1}, randomValues(shape.width, 77)};
  const Floats markov = randomValues(static_cast<int64_t>(other.weights.size()) - rig.head.before(), 78);
  std::copy(markov.begin(), markov.end(), other.weights.begin() + rig.head.before());
  const auto rows = learn::inParts(other, rig.head.before()).rows;
  cpu->setRows(rows), device->setRows(rows);
  const LabelledBlocks blocks = rig.blocks(5);
  CHECK(cpu->step(blocks) && device->step(blocks) && as->step(blocks));
  checkAlike(rig, numbersOf(*device), numbersOf(*cpu), other);
  CHECK(numbersOf(*device).weights != numbersOf(*as).weights);
}

/// A gradient that is not finite moves nothing and is no step; a long one is clipped.
void testGuard(const BlockHeadShape& shape) {
  Rig rig(shape);
  const auto cpu = rig.onCpu(smooth(0.05f)), device = rig.onDevice(smooth(0.05f)), free = rig.onDevice(smooth(1e9f));
  const LabelledBlocks blocks = rig.blocks(9);
  for (const float poison : {NAN, INFINITY}) {
    LabelledBlocks poisoned = blocks;
    poisoned.state[3] = poison;
    CHECK(!cpu->step(poisoned) && !device->step(poisoned));
    CHECK(numbersOf(*device).weights == rig.start.weights);
  }
  CHECK(cpu->step(blocks) && device->step(blocks) && free->step(blocks));
  checkAlike(rig, numbersOf(*device), numbersOf(*cpu), rig.start);
  CHECK(numbersOf(*device).weights != numbersOf(*free).weights);
}

/// What takes more than one launch is all there.
void testSlices() {
  cuda::Stream stream;
  const cuda::LayerOps ops(stream, 4);
  const int64_t count = cuda::kElementSlice + 1031;
  const auto size = static_cast<size_t>(count);
  Floats x(size, 0.5f);
  std::vector<uint16_t> y(size);
  ops.round(x.data(), count, y.data());
  CHECK(std::count(y.begin(), y.end(), floatToBf16(0.5f)) == count);
  std::vector<double> partial(size / cuda::kNormPiece + 1);
  cuda::Clip clip{};
  ops.clip(x.data(), count, 1, partial.data(), &clip);
  CHECK(std::abs(clip.norm / (0.5 * std::sqrt(static_cast<double>(count))) - 1) < 1e-9 && clip.finite == 1);
  // Two rows a launch.
  const int width = cuda::kElementSlice / 2, rows = 3;
  x.assign(size_t{3} * width, 2.0f), y.assign(x.size(), 0);
  const Floats scale(static_cast<size_t>(width), 1.0f);
  Floats inverse(rows, 0.0f);
  ops.norm({x.data(), scale.data(), 0, width, inverse.data()}, rows, y.data());
  CHECK(inverse == Floats(rows, 0.5f) && std::count(y.begin(), y.end(), floatToBf16(1)) == int64_t{rows} * width);
}

/// Also beside another head's steps.
void testSchedules(const BlockHeadShape& shape) {
  Rig rig(shape);
  Floats first;
  forEachSchedule(longRun() ? 6 : 3, [&] {
    const auto device = rig.onDevice(smooth()), other = rig.onDevice(smooth());
    for (uint32_t step = 0; step < 2; ++step) {
      CHECK(device->step(rig.blocks(step)));
      if (!first.empty()) CHECK(other->step(rig.blocks(step + 30)));
    }
    const Floats got = numbersOf(*device).weights;
    if (first.empty()) first = got;
    CHECK(got == first);
  });
}

/// The head that a tenant's learner promotes after two steps of layers; `other`: with another tenant's in between.
HeadLearner::Weights learned(Rig& rig, const learn::StepTakers& takers, bool other) {
  const learn::OutputNorm norm{Floats(static_cast<size_t>(rig.head.shape().width), 1.0f), 1e-5f};
  learn::LearnOptions options;
  options.layers = smooth(), options.layers.stepsPerCandidate = 2, options.scored = 8;
  const auto start = std::make_shared<const learn::LearnedHead>(rig.live);
  HeadLearner a(rig.ops, rig.head, rig.target, norm, options, start, takers);
  HeadLearner b(rig.ops, rig.head, rig.target, norm, options, start, takers);
  learn::Foreseen seen;
  for (uint32_t i = 0; i < 2; ++i) {
    CHECK(a.take(rig.text(i), seen) && seen.candidate.empty());
    CHECK(a.stepLayers());
    if (other) CHECK(b.take(rig.text(i + 10), seen) && b.stepLayers());
  }
  seen = {};
  CHECK(a.take(rig.text(2), seen) && seen.candidateNumber == 1 && seen.candidate.size() == seen.live.size());
  a.promote();
  CHECK(a.live() != start && a.layerSteps() == 2 && a.skipped() == 0);
  return a.live();
}

void testLearner(const BlockHeadShape& shape) {
  Rig rig(shape);
  int made = 0;
  const learn::StepTakers takers{nullptr,
                                 [&](const learn::LayerStart& start) {
                                   ++made;
                                   return cuda::createLayerSteps(0, start);
                                 },
                                 [](const std::exception_ptr&) { CHECK(!"the device can"); }};
  const HeadLearner::Weights device = learned(rig, takers, false), cpu = learned(rig, {}, false);
  CHECK(made == 1);
  checkAlike(rig, learn::together(*device), learn::together(*cpu), rig.start, 2);
  CHECK(*learned(rig, takers, true)->layers == *device->layers && made == 3);
}

/// Where the device has no memory left for layers or for a step of theirs, the CPU goes on from where they are, and
/// says so; a device that is lost is an error.
void testFailures(const BlockHeadShape& shape) {
  Rig rig(shape);
  std::vector<std::string> told;
  const learn::StepTakers takers{
      nullptr, [](const learn::LayerStart& start) { return cuda::createLayerSteps(0, start); },
      [&](const std::exception_ptr& why) { told.push_back(codeOf([&] { std::rethrow_exception(why); })); }};
  const HeadLearner::Weights cpu = learned(rig, {}, false);
  for (const int64_t after : {0, 1}) {  // weights; what a step takes
    simt::faults.arm({simt::Call::allocate, after, cudaErrorMemoryAllocation});
    CHECK(*learned(rig, takers, false)->layers == *cpu->layers);
    CHECK(simt::faults.mend() && std::exchange(told, {}) == std::vector<std::string>{"OUT_OF_MEMORY"});
  }
  for (const auto of : {simt::Call::allocate, simt::Call::copy, simt::Call::launch, simt::Call::wait})
    for (const int64_t after : {0, 1}) {
      simt::faults.arm({of, after, cudaErrorIllegalAddress});
      CHECK(codeOf([&] { learned(rig, takers, false); }) == "CUDA_ERROR");
      CHECK(simt::faults.mend() && told.empty());
    }
}

void testRefused() {
  Rig rig(shapeOf(16, 1, 16, {1, 1, 16}, cuda::kMostSlots + 1));
  CHECK(codeOf([&] { rig.onDevice({}); }) == "SHAPE_MISMATCH");
}

}  // namespace

int main() {
  const BlockHeadShape one = shapeOf(32, 1, 48, {2, 1, 16}, 3), two = shapeOf(48, 2, 32, {4, 2, 32}, 4);
  for (uint32_t seed = 1; seed <= (longRun() ? 4u : 1u); ++seed) {
    testAgainstCpu(one, seed, smooth());
    testAgainstCpu(two, seed, smooth());
  }
  testAgainstCpu(shapeOf(16, 1, 16, {1, 1, 16}, 1), 2, smooth());
  if (longRun()) testAgainstCpu(shapeOf(144, 2, 160, {3, 3, 48}, 7), 3, smooth());
  testOtherRows(one);
  testGuard(two);
  testSchedules(one);
  testLearner(one);
  testFailures(one);
  if (longRun()) testSlices();
  testRefused();
  return finish("layer_steps");
}
