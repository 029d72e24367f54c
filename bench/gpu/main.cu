// foretoken_gpu_bench PART... [--json FILE] [--executor FILE] [--golden FILE]: what docs/bench.md describes under
// "gpu".
#include <stdexcept>
#include <string>

#include "bench/gpu/attention.h"
#include "bench/gpu/ceiling.h"
#include "bench/gpu/conformance.h"
#include "bench/gpu/device.cuh"
#include "bench/gpu/drafting.h"
#include "bench/gpu/drawing.h"
#include "bench/gpu/kernels.h"
#include "bench/gpu/layers.h"
#include "bench/gpu/options.h"
#include "bench/gpu/prefill.h"
#include "bench/gpu/report.h"
#include "bench/gpu/sanitize.h"
#include "bench/gpu/step.h"
#include "bench/gpu/training.h"

namespace {

using namespace foretoken::bench;

std::string cardName() {
  cudaDeviceProp properties;
  FORETOKEN_CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  return cardKey(properties.name, properties.major, properties.minor);
}

bool run(const std::string& part, const Options& options, double ceiling, Report& report) {
  if (part == "conformance") return conformance(report, options.executor, options.golden);
  if (part == "sanitize") return sanitize(), true;
  if (part == "kernels") {
    kernels(report, ceiling), attention(report, ceiling), prefill(report), drafting(report);
    return drawing(report);
  }
  if (part == "step") return step(report, ceiling);
  return training(report), layers(report), true;
}

/// Throws where there is no device: no part can do without.
void requireDevice() {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0)
    throw std::runtime_error(std::string("foretoken_gpu_bench needs a CUDA device: ") +
                             (error == cudaSuccess ? "there is none" : cudaGetErrorString(error)));
}

int measure(const Options& options) {
  requireDevice();
  Report report(cardName(), options.json);
  const double ceiling = readCeiling();
  report.add("readGBs", 1e-9 * ceiling);
  bool good = true;
  for (const std::string& part : options.parts) good = run(part, options, ceiling, report) && good;
  return good ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  try {
    return measure(readOptions({arguments + 1, arguments + count}));
  } catch (const std::invalid_argument& error) {
    return std::fprintf(stderr, "%s\n%s\n", error.what(), kUsage), 2;
  } catch (const std::exception& error) {
    return std::fprintf(stderr, "%s\n", error.what()), 1;
  }
}
