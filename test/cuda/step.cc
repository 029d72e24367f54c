// The rest of a decode step, each kernel against double arithmetic, over shapes that fit no block evenly.
#include <cmath>
#include <cstring>
#include <numeric>

#include "cuda/step/compact.cuh"
#include "cuda/step/pass_words.h"
#include "cuda/step/rows.cuh"
#include "test/cuda/schedules.h"
#include "test/native/check.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;
using namespace foretoken::cuda;

constexpr float kUntouched = -77.0f;

/// An uploaded pass over the slots `slot`, whose rows `logitRow` are wanted.
std::vector<int32_t> passOf(const std::vector<int32_t>& slot, const std::vector<int32_t>& logitRow,
                            const std::vector<int32_t>& list = {}) {
  Pass pass;
  pass.rows = static_cast<int>(slot.size());
  pass.slot = slot.data();
  pass.logitRows = static_cast<int>(logitRow.size());
  pass.logitRow = logitRow.data();
  PassWords words;
  words.begin(pass);
  if (!list.empty()) words.addList(list);
  return {words.words().begin(), words.words().end()};
}

template <class Activation>
void testGate(int width, double (*exact)(double)) {
  std::mt19937 random(width);
  const std::vector<int32_t> pass = passOf({0, 1, 2}, {});
  const std::vector<float> in = normalFloats(random, 3 * 2 * static_cast<size_t>(width), 4);
  const int stride = width + 3;
  std::vector<float> out(4 * static_cast<size_t>(stride), kUntouched);
  launch(gate<Activation>, dim3(ceilDiv(width, kRowThreads), 4), dim3(kRowThreads), 0, nullptr, pass.data(), in.data(),
         out.data(), width, stride);
  for (int r = 0; r < 4; ++r) {
    for (int i = 0; i < stride; ++i) {
      const float got = out[r * stride + i];
      if (r == 3 || i >= width) {
        CHECK(got == kUntouched);
        continue;
      }
      const double want = exact(in[(r * width + i) * 2]) * in[(r * width + i) * 2 + 1];
      CHECK(std::abs(got - want) <= 1e-6 + 2e-6 * std::abs(want));
    }
  }
}

double silu(double g) { return g / (1 + std::exp(-g)); }
double gelu(double g) { return 0.5 * g * (1 + std::tanh(std::sqrt(2 / M_PI) * (g + 0.044715 * g * g * g))); }

void testAddListed() {
  std::mt19937 random(4);
  const int width = 270;
  const std::vector<int32_t> list = {6, 0, 6};
  const std::vector<int32_t> pass = passOf({0}, {}, list);
  const std::vector<float> in = normalFloats(random, 7 * width), before = normalFloats(random, 5 * width);
  std::vector<float> out = before;
  launch(addListed, dim3(ceilDiv(width, kRowThreads), 8), dim3(kRowThreads), 0, nullptr, pass.data(), 0, in.data(),
         out.data(), width);
  for (int r = 0; r < 5; ++r)
    for (int k = 0; k < width; ++k)
      CHECK(out[r * width + k] == before[r * width + k] + (r < 3 ? in[list[r] * width + k] : 0));
}

void testKeep() {
  std::mt19937 random(5);
  const int width = 77, stride = 80, sideBytes = 400, offset = 96;
  const std::vector<int32_t> slot = {9, 2, 5};
  const std::vector<int32_t> pass = passOf(slot, {});
  const std::vector<float> in = normalFloats(random, 3 * stride);
  std::vector<uint8_t> memory(12 * sideBytes, 0xee);
  const Sides sides{memory.data(), sideBytes};
  std::vector<float> back(4 * stride, kUntouched);
  const dim3 grid(1, 4), block(kRowThreads);
  launch(keepRows, grid, block, 0, nullptr, pass.data(), in.data(), width, stride, sides, offset);
  launch(keptRows, grid, block, 0, nullptr, pass.data(), sides, offset, back.data(), width, stride);
  size_t touched = 0;
  for (const uint8_t byte : memory) touched += byte != 0xee;
  CHECK(touched <= slot.size() * width * sizeof(uint16_t));
  for (int r = 0; r < 4; ++r)
    for (int k = 0; k < stride; ++k)
      CHECK(back[r * stride + k] == (r < 3 && k < width ? bf16ToFloat(floatToBf16(in[r * stride + k])) : kUntouched));
}

/// Slots move in order: one that was written is read as written. Nothing else changes.
template <class Codec>
void testCompact(int headDim) {
  std::mt19937 random(headDim);
  const int pages = 3, heads = 2, layers = 2;
  const size_t headBytes = pageHeadBytes<Codec>(headDim), layerBytes = headBytes * heads;
  std::vector<uint8_t> memory(layerBytes * layers * pages);
  for (uint8_t& byte : memory) byte = static_cast<uint8_t>(random());
  const std::vector<int32_t> from = {40, 17, 3, 20, 20}, to = {3, 18, 20, 33, 0};
  const auto vectorOf = [&](const std::vector<uint8_t>& bytes, int layer, int head, int slot) {
    const KvPages kv{const_cast<uint8_t*>(bytes.data()) + layer * layerBytes, layerBytes * layers, headBytes, headDim,
                     heads};
    const int page = slot / kPageSize, position = slot % kPageSize;
    std::vector<int> all;
    for (int d = 0; d < headDim; ++d) {
      const int block = d / kBlockDims * kBlockDims * kPageSize;
      all.push_back(kv.keys<Codec>(page, head)[block + elementIndex(position, d % kBlockDims)]);
      all.push_back(kv.values<Codec>(page, head)[block + elementIndex(d % kBlockDims, position)]);
    }
    if (Codec::kScaled)
      for (int part = 0; part < 2; ++part) all.push_back(kv.exponents<Codec>(page, head)[part * kPageSize + position]);
    return all;
  };
  const std::vector<uint8_t> before = memory;
  launch(compact<Codec>, dim3(heads, layers), dim3(kCompactThreads), 0, nullptr,
         CompactArgs{{memory.data(), layerBytes * layers, headBytes, headDim, heads},
                     layerBytes,
                     from.data(),
                     to.data(),
                     static_cast<int>(from.size())});
  std::vector<int> origin(pages * kPageSize);
  std::iota(origin.begin(), origin.end(), 0);
  for (size_t i = 0; i < from.size(); ++i) origin[to[i]] = origin[from[i]];
  for (int layer = 0; layer < layers; ++layer)
    for (int head = 0; head < heads; ++head)
      for (int slot = 0; slot < pages * kPageSize; ++slot)
        CHECK(vectorOf(memory, layer, head, slot) == vectorOf(before, layer, head, origin[slot]));
}

}  // namespace

int main() {
  forEachSchedule(longRun() ? 12 : 4, [] {
    for (const int width : {1, 255, 513}) {
      testGate<Silu>(width, silu);
      testGate<Gelu>(width, gelu);
    }
    testAddListed();
    testKeep();
    for (const int headDim : {32, 80, 128}) {
      testCompact<Bf16Kv>(headDim);
      testCompact<Fp8Kv>(headDim);
    }
  });
  return finish("step");
}
