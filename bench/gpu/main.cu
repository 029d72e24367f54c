// foretoken_gpu_bench PART... [--json FILE] [--executor FILE] [--golden FILE]: what docs/bench.md describes under
// "gpu".
#include <cctype>
#include <cstring>
#include <exception>

#include "bench/gpu/ceiling.h"
#include "bench/gpu/conformance.h"
#include "bench/gpu/device.cuh"
#include "bench/gpu/drawing.h"
#include "bench/gpu/kernels.h"
#include "bench/gpu/layers.h"
#include "bench/gpu/prefill.h"
#include "bench/gpu/report.h"
#include "bench/gpu/sanitize.h"
#include "bench/gpu/step.h"
#include "bench/gpu/training.h"

namespace {

using namespace foretoken::bench;

/// "NVIDIA H100 80GB HBM3" is h100.
std::string cardName() {
  cudaDeviceProp properties;
  FORETOKEN_CUDA_CHECK(cudaGetDeviceProperties(&properties, 0));
  const std::string name = properties.name;
  for (const char* known : {"H100", "H200", "B200", "GB200", "B300"}) {
    if (name.find(known) == std::string::npos) continue;
    std::string lower = known;
    for (char& c : lower) c = static_cast<char>(std::tolower(c));
    return lower;
  }
  return "sm" + std::to_string(10 * properties.major + properties.minor);
}

struct Options {
  std::vector<std::string> parts;
  std::string json, executor = "executor_probes.bin", golden;
};

bool readOptions(int count, char** arguments, Options& options) {
  for (int i = 1; i < count; ++i) {
    std::string* const value = !std::strcmp(arguments[i], "--json")       ? &options.json
                               : !std::strcmp(arguments[i], "--executor") ? &options.executor
                               : !std::strcmp(arguments[i], "--golden")   ? &options.golden
                                                                          : nullptr;
    if (value == nullptr)
      options.parts.emplace_back(arguments[i]);
    else if (++i < count)
      *value = arguments[i];
    else
      return false;
  }
  return !options.parts.empty();
}

bool run(const std::string& part, const Options& options, double ceiling, Report& report) {
  if (part == "conformance") return conformance(report, options.executor, options.golden);
  if (part == "sanitize") return sanitize(), true;
  if (part == "kernels") return kernels(report, ceiling), prefill(report), drawing(report);
  if (part == "step") return step(report, ceiling), true;
  if (part == "train") return training(report), layers(report), true;
  std::fprintf(stderr, "there is no part '%s'\n", part.c_str());
  return false;
}

int measure(const Options& options) {
  Report report(cardName());
  const double ceiling = readCeiling();
  report.add("readGBs", 1e-9 * ceiling);
  bool good = true;
  for (const std::string& part : options.parts) good = run(part, options, ceiling, report) && good;
  if (!options.json.empty() && !report.write(options.json.c_str()))
    return std::fprintf(stderr, "%s can't be written\n", options.json.c_str()), 1;
  return good ? 0 : 1;
}

}  // namespace

int main(int count, char** arguments) {
  Options options;
  if (!readOptions(count, arguments, options))
    return std::fprintf(stderr, "usage: foretoken_gpu_bench PART... [--json FILE] [--executor FILE] [--golden FILE]\n"),
           2;
  try {
    return measure(options);
  } catch (const std::exception& error) {
    return std::fprintf(stderr, "%s\n", error.what()), 1;
  }
}
