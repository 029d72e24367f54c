#include "bench/gpu/prefill.h"

#include <string>

#include "bench/gpu/device.cuh"
#include "bench/gpu/random_codes.h"
#include "bench/gpu/shapes.h"
#include "cuda/gemm/large.h"
#include "cuda/gemm/scaled.h"

namespace foretoken::bench {
namespace {

using namespace foretoken::cuda;

/// Nothing where the card has no such product.
void addSeconds(Report& report, const char* format, const Shape& shape, cudaError_t supported, double seconds) {
  if (supported == cudaErrorNotSupported) return;
  FORETOKEN_CUDA_CHECK(supported);
  const std::string key = std::string("prefill.") + format + "." + std::to_string(shape.n) + "x" +
                          std::to_string(shape.k) + ".m" + std::to_string(kPrefill);
  report.add(key + ".us", 1e6 * seconds);
  report.add(key + ".tflops", 2e-12 * kPrefill * static_cast<double>(shape.n) * static_cast<double>(shape.k) / seconds);
}

/// e4m3 by blocks of 128 x 128, all scales and factors 1. Inputs are quantised beforehand.
void fp8(Report& report, const Shape& shape, const DeviceArray<float>& in, const Output& out) {
  const auto rows = static_cast<int>(shape.n), cols = static_cast<int>(shape.k);
  LargeInputs x{nullptr, nullptr, kPrefill, cols};
  const DeviceArray<uint8_t> inputs(size_t(kPrefill) * x.pitch());
  const DeviceArray<float> inputScales(size_t(kPrefill) * x.blocks());
  const SkinnyLayout layout{SkinnyFormat::fp8Blocks, rows, cols};
  std::vector<uint8_t> codes = randomCodes(static_cast<size_t>(layout.bytes()));
  for (int64_t at = layout.scaleOffset(); at < layout.bytes(); at += 4) {
    const float one = 1;
    std::memcpy(&codes[static_cast<size_t>(at)], &one, sizeof one);
  }
  const DeviceArray<uint8_t> packed(codes);
  x.codes = inputs.get(), x.scales = inputScales.get();
  FORETOKEN_CUDA_CHECK(prepareLarge(in.get(), x, nullptr));
  cudaError_t error = cudaSuccess;
  const double seconds = medianSeconds([&](int) {
    error = multiplyLarge({{packed.get(), rows, cols}, layout.format}, x, out, nullptr);
  });
  addSeconds(report, "fp8", shape, error, seconds);
}

void scaled(Report& report, const char* name, ScaledKind kind, const Shape& shape, const DeviceArray<float>& in,
            const Output& out) {
  const auto rows = static_cast<int>(shape.n), cols = static_cast<int>(shape.k);
  const ScaledLayout left{kind, ScaledSide::inputs, kPrefill, cols}, right{kind, ScaledSide::weights, rows, cols};
  const DeviceArray<uint8_t> inputs(left.codeBytes()), inputScales(left.scaleBytes());
  const DeviceArray<uint8_t> codes(randomCodes(right.codeBytes()));
  constexpr uint8_t kOneE4m3 = 0x38, kOneE8m0 = 127;
  const DeviceArray<uint8_t> scales(
      std::vector<uint8_t>(right.scaleBytes(), kind == ScaledKind::nvfp4 ? kOneE4m3 : kOneE8m0));
  const DeviceArray<float> inputFactors(kPrefill);
  const ScaledRows x{inputs.get(), inputScales.get(), kind == ScaledKind::nvfp4 ? inputFactors.get() : nullptr,
                     kPrefill, cols};
  FORETOKEN_CUDA_CHECK(prepareScaled(kind, in.get(), x, nullptr));
  cudaError_t error = cudaSuccess;
  const double seconds = medianSeconds([&](int) {
    error = multiplyScaled(kind, {codes.get(), scales.get(), nullptr, rows, cols}, x, out, nullptr);
  });
  addSeconds(report, name, shape, error, seconds);
}

}  // namespace

void prefill(Report& report) {
  for (const Shape& shape : kShapes) {
    const DeviceArray<float> in(randomInputs(size_t(kPrefill) * static_cast<size_t>(shape.k)));
    const DeviceArray<float> results(size_t(kPrefill) * static_cast<size_t>(shape.n));
    const Output out{results.get(), Finish::store};
    fp8(report, shape, in, out);
    scaled(report, "nvfp4", ScaledKind::nvfp4, shape, in, out);
    scaled(report, "mxfp4", ScaledKind::mxfp4, shape, in, out);
    scaled(report, "mxfp8fp4", ScaledKind::mxfp8, shape, in, out);
  }
}

}  // namespace foretoken::bench
