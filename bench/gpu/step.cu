#include "bench/gpu/step.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>

#include "bench/gpu/random_model.h"
#include "cuda/backend/cuda_backend.h"

namespace foretoken::bench {
namespace {

constexpr ModelShape kLlama{32, 4096, 14336, 32, 8, 128, 128256};
constexpr int kContext = 1024, kMaxRows = 64;
/// Different layers: of any format more bytes than three times L2.
constexpr int kDistinct = 4;

double medianStep(RandomModel& model, int rows) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> seconds;
  for (int i = 0; i < 25; ++i) {
    const auto begin = Clock::now();
    model.step(rows);
    if (i >= 5) seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + 10, seconds.end());
  return seconds[10];
}

}  // namespace

bool step(Report& report, double ceiling) {
  const std::pair<const char*, Format> formats[] = {{"fp8", Format::fp8}, {"nvfp4", Format::nvfp4}};
  double plainFp8 = 0;
  bool equal = true;
  for (const auto& [name, format] : formats) {
    cuda::CudaBackend backend({0, static_cast<int>(std::thread::hardware_concurrency())});
    RandomModel model(backend, kLlama, KvFormat::bf16, format, kDistinct, kContext, kMaxRows);
    double one = 0;
    int32_t alone = -1;
    for (const int rows : {1, 2, 4, 8, 16, 32, 64}) {
      const double seconds = medianStep(model, rows);
      if (rows == 1) one = seconds, alone = model.first();
      equal = equal && model.first() == alone;
      const std::string key = std::string("step.") + name + ".m" + std::to_string(rows);
      report.add(key + ".ms", 1e3 * seconds);
      report.add(key + ".share", static_cast<double>(model.bytes()) / seconds / ceiling);
      report.add(key + ".cost", seconds / one);
    }
    if (format == Format::fp8) plainFp8 = one;
    if (format == Format::nvfp4) report.add("step.nvfp4OverFp8", plainFp8 / one);
  }
  return equal;
}

}  // namespace foretoken::bench
