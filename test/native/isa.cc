// Instruction-set choice, the memory helper, and the machine's probes on every path this CPU has.
#include "cpu/isa.h"

#include <string>
#include <utility>

#include "backend.h"
#include "check.h"
#include "common/error.h"
#include "common/memory.h"
#include "cpu/bench_kernels.h"
#include "cpu/probe.h"
#include "refusal.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;

void testSelection() {
  CHECK(isaAvailable(Isa::portable));
  CHECK(selectIsa("portable") == Isa::portable);
  CHECK(std::string(name(selectIsa(""))) == availableIsas()[0]);
  for (const char* isa : availableIsas()) CHECK(name(selectIsa(isa)) == std::string(isa));
  CHECK(codeOf([] { selectIsa("mmx"); }) == "ISA_UNAVAILABLE");
  if (!isaAvailable(Isa::avx512)) CHECK(codeOf([] { selectIsa("avx512"); }) == "ISA_UNAVAILABLE");
}

void testBackendOptions() {
  CHECK(codeOf([] { createCpuBackend({-1, ""}); }) == "INVALID_OPTION");
  CHECK(codeOf([] { createCpuBackend({1000, ""}); }) == "INVALID_OPTION");
  CHECK(codeOf([] { createCpuBackend({1, "sse9"}); }) == "ISA_UNAVAILABLE");
  const auto backend = createCpuBackend({2, ""});
  CHECK(backend->packedBytes(Format::nvfp4, 960, 576) == 64 + 60 * 18 * 288);
  CHECK(backend->packedBytes(Format::fp8, 17, 33) == 64 + 2 * (2 * 512 + 64));
}

void testMemory() {
  CHECK(codeOf([] { Memory(size_t{1} << 46, "a test"); }) == "OUT_OF_MEMORY");
  CHECK(availableMemory() > 0);
  Memory small(100, "a test"), large(size_t{5} << 20, "a test");
  CHECK(reinterpret_cast<uintptr_t>(small.data()) % 64 == 0);
  CHECK(reinterpret_cast<uintptr_t>(large.data()) % (size_t{2} << 20) == 0);
  CHECK(large.data()[0] == 0 && large.data()[large.size() - 1] == 0);
  uint8_t* data = large.data();
  Memory moved = std::move(large);
  CHECK(moved.data() == data && large.data() == nullptr && large.size() == 0);
  large = std::move(moved);
  CHECK(large.data() == data);
}

void testProbes() {
  ThreadPool threads(2);
  for (const char* path : availableIsas()) {
    const Isa isa = selectIsa(path);
    Probe probe(threads, isa);
    CHECK(probe.readGBs() > 0 && probe.int8GMACs() > 0 && probe.bf16GMACs() > 0 && probe.meetingNs() > 0);
    KernelBench bench(threads, isa, Format::nvfp4, 96, 64, 3, 10000);
    CHECK(bench.seconds() > 0 && bench.macs() == 96.0 * 64 * 3 && bench.bytes() == 96.0 * 36 + 4);
  }
}

}  // namespace

int main() {
  testSelection();
  testBackendOptions();
  testMemory();
  testProbes();
  return finish("isa");
}
