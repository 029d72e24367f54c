#include "bench/gpu/kernels.h"

#include <set>
#include <string>

#include "bench/gpu/device.cuh"
#include "bench/gpu/random_codes.h"
#include "bench/gpu/shapes.h"
#include "cuda/gemm/skinny.h"
#include "cuda/step/norm.cuh"
#include "cuda/step/pass_words.h"

namespace foretoken::bench {
namespace {

using namespace foretoken::cuda;

/// Copies of a packed matrix of random codes, more of them than L2 holds.
std::vector<DeviceArray<uint8_t>> randomMatrices(size_t bytes) {
  const std::vector<uint8_t> codes = randomCodes(bytes);
  std::vector<DeviceArray<uint8_t>> copies;
  for (int left = copiesBeyondCache(bytes); left > 0; --left) copies.emplace_back(codes);
  return copies;
}

/// Seconds of a skinny product of M tokens, its inputs prepared beforehand.
double skinnySeconds(SkinnyFormat format, const Shape& shape, int tokens,
                     const std::vector<DeviceArray<uint8_t>>& matrices) {
  const auto rows = static_cast<int>(shape.n), cols = static_cast<int>(shape.k);
  Activations x{nullptr, nullptr, tokens, cols};
  const DeviceArray<uint4> fragments(x.size());
  const DeviceArray<float> factors(tokens), in(std::vector<float>(size_t(tokens) * cols, 0.5f));
  x.fragments = fragments.get(), x.factors = factors.get();
  const SkinnyPlan plan = skinnyPlan(format, rows, cols, tokens);
  const DeviceArray<float> sums(plan.sums(rows, tokens)), out(size_t(tokens) * rows);
  FORETOKEN_CUDA_CHECK(prepareSkinny(format, in.get(), x, nullptr));
  return medianSeconds([&](int i) {
    const SkinnyWeights weights{matrices[i % matrices.size()].get(), rows, cols};
    FORETOKEN_CUDA_CHECK(multiplySkinny(format, plan, weights, x, {out.get(), Finish::store, sums.get()}, nullptr));
  });
}

void skinny(Report& report, double ceiling) {
  const std::pair<const char*, SkinnyFormat> formats[] = {{"fp8", SkinnyFormat::fp8Blocks},
                                                          {"fp8rows", SkinnyFormat::fp8Rows},
                                                          {"nvfp4", SkinnyFormat::nvfp4},
                                                          {"mxfp4", SkinnyFormat::mxfp4}};
  for (const auto& [name, format] : formats)
    for (const Shape& shape : kShapes) {
      const SkinnyLayout layout{format, shape.n, shape.k};
      const auto matrices = randomMatrices(static_cast<size_t>(layout.bytes()));
      double one = 0;
      for (const int tokens : kSkinny) {
        const double seconds = skinnySeconds(format, shape, tokens, matrices);
        if (tokens == 1) one = seconds;
        const std::string key = std::string("skinny.") + name + "." + std::to_string(shape.n) + "x" +
                                std::to_string(shape.k) + ".m" + std::to_string(tokens);
        report.add(key + ".us", 1e6 * seconds);
        report.add(key + ".share", static_cast<double>(layout.bytes()) / seconds / ceiling);
        report.add(key + ".cost", seconds / one);
      }
    }
}

/// RMSNorm and what a product wants of its inputs, by the widths of shapes.h.
void normalised(Report& report) {
  constexpr int kMost = 128;
  std::set<int64_t> widths;
  for (const Shape& shape : kShapes) widths.insert(shape.k);
  for (const int64_t width : widths) {
    const auto cols = static_cast<int>(width);
    const DeviceArray<float> in(std::vector<float>(size_t(kMost) * cols, 0.5f)), weight(std::vector<float>(cols, 1));
    for (const int tokens : kSkinny) {
      Pass pass;
      pass.rows = tokens;
      PassWords words;
      words.begin(pass);
      const DeviceArray<int32_t> uploaded(std::vector<int32_t>(words.words().begin(), words.words().end()));
      Activations x{nullptr, nullptr, tokens, cols};
      const DeviceArray<uint4> fragments(x.size());
      const DeviceArray<float> factors(tokens);
      x.fragments = fragments.get(), x.factors = factors.get();
      const NormArgs args{{uploaded.get(), in.get(), weight.get(), 1e-5f, false}, x, WeightCode::e4m3};
      report.add("normalise." + std::to_string(cols) + ".m" + std::to_string(tokens) + ".us",
                 1e6 * medianSeconds([&](int) {
                   FORETOKEN_CUDA_CHECK(launch(normalise, dim3(tokens), dim3(kNormThreads), 0, nullptr, args));
                 }));
    }
  }
}

}  // namespace

void kernels(Report& report, double ceiling) {
  skinny(report, ceiling);
  normalised(report);
}

}  // namespace foretoken::bench
