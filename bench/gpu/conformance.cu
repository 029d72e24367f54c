#include "bench/gpu/conformance.h"

#include "bench/gpu/device_array.cuh"
#include "bench/gpu/probes.cuh"
#include "bench/gpu/record.h"
#include "bench/gpu/trials.h"

namespace foretoken::bench {
namespace {

bool hasUnit(cuda::MatrixUnit unit) { return unit == cuda::MatrixUnit::none || unit == cuda::currentUnit(); }

Words wordsOf(const Probe& probe) {
  const DeviceArray<uint32_t> memory(Words(static_cast<size_t>(probe.room)));
  FORETOKEN_CUDA_CHECK(probe.run(memory.get()));
  FORETOKEN_CUDA_CHECK(cudaDeviceSynchronize());
  Words words = memory.read();
  words.resize(static_cast<size_t>(probe.words));
  return words;
}

int differences(const Words& words, const Words& expected) {
  int different = words.size() == expected.size() ? 0 : 1;
  for (size_t i = 0; i < std::min(words.size(), expected.size()); ++i) different += words[i] != expected[i];
  return different;
}

}  // namespace

bool conformance(Report& report, const std::string& executor, const std::string& golden) {
  std::ifstream expected(executor, std::ios::binary);
  if (!expected) return std::fprintf(stderr, "%s can't be read\n", executor.c_str()), false;
  std::ofstream written;
  if (!golden.empty()) written.open(golden, std::ios::binary);
  bool same = true;
  // Words of what the device has the unit for, and what the executor says of it.
  const auto visit = [&](cuda::MatrixUnit unit, const auto& run, const auto& compare) {
    const Words theirs = readWords(expected);
    const Words words = hasUnit(unit) ? run() : Words{};
    if (written.is_open()) writeWords(written, words);
    if (hasUnit(unit)) same = compare(words, theirs) && same;
  };
  for (const Probe& probe : probes())
    visit(
        probe.unit, [&] { return wordsOf(probe); },
        [&](const Words& words, const Words& theirs) {
          const int different = differences(words, theirs);
          report.add("conformance." + probe.name + ".different", different);
          return different == 0;
        });
  for (const Trial& trial : trials())
    visit(
        trial.unit, [&] { return wordsOf(trial.run()); },
        [&](const Words& words, const Words& theirs) {
          const double apart = deviation(numbersOf(words), numbersOf(theirs));
          report.add("conformance." + trial.name + ".apart", apart);
          report.add("conformance." + trial.name + ".allowed", trial.tolerance);
          return apart <= trial.tolerance;
        });
  return same;
}

}  // namespace foretoken::bench
