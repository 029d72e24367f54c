// The rest of a decode step, each kernel against double arithmetic, over shapes that fit no block evenly.
#include <cmath>
#include <cstring>
#include <numeric>

#include "cuda/gemm/pack.h"
#include "cuda/step/compact.cuh"
#include "cuda/step/embed.cuh"
#include "cuda/step/heads.cuh"
#include "cuda/step/norm.cuh"
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

/// What a product would read of a token.
float prepared(const Activations& x, int token, int k, WeightCode code) {
  const uint4& lane = x.fragments[x.index(token, k / 8)];
  const uint32_t words[4] = {lane.x, lane.y, lane.z, lane.w};
  const int at = code == WeightCode::e2m1 ? e2m1Slot(k % 8) : k % 8;
  return f16ToFloat(static_cast<uint16_t>(words[at / 2] >> (at % 2 * 16))) * x.factors[token];
}

void testNormalise(int width, bool norm, bool ofLogitRows, WeightCode code) {
  std::mt19937 random(width);
  const int rows = 5, launched = 8;
  const std::vector<int32_t> wanted = {1, 4};
  const std::vector<int32_t> pass = passOf({3, 1, 4, 0, 5}, wanted);
  const std::vector<float> x = normalFloats(random, static_cast<size_t>(rows) * width, 3),
                           weight = normalFloats(random, width);
  Activations out{nullptr, nullptr, launched, width};
  std::vector<uint4> fragments(out.size(), make_uint4(~0u, ~0u, ~0u, ~0u));
  std::vector<float> factors(launched, NAN);
  out.fragments = fragments.data(), out.factors = factors.data();
  const float eps = 1e-5f;
  launch(normalise, dim3(launched), dim3(kNormThreads), 0, nullptr,
         NormArgs{{pass.data(), x.data(), norm ? weight.data() : nullptr, eps, ofLogitRows}, out, code});
  const int count = ofLogitRows ? static_cast<int>(wanted.size()) : rows;
  for (int i = 0; i < launched; ++i) {
    const float* const row = x.data() + static_cast<size_t>(ofLogitRows && i < count ? wanted[i] : i) * width;
    double squares = 0, largest = 0;
    for (int k = 0; k < width && i < count; ++k) squares += static_cast<double>(row[k]) * row[k];
    const double factor = norm ? 1 / std::sqrt(squares / width + eps) : 1;
    const auto exact = [&](int k) { return i < count && k < width ? row[k] * factor * (norm ? weight[k] : 1) : 0.0; };
    for (int k = 0; k < width; ++k) largest = std::max(largest, std::abs(exact(k)));
    for (int k = 0; k < out.groups() * kGroupCols; ++k)
      CHECK(std::abs(prepared(out, i, k, code) - exact(k)) <= std::abs(exact(k)) * 0x1.01p-11 + largest * 0x1p-37);
  }
}

void testHeads(int headDim, bool bias, bool norms) {
  std::mt19937 random(headDim);
  const int rows = 3, launched = 4, heads = 5, kvHeads = 2, all = heads + 2 * kvHeads;
  const std::vector<int32_t> pass = passOf({3, 1, 4}, {});
  const std::vector<float> x = normalFloats(random, static_cast<size_t>(launched) * all * headDim, 3),
                           added = normalFloats(random, static_cast<size_t>(all) * headDim),
                           weights = normalFloats(random, 2 * headDim);
  HeadsArgs args{pass.data(), nullptr, heads, kvHeads, headDim, {.eps = 1e-5f}};
  HeadRules& rules = args.rules;
  if (bias) {
    rules.queryBias = added.data(), rules.keyBias = added.data() + heads * headDim;
    rules.valueBias = added.data() + (heads + kvHeads) * headDim;
  }
  if (norms) rules.queryNorm = weights.data(), rules.keyNorm = weights.data() + headDim;
  std::vector<float> got = x;
  args.qkv = got.data();
  launch(adjustHeads, dim3(launched, ceilDiv(all, kHeadWarps)), dim3(kHeadWarps * kWarp), 0, nullptr, args);
  for (int i = 0; i < launched * all; ++i) {
    const int row = i / all, head = i % all;
    const bool normed = norms && head < heads + kvHeads;
    const float* const weight = weights.data() + (head < heads ? 0 : headDim);
    double squares = 0;
    std::vector<double> exact(headDim);
    for (int d = 0; d < headDim; ++d) {
      exact[d] = x[i * headDim + d] + (bias ? static_cast<double>(added[head * headDim + d]) : 0.0);
      squares += exact[d] * exact[d];
    }
    const double factor = 1 / std::sqrt(squares / headDim + 1e-5);
    for (int d = 0; d < headDim; ++d) {
      const double wanted = row >= rows ? x[i * headDim + d] : normed ? exact[d] * factor * weight[d] : exact[d];
      CHECK(std::abs(got[i * headDim + d] - wanted) <= 1e-6 * std::abs(wanted) + (row < rows ? 1e-6 : 0));
    }
  }
}

/// Codes and scales of rows, as the product for prefill reads them.
struct Codes {
  Codes(int tokens, int cols) : out{nullptr, nullptr, tokens, cols} {
    codes.assign(static_cast<size_t>(tokens) * out.pitch(), 0x7f);
    scales.assign(static_cast<size_t>(tokens) * out.blocks(), NAN);
    out.codes = codes.data(), out.scales = scales.data();
  }
  float scale(int token, int k) const { return scales[k / kLargeTile * out.tokens + token]; }
  float code(int token, int k) const {
    return e4m3ToFloat(
        codes[static_cast<size_t>(token) * out.pitch() + k / kLargeTile * kLargeTile + fp8Place(k % kLargeTile)]);
  }
  std::vector<uint8_t> codes;
  std::vector<float> scales;
  LargeInputs out;
};

/// Within half a step of the code's, which is half of 2^-3 of the number, or of 2^-9 of the scale.
void testNormaliseToCodes(int width, bool norm) {
  std::mt19937 random(width);
  const int rows = 3, launched = 8;
  const std::vector<int32_t> pass = passOf({3, 1, 4}, {});
  std::vector<float> x = normalFloats(random, static_cast<size_t>(rows) * width, 3);
  const std::vector<float> weight = normalFloats(random, width);
  for (int k = 0; k < std::min(width, kLargeTile); ++k) x[width + k] = 0;
  Codes got(launched, width);
  const float eps = 1e-5f;
  launch(normaliseToCodes, dim3(launched), dim3(kNormThreads), 0, nullptr,
         QuantizeArgs{{pass.data(), x.data(), norm ? weight.data() : nullptr, eps, false}, got.out});
  for (int i = 0; i < launched; ++i) {
    const float* const row = x.data() + static_cast<size_t>(i) * width;
    double squares = 0;
    for (int k = 0; k < width && i < rows; ++k) squares += static_cast<double>(row[k]) * row[k];
    const double factor = norm ? 1 / std::sqrt(squares / width + eps) : 1;
    const auto exact = [&](int k) { return i < rows && k < width ? row[k] * factor * (norm ? weight[k] : 1) : 0.0; };
    for (int first = 0; first < got.out.pitch(); first += kLargeTile) {
      double largest = 0;
      for (int k = first; k < first + kLargeTile; ++k) largest = std::max(largest, std::abs(exact(k)));
      const double scale = got.scale(i, first), want = largest > 0 ? largest / 448 : 1;
      CHECK(std::abs(scale - want) <= 1e-6 * want);
      for (int k = first; k < first + kLargeTile; ++k)
        CHECK(std::abs(got.code(i, k) * scale - exact(k)) <= 1.0001 * std::max(std::abs(exact(k)) / 16, scale / 1024));
    }
  }
}

/// As testNormaliseAlone.
void testNormaliseToCodesAlone() {
  std::mt19937 random(2);
  const int width = 300, rows = 3;
  const std::vector<float> x = normalFloats(random, rows * width);
  const auto run = [&](int first, int count) {
    const std::vector<int32_t> slot(count), pass = passOf(slot, {});
    Codes got(count, width);
    launch(normaliseToCodes, dim3(count), dim3(kNormThreads), 0, nullptr,
           QuantizeArgs{{pass.data(), x.data() + first * width, x.data(), 1e-6f, false}, got.out});
    std::vector<float> values;
    for (int k = 0; k < count * width; ++k) {
      values.push_back(got.code(k / width, k % width));
      values.push_back(got.scale(k / width, k % width));
    }
    return values;
  };
  const std::vector<float> all = run(0, rows);
  for (int r = 0; r < rows; ++r)
    CHECK(run(r, 1) == std::vector<float>(all.begin() + 2 * r * width, all.begin() + 2 * (r + 1) * width));
}

/// The same row has the same bits wherever it stands and however many there are.
void testNormaliseAlone() {
  std::mt19937 random(1);
  const int width = 300, rows = 3;
  const std::vector<float> x = normalFloats(random, rows * width);
  const auto run = [&](int first, int count) {
    const std::vector<int32_t> slot(count), pass = passOf(slot, {});
    Activations out{nullptr, nullptr, count, width};
    std::vector<uint4> fragments(out.size());
    std::vector<float> factors(count), values;
    out.fragments = fragments.data(), out.factors = factors.data();
    launch(normalise, dim3(count), dim3(kNormThreads), 0, nullptr,
           NormArgs{{pass.data(), x.data() + first * width, x.data(), 1e-6f, false}, out, WeightCode::e4m3});
    for (int k = 0; k < count * width; ++k) values.push_back(prepared(out, k / width, k % width, WeightCode::e4m3));
    return values;
  };
  const std::vector<float> all = run(0, rows);
  for (int r = 0; r < rows; ++r)
    CHECK(run(r, 1) == std::vector<float>(all.begin() + r * width, all.begin() + (r + 1) * width));
}

/// Rows of a packed table in every format, against code times scales.
void testEmbed(SkinnyFormat format, int rows, int cols) {
  std::mt19937 random(rows);
  const bool halves = format == SkinnyFormat::f16Rows;
  std::vector<uint8_t> codes(static_cast<size_t>(rows) * cols * (halves ? 2 : 1)), scales;
  for (uint8_t& code : codes) code = static_cast<uint8_t>(random() & (isFp4(format) ? 15 : 0x3b));
  const int block = format == SkinnyFormat::nvfp4 ? 16 : 32, perRow = ceilDiv(cols, block);
  for (int i = 0; i < rows * perRow; ++i)
    scales.push_back(static_cast<uint8_t>(format == SkinnyFormat::nvfp4 ? random() % 120 : 120 + random() % 16));
  const std::vector<float> factors = normalFloats(random, rows),
                           blocks = normalFloats(random, ceilDiv(rows, 128) * ceilDiv(cols, 128));
  const SkinnyLayout layout{format, rows, cols};
  std::vector<uint8_t> packed(layout.bytes());
  SkinnyPacker(layout, {codes.data(), scales.data(), blocks.data(), factors.data()}).pack(packed.data());
  const std::vector<int32_t> tokens = {rows - 1, 0, rows / 2};
  Pass pass;
  pass.rows = 3, pass.token = tokens.data();
  PassWords words;
  words.begin(pass);
  std::vector<float> out(4 * static_cast<size_t>(cols), kUntouched);
  launch(embedTokens, dim3(ceilDiv(cols, kEmbedThreads), 4), dim3(kEmbedThreads), 0, nullptr, words.words().data(),
         format, SkinnyWeights{packed.data(), rows, cols}, out.data());
  for (int i = 0; i < 4 * cols; ++i) {
    if (i >= 3 * cols) {
      CHECK(out[i] == kUntouched);
      continue;
    }
    const int row = tokens[i / cols], k = i % cols;
    const size_t at = static_cast<size_t>(row) * cols + k;
    const uint8_t scale = scales[row * perRow + k / block];
    double want = factors[row];
    switch (format) {
      case SkinnyFormat::f16Rows:
        want *= f16ToFloat(static_cast<uint16_t>(codes[2 * at] | codes[2 * at + 1] << 8));
        break;
      case SkinnyFormat::fp8Rows: want *= e4m3ToFloat(codes[at]); break;
      case SkinnyFormat::fp8Blocks:
        want *= e4m3ToFloat(codes[at]) * static_cast<double>(blocks[row / 128 * ceilDiv(cols, 128) + k / 128]);
        break;
      case SkinnyFormat::nvfp4: want *= e2m1ToFloat(codes[at]) * e4m3ToFloat(scale); break;
      case SkinnyFormat::mxfp4: want *= e2m1ToFloat(codes[at]) * e8m0ToFloat(scale); break;
    }
    CHECK(std::abs(out[i] - want) <= 3e-7 * std::abs(want));
  }
}

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
  const int width = 77, sideBytes = 400, offset = 96;
  const std::vector<int32_t> slot = {9, 2, 5};
  const std::vector<int32_t> pass = passOf(slot, {});
  const std::vector<float> in = normalFloats(random, 3 * width);
  std::vector<uint8_t> memory(12 * sideBytes, 0xee);
  const Sides sides{memory.data(), sideBytes};
  std::vector<float> back(4 * width, kUntouched);
  const dim3 grid(1, 4), block(kRowThreads);
  launch(keepRows, grid, block, 0, nullptr, pass.data(), in.data(), width, sides, offset);
  launch(keptRows, grid, block, 0, nullptr, pass.data(), sides, offset, back.data(), width);
  size_t touched = 0;
  for (const uint8_t byte : memory) touched += byte != 0xee;
  CHECK(touched <= slot.size() * width * sizeof(uint16_t));
  for (int i = 0; i < 4 * width; ++i) CHECK(back[i] == (i < 3 * width ? bf16ToFloat(floatToBf16(in[i])) : kUntouched));
}

void testSpread() {
  const int width = 259, stride = 260;
  std::vector<float> in(2 * width), out(2 * stride, kUntouched);
  std::iota(in.begin(), in.end(), 0.0f);
  launch(spreadRows, dim3(2, 2), dim3(kRowThreads), 0, nullptr, in.data(), width, out.data(), stride);
  for (int i = 0; i < 2 * stride; ++i)
    CHECK(out[i] == (i % stride < width ? in[i / stride * width + i % stride] : kUntouched));
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
    for (const int width : {1, 48, 64, 257, 1030})
      for (const bool norm : {false, true})
        for (const WeightCode code : {WeightCode::e4m3, WeightCode::e2m1})
          testNormalise(width, norm, width % 2 == 0, code);
    testNormaliseAlone();
    for (const int width : {1, 48, 130, 1030})
      for (const bool norm : {false, true}) testNormaliseToCodes(width, norm);
    testNormaliseToCodesAlone();
    for (const SkinnyFormat format : {SkinnyFormat::fp8Rows, SkinnyFormat::fp8Blocks, SkinnyFormat::nvfp4,
                                      SkinnyFormat::mxfp4, SkinnyFormat::f16Rows}) {
      testEmbed(format, 21, 70);
      testEmbed(format, 150, 300);
    }
    for (const int headDim : {32, 80, 128})
      for (const bool bias : {false, true}) testHeads(headDim, bias, true);
    testHeads(48, true, false);
    testAddListed();
    testKeep();
    testSpread();
    for (const int headDim : {32, 80, 128}) {
      testCompact<Bf16Kv>(headDim);
      testCompact<Fp8Kv>(headDim);
    }
  });
  return finish("step");
}
