// Draws rows with the kernels of cuda/verify, through the executor.
#pragma once
#include <cstring>
#include <span>
#include <vector>

#include "cuda/verify/likeliest.cuh"
#include "cuda/verify/verify.cuh"
#include "quant/float_codecs.h"

namespace foretoken::test {

template <class Logit>
Logit logitFrom(float x);
template <>
inline float logitFrom<float>(float x) {
  return x;
}
template <>
inline uint16_t logitFrom<uint16_t>(float x) {
  return floatToBf16(x);
}

/// What the kernels see of `logits`.
template <class Logit>
std::vector<float> seenBy(std::vector<float> logits) {
  for (float& x : logits) x = cuda::logitValue(logitFrom<Logit>(x));
  return logits;
}

/// Logits [.][vocabulary] as kernels take them: rows at multiples of 16 bytes, NaN between them.
template <class Logit>
struct LogitRows {
  LogitRows(const std::vector<float>& logits, int vocabulary) {
    constexpr int kAligned = 16 / sizeof(Logit);
    stride = cuda::roundUp(vocabulary, kAligned);
    const size_t width = static_cast<size_t>(vocabulary), rows = logits.size() / width;
    memory.assign(rows * static_cast<size_t>(stride) / kAligned, uint4{~0u, ~0u, ~0u, ~0u});
    for (size_t r = 0; r < rows; ++r)
      for (size_t i = 0; i < width; ++i)
        reinterpret_cast<Logit*>(memory.data())[r * static_cast<size_t>(stride) + i] =
            logitFrom<Logit>(logits[r * width + i]);
  }
  const Logit* data() const { return reinterpret_cast<const Logit*>(memory.data()); }

  int64_t stride;
  std::vector<uint4> memory;
};

/// The tokens of `rows` over logits [.][vocabulary].
template <class Logit>
std::vector<int32_t> drawOnDevice(const std::vector<float>& logits, int vocabulary, std::span<const SampleRow> rows) {
  cuda::DrawBatch batch;
  for (const SampleRow& row : rows) batch.add(row);
  const auto count = static_cast<int>(rows.size());
  std::vector<int32_t> drawn(rows.size(), -1);
  cuda::VerifyArgs<Logit> a{};
  const LogitRows<Logit> in(logits, vocabulary);
  a.logits = in.data();
  a.stride = in.stride;
  a.vocabulary = vocabulary;
  a.rows = count;
  a.row = batch.rows.data();
  a.tokens = batch.tokens.data();
  a.biasToken = batch.biasToken.data();
  a.biasValue = batch.biasValue.data();
  a.drawn = drawn.data();
  // Scratch is poison but for the counters that must be 0.
  std::vector<uint4> scratch(cuda::placeScratch(a, batch.tableEntries, nullptr) / sizeof(uint4) + 1,
                             uint4{~0u, ~0u, ~0u, ~0u});
  cuda::placeScratch(a, batch.tableEntries, reinterpret_cast<unsigned char*>(scratch.data()));
  std::memset(a.arrived, 0, rows.size() * sizeof(uint32_t));
  cuda::drawRows(a, batch.kinds, nullptr);
  for (int r = 0; r < count; ++r)
    if (a.arrived[r] != 0) drawn[r] = -2;  // the next call would go wrong
  return drawn;
}

}  // namespace foretoken::test
