// Products: the skinny one in all its formats, those for prefill as far as a device has them.
#include "bench/gpu/device_array.cuh"
#include "bench/gpu/random_codes.h"
#include "bench/gpu/trials.h"
#include "cuda/gemm/large.h"
#include "cuda/gemm/scaled.h"
#include "cuda/gemm/skinny.h"

namespace foretoken::bench {
namespace {

using namespace foretoken::cuda;

constexpr int kRows = 150, kCols = 1030;

/// A packed matrix of codes and scales that are neither too small nor too large.
std::vector<uint8_t> packedCodes(const SkinnyLayout& layout) {
  std::vector<uint8_t> packed = randomCodes(static_cast<size_t>(layout.bytes()));
  packed.resize(static_cast<size_t>(layout.bytes()));
  const auto setFloats = [&](int64_t begin, int64_t end, auto value) {
    for (int64_t at = begin; at < end; at += 4) {
      const float number = value((at - begin) / 4);
      std::memcpy(packed.data() + at, &number, sizeof number);
    }
  };
  if (layout.format == SkinnyFormat::mxfp4)
    for (int64_t i = 0; i < layout.scaleBytes(); ++i)
      packed[static_cast<size_t>(layout.scaleOffset() + i)] = static_cast<uint8_t>(120 + i % 13);
  if (layout.format == SkinnyFormat::fp8Blocks)
    setFloats(layout.scaleOffset(), layout.scaleOffset() + layout.scaleBytes(),
              [](int64_t i) { return 0.01f * static_cast<float>(1 + i % 7); });
  setFloats(layout.rowFactorOffset(), layout.bytes(),
            [](int64_t i) { return 0.5f + 0.1f * static_cast<float>(i % 5); });
  return packed;
}

/// Of one token, and of more than one launch cuts in the same way; stored, then gated.
std::vector<float> skinnyResults(SkinnyFormat format) {
  const DeviceArray<uint8_t> packed(packedCodes({format, kRows, kCols}));
  std::vector<float> all;
  for (const int tokens : {1, 9, 20})
    for (const Finish how : {Finish::store, Finish::geglu}) {
      Activations x{nullptr, nullptr, tokens, kCols};
      const DeviceArray<uint4> fragments(x.size());
      const DeviceArray<float> factors(static_cast<size_t>(tokens)),
          in(randomInputs(static_cast<size_t>(tokens) * kCols));
      x.fragments = fragments.get(), x.factors = factors.get();
      const SkinnyPlan plan = skinnyPlan(format, kRows, kCols, tokens);
      const DeviceArray<float> sums(plan.sums(kRows, tokens)),
          out(static_cast<size_t>(tokens) * (isGated(how) ? kRows / 2 : kRows));
      FORETOKEN_CUDA_CHECK(prepareSkinny(format, in.get(), x, nullptr));
      FORETOKEN_CUDA_CHECK(
          multiplySkinny(format, plan, {packed.get(), kRows, kCols}, x, {{out.get(), how}, sums.get()}, nullptr));
      const std::vector<float> got = out.read();
      all.insert(all.end(), got.begin(), got.end());
    }
  return all;
}

constexpr int kTokens = 131;

/// Of both formats of 8 bits.
std::vector<float> largeResults() {
  LargeInputs x{nullptr, nullptr, kTokens, kCols};
  const DeviceArray<uint8_t> inputs(static_cast<size_t>(kTokens) * x.pitch());
  const DeviceArray<float> in(randomInputs(static_cast<size_t>(kTokens) * kCols)),
      inputScales(static_cast<size_t>(kTokens) * x.blocks()), out(static_cast<size_t>(kTokens) * kRows);
  x.codes = inputs.get(), x.scales = inputScales.get();
  FORETOKEN_CUDA_CHECK(prepareLarge(in.get(), x, nullptr));
  std::vector<float> all;
  for (const SkinnyFormat format : {SkinnyFormat::fp8Blocks, SkinnyFormat::fp8Rows}) {
    const DeviceArray<uint8_t> packed(packedCodes({format, kRows, kCols}));
    FORETOKEN_CUDA_CHECK(multiplyLarge({{packed.get(), kRows, kCols}, format}, x, {out.get(), Finish::store}, nullptr));
    const std::vector<float> got = out.read();
    all.insert(all.end(), got.begin(), got.end());
  }
  return all;
}

std::vector<float> scaledResults(ScaledKind kind) {
  const ScaledLayout left{kind, ScaledSide::inputs, kTokens, kCols}, right{kind, ScaledSide::weights, kRows, kCols};
  std::vector<uint8_t> scale(static_cast<size_t>(kRows) * ceilDiv(kCols, scaleGroup(kind))), packed(right.scaleBytes());
  for (size_t i = 0; i < scale.size(); ++i)
    scale[i] = static_cast<uint8_t>(kind == ScaledKind::nvfp4 ? 0x30 + i % 16 : 124 + i % 6);
  packScales(right, scale.data(), packed.data());
  const DeviceArray<uint8_t> inputs(left.codeBytes()), inputScales(std::vector<uint8_t>(left.scaleBytes())),
      codes(randomCodes(right.codeBytes())), scales(packed);
  const DeviceArray<float> in(randomInputs(static_cast<size_t>(kTokens) * kCols)), factors(kTokens),
      out(static_cast<size_t>(kTokens) * kRows);
  const ScaledRows x{inputs.get(), inputScales.get(), kind == ScaledKind::nvfp4 ? factors.get() : nullptr, kTokens,
                     kCols};
  FORETOKEN_CUDA_CHECK(prepareScaled(kind, in.get(), x, nullptr));
  FORETOKEN_CUDA_CHECK(
      multiplyScaled(kind, {codes.get(), scales.get(), nullptr, kRows, kCols}, x, {out.get(), Finish::store}, nullptr));
  return out.read();
}

}  // namespace

std::vector<Trial> productTrials() {
  std::vector<Trial> all;
  const std::pair<const char*, SkinnyFormat> formats[] = {{"fp8", SkinnyFormat::fp8Blocks},
                                                          {"fp8rows", SkinnyFormat::fp8Rows},
                                                          {"nvfp4", SkinnyFormat::nvfp4},
                                                          {"mxfp4", SkinnyFormat::mxfp4},
                                                          {"f16", SkinnyFormat::f16Rows}};
  for (const auto& [name, format] : formats)
    all.push_back(
        {std::string("skinny.") + name, MatrixUnit::none, 1e-4, [format = format] { return skinnyResults(format); }});
  // Matrix units add with fewer bits than fp32 has.
  all.push_back({"prefill.wgmma", MatrixUnit::wgmma, 2e-3, largeResults});
  all.push_back({"prefill.tcgen05", MatrixUnit::tcgen05, 2e-3, largeResults});
  const std::pair<const char*, ScaledKind> kinds[] = {
      {"nvfp4", ScaledKind::nvfp4}, {"mxfp4", ScaledKind::mxfp4}, {"mxfp8fp4", ScaledKind::mxfp8}};
  for (const auto& [name, kind] : kinds)
    all.push_back(
        {std::string("prefill.") + name, MatrixUnit::tcgen05, 2e-3, [kind = kind] { return scaledResults(kind); }});
  return all;
}

}  // namespace foretoken::bench
