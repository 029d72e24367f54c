// The probes over the executor of cuda/simt: executor_probes FILE writes their words, probe after probe.
#include <cstdio>

#include "bench/gpu/probes.cuh"

int main(int count, char** arguments) {
  using namespace foretoken::bench;
  std::FILE* const file = count == 2 ? std::fopen(arguments[1], "wb") : nullptr;
  if (file == nullptr) return std::fprintf(stderr, "usage: executor_probes FILE\n"), 2;
  for (const Probe& probe : probes()) {
    std::vector<uint32_t> words(kProbeRoom);
    probe.run(words.data());
    std::fwrite(words.data(), sizeof words[0], kProbeWords, file);
  }
  return std::fclose(file) == 0 ? 0 : 1;
}
