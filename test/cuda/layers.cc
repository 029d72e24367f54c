// The rows of a head's layers in training: norm, rotation, gate, the start of blocks and their attention, forward and
// backward, against double references; the same bits under every schedule and however work is sliced.
#include <cmath>

#include "cuda/train/block_attention.cuh"
#include "cuda/train/block_rows.cuh"
#include "cuda/train/gate.cuh"
#include "cuda/train/norm.cuh"
#include "cuda/train/rotary.cuh"
#include "cuda/train/round.cuh"
#include "quant/float_codecs.h"
#include "test/cuda/schedules.h"
#include "test/native/check.h"

namespace foretoken::test {
namespace {

using namespace foretoken::cuda;
using Values = std::vector<float>;
using Codes = std::vector<uint16_t>;

constexpr float kNothing = 1e30f;  ///< where nobody has written

size_t at(int64_t i) { return static_cast<size_t>(i); }
dim3 grid(int x, int y = 1) { return dim3(static_cast<unsigned>(x), static_cast<unsigned>(y)); }

/// `got` is `exact`, but for sums of numbers of this size in fp32.
void checkNear(double got, double exact, double size) { CHECK(std::abs(got - exact) <= 4e-6 * (size + 1e-3)); }
/// … and for rounding to bf16.
void checkRounded(uint16_t got, double exact, double size = 0) {
  CHECK(std::abs(bf16ToFloat(got) - exact) <= 0.00391 * std::abs(exact) + 4e-6 * (size + 1e-3));
}

// --- norm ------------------------------------------------------------------------------------------------------------

struct Normed {
  Codes y;
  Values kept, inverse, dx;
  bool operator==(const Normed&) const = default;
};

/// Forward, then backward; rows in launches of `slice`.
Normed runNorm(const Values& x, const Values& scale, const Values& dy, const Values& before, int slice, bool add) {
  const auto width = static_cast<int>(scale.size()), rows = static_cast<int>(x.size()) / width;
  Normed out{Codes(x.size(), 0xffff), Values(x.size(), kNothing), Values(at(rows), kNothing), before};
  const NormRows a{x.data(), scale.data(), 1e-5f, width, out.inverse.data()};
  for (int first = 0; first < rows; first += slice) {
    const dim3 here = grid(std::min(slice, rows - first));
    launch(normRows, here, dim3(kNormRowThreads), 0, nullptr, a, first, out.y.data(), out.kept.data());
    launch(normRowsBack, here, dim3(kNormRowThreads), 0, nullptr, a, first, dy.data(), out.dx.data(), add);
  }
  return out;
}

void testNorm(int rows, int width, bool add) {
  std::mt19937 random(static_cast<unsigned>(rows * 31 + width));
  const Values x = normalFloats(random, at(rows * width), 3), dy = normalFloats(random, at(rows * width));
  const Values scale = normalFloats(random, at(width)), before = normalFloats(random, at(rows * width));
  const Normed got = runNorm(x, scale, dy, before, rows, add);
  CHECK(got.kept == x);
  for (int r = 0; r < rows; ++r) {
    double squares = 0, along = 0, size = 0;
    for (int64_t i = r * width; i < (r + 1) * width; ++i) squares += static_cast<double>(x[at(i)]) * x[at(i)];
    const double inverse = 1 / std::sqrt(squares / width + 1e-5);
    checkNear(got.inverse[at(r)], inverse, inverse);
    for (int64_t i = 0; i < width; ++i) {
      const double term = static_cast<double>(dy[at(r * width + i)]) * scale[at(i)] * x[at(r * width + i)];
      along += term, size += std::abs(term);
    }
    for (int64_t i = 0; i < width; ++i) {
      const int64_t n = r * width + i;
      checkRounded(got.y[at(n)], x[at(n)] * inverse * scale[at(i)]);
      const double exact =
          inverse * (static_cast<double>(dy[at(n)]) * scale[at(i)] - x[at(n)] * along * inverse * inverse / width);
      checkNear(got.dx[at(n)], exact + (add ? before[at(n)] : 0), 8 + size / width);
    }
  }
  forEachSchedule(longRun() ? 6 : 2, [&] { CHECK(runNorm(x, scale, dy, before, (rows + 1) / 2, add) == got); });
}

// --- rotation --------------------------------------------------------------------------------------------------------

void testRotary(int rows, int heads, int half) {
  std::mt19937 random(static_cast<unsigned>(rows * 7 + heads * 3 + half));
  const Values x = normalFloats(random, at(rows * heads * 2 * half)), angle = normalFloats(random, at(rows * half));
  Values cosine, sine, turned = x;
  for (const float a : angle) cosine.push_back(std::cos(a)), sine.push_back(std::sin(a));
  Codes rounded(x.size(), 0xffff);
  const RotaryRows a{turned.data(), heads, half, cosine.data(), sine.data(), rounded.data()};
  for (int first = 0; first < rows; first += 2)
    launch(rotateRows, grid(std::min(2, rows - first)), dim3(kRotaryThreads), 0, nullptr, a, first, false);
  for (int64_t n = 0; n < static_cast<int64_t>(x.size()); ++n) {
    const int64_t row = n / (heads * 2 * half), i = n % (2 * half), pair = n - i + (i + half) % (2 * half);
    const double c = cosine[at(row * half + i % half)], s = sine[at(row * half + i % half)];
    const double exact = x[at(n)] * c + (i < half ? -1 : 1) * x[at(pair)] * s;
    checkNear(turned[at(n)], exact, 4);
    CHECK(rounded[at(n)] == floatToBf16(turned[at(n)]));
  }
  launch(rotateRows, grid(rows), dim3(kRotaryThreads), 0, nullptr, a, 0, true);
  for (size_t n = 0; n < x.size(); ++n) checkNear(turned[n], x[n], 4);
}

// --- numbers by themselves -------------------------------------------------------------------------------------------

void testGate(int64_t count) {
  std::mt19937 random(static_cast<unsigned>(count));
  Values gate = normalFloats(random, at(count), 4);
  const Values up = normalFloats(random, at(count)), dy = normalFloats(random, at(count));
  gate[0] = 90, gate[1] = -90;
  Codes y(at(count), 0xffff), dgate = y, dup = y;
  for (int64_t first = 0; first < count; first += kPiece) {  // pieces by themselves
    launch(gateUp, dim3(1), dim3(kPieceThreads), 0, nullptr, gate.data(), up.data(), count, first, y.data());
    launch(gateUpBack, dim3(1), dim3(kPieceThreads), 0, nullptr, gate.data(), up.data(), dy.data(), count, first,
           dgate.data(), dup.data());
  }
  Codes whole(at(count), 0xffff);
  launch(gateUp, pieceGrid(0, count), dim3(kPieceThreads), 0, nullptr, gate.data(), up.data(), count, int64_t{0},
         whole.data());
  CHECK(whole == y);
  for (size_t i = 0; i < gate.size(); ++i) {
    const double g = gate[i], s = 1 / (1 + std::exp(-g));
    checkRounded(y[i], g * s * up[i]);
    checkRounded(dgate[i], dy[i] * up[i] * (s + g * s * (1 - s)), 1);
    checkRounded(dup[i], dy[i] * g * s);
  }
}

void testStart(int anchors, int slots, int width) {
  std::mt19937 random(5);
  const Values joined = normalFloats(random, at(anchors * width)), injected = normalFloats(random, at(anchors * width));
  const Values mask = normalFloats(random, at((slots - 1) * width));
  const int64_t count = int64_t{anchors} * slots * width;
  Values x(at(count), kNothing);
  launch(startBlocks, pieceGrid(0, count), dim3(kPieceThreads), 0, nullptr, joined.data(), injected.data(), mask.data(),
         slots, width, count, int64_t{0}, x.data());
  Codes context, anchored(at(anchors * width), 0xffff);
  std::vector<int32_t> row;
  for (int i = 0; i < 3 * anchors * width; ++i) context.push_back(static_cast<uint16_t>(i));
  for (int a = 0; a < anchors; ++a) row.push_back(3 * anchors - 1 - 2 * a);
  launch(gatherRows, pieceGrid(0, anchors * width), dim3(kPieceThreads), 0, nullptr, context.data(), row.data(), width,
         int64_t{anchors} * width, int64_t{0}, anchored.data());
  for (int a = 0; a < anchors; ++a)
    for (int i = 0; i < width; ++i) {
      for (int s = 0; s < slots; ++s) {
        const float ofMask = s == 0 ? 0 : mask[at((s - 1) * width + i)] + injected[at(a * width + i)];
        CHECK(x[at((a * slots + s) * width + i)] == (s == 0 ? joined[at(a * width + i)] : ofMask));
      }
      CHECK(anchored[at(a * width + i)] == context[at(row[at(a)] * width + i)]);
    }
  Codes rounded(x.size(), 0xffff);
  launch(roundNumbers, pieceGrid(0, count), dim3(kPieceThreads), 0, nullptr, x.data(), count, int64_t{0},
         rounded.data());
  for (size_t i = 0; i < x.size(); ++i) CHECK(rounded[i] == floatToBf16(x[i]));
}

// --- attention -------------------------------------------------------------------------------------------------------

struct AttentionShape {
  int context, slots, queryHeads, keyHeads, width;
  std::vector<int32_t> begin, anchor;
};

struct Attended {
  Values out, logSum, dq, dkey, dvalue;
  Codes rounded;
  bool operator==(const Attended&) const = default;
};

struct AttentionCase {
  BlockAttention a{};
  Values q, key, value, dout;
  int64_t queries, own;

  explicit AttentionCase(const AttentionShape& s) {
    const auto anchors = static_cast<int>(s.anchor.size());
    std::mt19937 random(static_cast<unsigned>(s.context + s.width));
    queries = int64_t{anchors} * s.slots * s.queryHeads;
    own = int64_t{anchors} * s.slots * s.keyHeads * s.width;
    q = normalFloats(random, at(queries * s.width), 2), dout = normalFloats(random, at(queries * s.width));
    key = normalFloats(random, at(int64_t{s.context} * s.keyHeads * s.width + own));
    value = normalFloats(random, key.size());
    a = {anchors,         s.slots,  s.queryHeads, s.keyHeads,   s.width, s.context, s.begin.data(),
         s.anchor.data(), q.data(), key.data(),   value.data(), nullptr, nullptr,   nullptr};
  }

  Attended run(const std::vector<int>& slices) {
    const auto made = [](int64_t count) { return Values(at(count), kNothing); };
    Attended r{made(queries * a.width),
               made(queries),
               made(queries * a.width),
               made(own),
               made(own),
               Codes(at(queries * a.width), 0xffff)};
    Values sum = made(queries);
    a.out = r.out.data(), a.most = r.logSum.data(), a.sum = sum.data();
    const BlockAttentionGradient g{dout.data(), r.dq.data(), r.dkey.data(), r.dvalue.data()};
    const dim3 heads = grid(a.queryHeads, a.anchors), threads(static_cast<unsigned>(a.slots * kWarp));
    for (size_t s = 0; s + 1 < slices.size(); ++s)
      launch(attendBlocks, heads, threads, KeyTiles::bytes(a, 1), nullptr, a, slices[s], slices[s + 1],
             r.rounded.data());
    for (size_t s = 0; s + 1 < slices.size(); ++s)
      launch(attendBlocksBack, heads, threads, KeyTiles::bytes(a, 2), nullptr, a, g, slices[s], slices[s + 1]);
    launch(ownKeysBack, grid(a.keyHeads, a.anchors), threads, 0, nullptr, a, g);
    return r;
  }
};

/// All keys that a query sees, in double; gradients of blocks' own keys are added.
void checkAttention(const AttentionCase& c, const Attended& got) {
  const BlockAttention& a = c.a;
  std::vector<double> dkey(at(c.own)), dvalue(at(c.own));
  const double factor = 1 / std::sqrt(static_cast<double>(a.width));
  for (int64_t n = 0; n < c.queries; ++n) {
    const int64_t head = n % a.queryHeads, row = n / a.queryHeads, anchor = row / a.slots, slot = row % a.slots;
    std::vector<int64_t> seen;  // rows of keys
    for (int64_t j = a.begin[anchor]; j <= a.anchor[anchor]; ++j) seen.push_back(j);
    for (int64_t s = 0; s <= slot; ++s) seen.push_back(a.context + anchor * a.slots + s);
    const auto keyOf = [&](int64_t j, int64_t d) {
      return at((j * a.keyHeads + head / (a.queryHeads / a.keyHeads)) * a.width + d);
    };
    const auto of = [&](const Values& x, int64_t d) { return static_cast<double>(x[at(n * a.width + d)]); };
    std::vector<double> p, out(at(a.width)), dq(at(a.width));
    double sum = 0, along = 0;
    for (const int64_t j : seen) {
      double score = 0;
      for (int64_t d = 0; d < a.width; ++d) score += of(c.q, d) * c.key[keyOf(j, d)];
      p.push_back(std::exp(score * factor));
      sum += p.back();
    }
    for (size_t i = 0; i < seen.size(); ++i)
      for (int64_t d = 0; d < a.width; ++d) out[at(d)] += p[i] / sum * c.value[keyOf(seen[i], d)];
    for (int64_t d = 0; d < a.width; ++d) along += of(c.dout, d) * out[at(d)];
    for (size_t i = 0; i < seen.size(); ++i) {
      double dp = 0;
      for (int64_t d = 0; d < a.width; ++d) dp += of(c.dout, d) * c.value[keyOf(seen[i], d)];
      const double g = p[i] / sum * (dp - along) * factor;
      for (int64_t d = 0; d < a.width; ++d) {
        dq[at(d)] += g * c.key[keyOf(seen[i], d)];
        if (seen[i] < a.context) continue;
        const size_t to = keyOf(seen[i] - a.context, d);
        dkey[to] += g * of(c.q, d), dvalue[to] += p[i] / sum * of(c.dout, d);
      }
    }
    checkNear(got.logSum[at(n)], std::log2(sum), 8);
    for (int64_t d = 0; d < a.width; ++d) {
      checkNear(got.out[at(n * a.width + d)], out[at(d)], 8);
      CHECK(got.rounded[at(n * a.width + d)] == floatToBf16(got.out[at(n * a.width + d)]));
      checkNear(got.dq[at(n * a.width + d)], dq[at(d)], 40);
    }
  }
  for (size_t i = 0; i < dkey.size(); ++i) {
    checkNear(got.dkey[i], dkey[i], 100);
    checkNear(got.dvalue[i], dvalue[i], 100);
  }
}

void testAttention(const AttentionShape& shape) {
  AttentionCase c(shape);
  const int keys = shape.context + shape.slots;
  const Attended got = c.run({0, roundUp(keys, kKeyTile)});
  checkAttention(c, got);
  std::vector<int> tiles;
  for (int first = 0; first < keys + kKeyTile; first += kKeyTile) tiles.push_back(first);
  forEachSchedule(longRun() ? 6 : 3, [&] { CHECK(c.run(tiles) == got); });
}

void testAttentions() {
  testAttention({1, 1, 1, 1, 16, {0}, {0}});
  testAttention(
      {40, 3, 4, 2, 16, {0, 0, 0}, {0, 31, 38}});  // an anchor at the first row; own rows in the first tile and across
  testAttention({75, 5, 3, 1, 48, {0, 40, 40}, {37, 41, 74}});  // two sequences
  if (longRun()) testAttention({130, 7, 9, 3, 64, {0, 0, 0, 0}, {63, 64, 100, 129}});
  if (longRun()) testAttention({50, kMostSlots, 2, 2, kMostHeadWidth, {0, 0}, {20, 49}});
}

/// All tiles once, in launches that are short wherever a tile is.
void testAttentionPlan() {
  for (const int processors : {4, 132})
    for (const int keys : {1, 33, 5000}) {
      BlockAttention a{};
      a.anchors = 32, a.slots = 7, a.queryHeads = 32, a.keyHeads = 8, a.width = 128;
      const std::vector<int> first = planBlockAttention(a, keys, processors);
      CHECK(first.front() == 0 && first.back() >= keys && first.back() < keys + (first[1] - first[0]));
      for (size_t s = 0; s + 1 < first.size(); ++s) {
        const int step = first[s + 1] - first[s];
        const int64_t numbers = int64_t{ceilDiv(a.anchors * a.queryHeads, processors)} * a.slots * a.width * step;
        CHECK(step % kKeyTile == 0 && (step == kKeyTile || numbers <= kNumbersPerAttentionSlice));
      }
    }
}

}  // namespace
}  // namespace foretoken::test

int main() {
  using namespace foretoken::test;
  for (const bool add : {false, true})
    for (const auto& [rows, width] : {std::pair{1, 16}, {5, 272}, {3, 1040}}) testNorm(rows, width, add);
  testRotary(1, 1, 8);
  testRotary(5, 3, 40);
  testRotary(3, 9, 32);
  testGate(40);
  testGate(2 * foretoken::cuda::kPiece + 77);
  testStart(5, 4, 48);
  testStart(1, 1, 16);
  testAttentions();
  testAttentionPlan();
  return finish("layers");
}
