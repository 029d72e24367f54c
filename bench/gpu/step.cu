#include "bench/gpu/step.h"

#include <string>
#include <thread>

#include "bench/gpu/random_model.h"
#include "bench/gpu/wall_time.h"
#include "cuda/backend/cuda_backend.h"

namespace foretoken::bench {
namespace {

constexpr int kContext = 1024, kMaxRows = 64, kPromptRows = 512;

/// A pass as large as a draft head's for Llama-3-8B: a layer of its shapes and the draft tokens, a row a slot.
void head(Report& report) {
  constexpr ModelShape kHead{1, 4096, 14336, 32, 8, 128, 32000};
  cuda::CudaBackend backend({0, static_cast<int>(std::thread::hardware_concurrency())});
  RandomModel model(backend, kHead, KvFormat::bf16, Format::fp8, 1, kContext, kMaxRows);
  for (const int rows : {7, 63})
    report.add("step.head.m" + std::to_string(rows) + ".ms", 1e3 * medianWallSeconds([&] { model.step(rows); }));
}

}  // namespace

bool step(Report& report, double ceiling) {
  const std::pair<const char*, Format> formats[] = {{"fp8", Format::fp8}, {"nvfp4", Format::nvfp4}};
  double plainFp8 = 0;
  bool equal = true;
  for (const auto& [name, format] : formats) {
    cuda::CudaBackend backend({0, static_cast<int>(std::thread::hardware_concurrency())});
    RandomModel model(backend, kLlama8B, KvFormat::bf16, format, kLlamaDistinct, kContext, kPromptRows);
    double one = 0;
    int32_t alone = -1;
    for (const int rows : {1, 2, 4, 8, 16, 32, 64}) {
      const double seconds = medianWallSeconds([&] { model.step(rows); });
      if (rows == 1) one = seconds, alone = model.first();
      equal = equal && model.first() == alone;
      const std::string key = std::string("step.") + name + ".m" + std::to_string(rows);
      report.add(key + ".ms", 1e3 * seconds);
      report.add(key + ".share", static_cast<double>(model.bytes()) / seconds / ceiling);
      report.add(key + ".cost", seconds / one);
    }
    report.add(std::string("step.") + name + ".prompt" + std::to_string(kPromptRows) + ".ms",
               1e3 * medianWallSeconds([&] { model.prompt(kPromptRows); }));
    if (format == Format::fp8) plainFp8 = one;
    if (format == Format::nvfp4) report.add("step.nvfp4OverFp8", plainFp8 / one);
  }
  head(report);
  return equal;
}

}  // namespace foretoken::bench
