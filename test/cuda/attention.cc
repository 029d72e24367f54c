// Attention's CUDA kernels against double arithmetic, and promise 3 bit by bit: chunks, trees, page orders, batches and
// shared-out splits all give what decoding one token at a time gives, whatever the schedule.
#include "test/cuda/attention_rig.h"
#include "test/cuda/schedules.h"
#include "test/native/check.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;
using cuda::Bf16Kv;
using cuda::Fp8Kv;

const Shape kShapes[] = {
    {4, 2, 64, true}, {3, 1, 48, false}, {8, 2, 128, false}, {17, 1, 32, true}, {1, 1, 256, false}};

/// Against double: what is left are the rounding of weights to bf16 and sums in fp32.
template <class Codec>
void testAgainstDouble(const Shape& shape, int length) {
  std::mt19937 random(length);
  const std::vector<int> tokens = randomTokens(random, length);
  const std::vector<double> exact = exactLast<Codec>(shape, tokens);
  const std::vector<float> got = oneByOne<Codec>(shape, tokens, length - 1).back();
  double worst = 0;
  for (size_t i = 0; i < exact.size(); ++i) worst = std::max(worst, std::abs(exact[i] - got[i]));
  CHECK(worst < (Codec::kScaled ? 2e-2 : 1e-2));
}

/// A long prompt in chunks, beside another sequence that is being decoded.
template <class Codec>
void testChunks(const Shape& shape, int length, uint32_t seed) {
  std::mt19937 random(seed);
  const int pages = (length + kPageSize - 1) / kPageSize, compared = std::min(length, 40);
  const std::vector<int> tokens = randomTokens(random, length), other = randomTokens(random, 2 * kPageSize);
  const Outputs expected = oneByOne<Codec>(shape, tokens, length - compared);
  const std::vector<int32_t> all = shuffledPages(random, pages + 2);
  const std::vector<int32_t> table(all.begin(), all.begin() + pages), otherTable(all.begin() + pages, all.end());
  Rig<Codec> rig(shape, pages + 2);
  for (int done = 0, step = 0; done < length; ++step) {
    const int count = std::min(length - done, 1 + static_cast<int>(random() % 45));
    std::vector<Row> rows;
    if (step < static_cast<int>(other.size())) rows = chunk(other, otherTable, 1, step, step + 1, true);
    const size_t before = rows.size();
    for (Row& row : chunk(tokens, table, 0, done, done + count, random() % 2 == 0)) rows.push_back(row);
    const Outputs got = rig.run(rows, {table, otherTable}, random() % 2 == 0);
    for (int i = 0; i < count; ++i) {
      const int behind = done + i - (length - compared);
      if (behind >= 0) CHECK(same(got[before + i], expected[behind]));
    }
    done += count;
  }
}

/// Random trees behind a prefix, in slots of all kinds of pages; every path must give what its tokens give in
/// sequence.
template <class Codec>
void testTree(const Shape& shape, int length, int nodes, uint32_t seed) {
  std::mt19937 random(seed);
  const int pages = (length + nodes + kPageSize) / kPageSize, scratchPages = 4;
  const std::vector<int> prefix = randomTokens(random, length);
  const std::vector<int32_t> all = shuffledPages(random, pages + scratchPages);
  const std::vector<int32_t> table(all.begin(), all.begin() + pages);
  std::vector<int32_t> scratch = slotsOf(std::span(all).subspan(pages));
  std::shuffle(scratch.begin(), scratch.end(), random);

  Rig<Codec> rig(shape, pages + scratchPages);
  rig.run(chunk(prefix, table, 0, 0, length, true), {table}, false);
  const Forest forest = randomForest(random, length, nodes, scratch);
  const Outputs got = rig.run(forest.rows, {table}, seed % 2 == 0);
  for (int n = 0; n < nodes; n += 1 + nodes / 6) {
    const std::vector<int> tokens = followed(prefix, forest.paths[n]);
    CHECK(same(got[n], oneByOne<Codec>(shape, tokens, static_cast<int>(tokens.size()) - 1).back()));
  }
}

/// One block that takes all splits, and a block for each, fold the same.
template <class Codec>
void testSplits() {
  const Shape shape{2, 1, 32, false};
  std::mt19937 random(3);
  const int length = 3 * cuda::kSplit + 40, pages = (length + kPageSize - 1) / kPageSize;
  const std::vector<int> tokens = randomTokens(random, length);
  const std::vector<int32_t> table = shuffledPages(random, pages);
  Rig<Codec> rig(shape, pages);
  std::vector<Row> some;  // the other positions are what stood there
  for (int p = 0; p + 1 < length; p += 16) some.push_back(chunk(tokens, table, 0, p, p + 1, true)[0]);
  rig.run(some, {table}, false);
  const std::vector<Row> last = chunk(tokens, table, 0, length - 1, length, true);
  CHECK(same(rig.run(last, {table}, true)[0], rig.run(last, {table}, false)[0]));
}

template <class Codec>
void testCodec() {
  const bool all = longRun();
  for (const Shape& shape : kShapes) {
    for (const int length : {1, 17, 64, 257})
      if (all || length < 64) testAgainstDouble<Codec>(shape, length);
    for (uint32_t seed = 0; seed < (all ? 6 : 1); ++seed) {
      testChunks<Codec>(shape, all ? 300 + static_cast<int>(seed) : 75, seed);
      testTree<Codec>(shape, 13 + 47 * static_cast<int>(seed), all ? 40 : 12, seed);
    }
  }
  testSplits<Codec>();
  testAgainstDouble<Codec>(kShapes[0], 300);
  testTree<Codec>(kShapes[0], 250, 48, 9);
}

}  // namespace

int main() {
  forEachSchedule(longRun() ? 4 : 2, [] {
    testCodec<Bf16Kv>();
    testCodec<Fp8Kv>();
  });
  return finish("attention");
}
