// Probes and trials over the executor of cuda/simt: executor_probes FILE writes what they give, in the order of their
// lists.
#include <cstdio>

#include "bench/gpu/executor_trials.h"
#include "bench/gpu/probes.cuh"
#include "bench/gpu/record.h"

int main(int count, char** arguments) {
  using namespace foretoken::bench;
  if (count != 2) return std::fprintf(stderr, "usage: executor_probes FILE\n"), 2;
  std::ofstream file(arguments[1], std::ios::binary);
  for (const Probe& probe : probes()) {
    standFor(probe.unit);
    Words words(static_cast<size_t>(probe.room));
    probe.run(words.data());
    words.resize(static_cast<size_t>(probe.words));
    writeWords(file, words);
  }
  for (const Trial& trial : trials()) {
    standFor(trial.unit);
    writeWords(file, wordsOf(trial.run()));
  }
  file.close();
  return file ? 0 : 1;
}
