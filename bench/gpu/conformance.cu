#include "bench/gpu/conformance.h"

#include <fstream>

#include "bench/gpu/device.cuh"
#include "bench/gpu/probes.cuh"

namespace foretoken::bench {

bool conformance(Report& report, const std::string& executor, const std::string& golden) {
  std::ifstream expected(executor, std::ios::binary);
  if (!expected) return std::fprintf(stderr, "%s can't be read\n", executor.c_str()), false;
  std::ofstream written;
  if (!golden.empty()) written.open(golden, std::ios::binary);
  bool equal = true;
  for (const Probe& probe : probes()) {
    DeviceArray<uint32_t> memory{std::vector<uint32_t>(kProbeRoom)};
    FORETOKEN_CUDA_CHECK(probe.run(memory.get()));
    FORETOKEN_CUDA_CHECK(cudaDeviceSynchronize());
    const std::vector<uint32_t> words = memory.read();
    std::vector<uint32_t> theirs(kProbeWords);
    const auto bytes = static_cast<std::streamsize>(kProbeWords * sizeof(uint32_t));
    expected.read(reinterpret_cast<char*>(theirs.data()), bytes);
    if (written.is_open()) written.write(reinterpret_cast<const char*>(words.data()), bytes);
    int different = 0;
    for (int i = 0; i < kProbeWords; ++i) different += words[i] != theirs[i];
    report.add("conformance." + probe.name + ".different", different);
    equal = equal && different == 0;
  }
  return equal && static_cast<bool>(expected);
}

}  // namespace foretoken::bench
