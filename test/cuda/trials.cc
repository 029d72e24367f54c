// What the GPU bench compares devices with: trials over the executor give the same under other schedules, say
// something, and what is wrong would be told from what is right.
#include <cmath>
#include <set>

#include "bench/gpu/executor_trials.h"
#include "bench/gpu/probes.cuh"
#include "bench/gpu/record.h"
#include "test/cuda/schedules.h"
#include "test/native/check.h"
#include "test/native/model_rig.h"

namespace {

using namespace foretoken;
using namespace foretoken::bench;
using namespace foretoken::test;

void testProbes() {
  for (const Probe& probe : probes()) {
    standFor(probe.unit);
    const auto run = [&] {
      Words words(static_cast<size_t>(probe.room));
      CHECK(probe.run(words.data()) == cudaSuccess);
      words.resize(static_cast<size_t>(probe.words));
      return words;
    };
    const Words first = run();
    CHECK(std::set<uint32_t>(first.begin(), first.end()).size() > 4);
    forEachSchedule(3, [&] { CHECK(run() == first); });
  }
}

void testTrials() {
  for (const Trial& trial : trials()) {
    standFor(trial.unit);
    const std::vector<float> first = trial.run();
    // Finite, and not all the same; a number that is another one in a tenth of its size is noticed.
    CHECK(deviation(first, first) == 0 && std::set<float>(first.begin(), first.end()).size() > 4);
    std::vector<float> wrong = first;
    *std::max_element(wrong.begin(), wrong.end()) *= 0.9f;
    CHECK(deviation(wrong, first) > trial.tolerance);
    if (longRun()) forEachSchedule(3, [&] { CHECK(trial.run() == first); });
  }
}

void testRecord() {
  const TemporaryFolder folder;
  const std::string path = folder.path() + "/words";
  {
    std::ofstream file(path, std::ios::binary);
    writeWords(file, {1, 2, 3});
    writeWords(file, {});
    writeWords(file, wordsOf(std::vector<float>{0.5f}));
  }
  std::ifstream file(path, std::ios::binary);
  CHECK((readWords(file) == Words{1, 2, 3}) && readWords(file).empty());
  CHECK(numbersOf(readWords(file)) == std::vector<float>{0.5f});
  CHECK(readWords(file).empty());
  CHECK(std::isinf(deviation({1}, {1, 2})) && std::isinf(deviation({NAN}, {1})) && deviation({}, {}) == 0);
}

}  // namespace

int main() {
  testRecord();
  testProbes();
  testTrials();
  return finish("trials");
}
