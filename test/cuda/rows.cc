// Rows of heads that learn on the device: step for step what RowLearner makes of the same slots on the CPU, within what
// the order of sums makes of it; the same bits under every schedule.
#include <numeric>

#include "cuda/train/device_rows.cu"
#include "learn/row_learner.h"
#include "quant/float_codecs.h"
#include "test/cuda/schedules.h"
#include "test/native/toy_language.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;
using foretoken::learn::RowLearner;
using foretoken::learn::RowOptions;
using foretoken::learn::SlotExamples;
using foretoken::test::Floats;

constexpr int64_t kTokens = kToyVocabulary + 8;

/// Slots over all tokens, of which the last eight can't be drafted; some list few, some name what is not listed.
SlotExamples randomSlots(uint32_t seed, int slots) {
  std::mt19937 random(seed);
  SlotExamples out;
  for (int s = 0; s < slots; ++s) {
    std::vector<int32_t> tokens(kTokens);
    std::iota(tokens.begin(), tokens.end(), 0);
    std::shuffle(tokens.begin(), tokens.end(), random);
    const auto listed = 1 + static_cast<int64_t>(random() % SlotExamples::kListed);
    for (int64_t i = 0; i < SlotExamples::kListed; ++i) out.listed.push_back(i < listed ? tokens[i] : -1);
    out.truth.push_back(s % 5 == 4 ? tokens.back() : tokens[random() % listed]);
    out.previous.push_back(static_cast<int32_t>(random() % kTokens));
    out.weight.push_back(s % 3 == 0 ? 1 : 0.6f);
    out.rest.push_back(-1 + 0.1f * static_cast<float>(s % 7));
    for (const float x : randomValues(kToyWidth, seed + s)) out.state.push_back(floatToBf16(x));
  }
  out.logit = randomValues(slots * SlotExamples::kListed, seed);
  return out;
}

struct Rig {
  ToyTarget toy{kTokens};
  train::BlockHead head{toyShape(16, 64)};
  ThreadPool pool{1};
  train::Ops ops{pool, selectIsa("")};
  learn::HeadRows start = *learn::inParts({head.initial(3, 1), toy.target.draft, {}}, head.before()).rows;

  Rig() {
    const Floats noise = randomValues(kToyVocabulary * 16, 11, 0.5f);
    std::copy(noise.begin(), noise.end(), start.markov.begin() + head.after());
    start.delta = {{3, 20}, randomValues(2 * kToyWidth, 12, 0.1f)};
  }
};

struct Learned {
  Floats markov;
  train::OutputDelta delta;
  int64_t skipped = 0;
};

Learned learn(const Rig& rig, const RowOptions& options, learn::RowSteps* steps, bool poisoned) {
  Rig& own = const_cast<Rig&>(rig);  // Ops count what they do
  RowLearner learner(own.ops, rig.head, rig.toy.target, options, rig.start, steps);
  Learned out{rig.start.markov, {}};
  for (uint32_t lesson = 0; lesson < 3; ++lesson) {
    SlotExamples slots = randomSlots(lesson, longRun() ? 150 : 40);
    if (poisoned)
      slots.logit[2 * SlotExamples::kListed] = NAN, slots.truth[2] = slots.listed[2 * SlotExamples::kListed];
    out.skipped += learner.step(slots, out.markov);
  }
  out.delta = learner.delta();
  return out;
}

/// The largest difference, beside the largest change.
double difference(const Floats& a, const Floats& b, const Floats& before) {
  double most = 0, moved = 1e-9;
  CHECK(a.size() == b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    most = std::max(most, std::abs(static_cast<double>(a[i]) - b[i]));
    if (i < before.size()) moved = std::max(moved, std::abs(static_cast<double>(a[i]) - before[i]));
  }
  return most / moved;
}

void testAgainstCpu(const RowOptions& options, bool poisoned) {
  const Rig rig;
  const Learned onCpu = learn(rig, options, nullptr, poisoned);
  cuda::DeviceRowSteps device(0);
  CHECK(device.deviceBytes() == 0);
  const Learned first = learn(rig, options, &device, poisoned);
  CHECK(device.deviceBytes() > first.delta.row.size() * sizeof(float));
  CHECK(first.skipped == onCpu.skipped && (first.skipped > 0) == poisoned);
  CHECK(first.delta.place == onCpu.delta.place);
  CHECK(difference(first.markov, onCpu.markov, rig.start.markov) < 1e-4);
  CHECK(difference(first.delta.row, onCpu.delta.row, Floats(first.delta.row.size())) < 1e-4);
  CHECK((options.markov > 0) == (first.markov != rig.start.markov));
  CHECK((options.output > 0) == (first.delta.row != rig.start.delta.row));
  forEachSchedule(longRun() ? 6 : 3, [&] {
    const Learned again = learn(rig, options, &device, poisoned);
    CHECK(again.markov == first.markov && again.delta.row == first.delta.row);
  });
}

/// No launch holds a multiprocessor for long.
void testSlices() {
  for (const int width : {64, 576, 4096, 16384}) {
    const int64_t numbers = int64_t{cuda::kMostEntries} * width * cuda::slotsPerRowSlice(width);
    CHECK(cuda::slotsPerRowSlice(width) >= 1 && numbers <= cuda::kNumbersPerRowSlice);
  }
}

}  // namespace

int main() {
  testSlices();
  testAgainstCpu({.markov = 0.2f, .output = 0.3f}, false);
  testAgainstCpu({.markov = 0.2f, .output = 0.3f, .clip = 0.2f}, true);
  testAgainstCpu({.markov = 0, .output = 0.3f}, false);
  testAgainstCpu({.markov = 0.2f, .output = 0}, false);
  return finish("rows");
}
