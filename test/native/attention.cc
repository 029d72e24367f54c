// Attention against double arithmetic, and promise 3 bit by bit: chunks, trees, page orders, batches, threads,
// instruction sets all give what decoding one token at a time gives.
#include "attention_rig.h"
#include "check.h"
#include "cpu/isa.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;

const Shape kShapes[] = {{9, 3, 64, true}, {4, 4, 32, false},  {8, 2, 128, false}, {6, 2, 48, false}, {5, 1, 80, true},
                         {2, 2, 96, true}, {34, 2, 32, false}, {1, 1, 256, false}, {16, 2, 112, true}};

std::vector<Isa> isas() {
  std::vector<Isa> available;
  for (Isa isa : kIsas)
    if (isaAvailable(isa)) available.push_back(isa);
  return available;
}

/// Whether this path adds in an order of its own (attention_amx.cc).
bool own(Isa isa, const Shape& shape) { return isa == Isa::amx && shape.headDim % 32 == 0; }

void testAgainstDouble() {
  for (const Shape& shape : kShapes) {
    for (Isa isa : isas()) {
      if (isa != Isa::portable && !own(isa, shape)) continue;
      for (int length : {1, 2, 17, 128, 129, 300}) checkAgainstDouble(shape, attentionKernels(isa), length);
    }
  }
}

void testInstructionSetsAgree() {
  for (const Shape& shape : kShapes) {
    std::mt19937 random(7);
    const std::vector<int> tokens = randomTokens(random, 150);
    const Outputs expected = oneByOne(shape, attentionKernels(Isa::portable), tokens);
    for (Isa isa : isas()) {
      if (own(isa, shape)) continue;
      const Outputs got = oneByOne(shape, attentionKernels(isa), tokens);
      for (size_t p = 0; p < tokens.size(); ++p) CHECK(same(expected[p], got[p]));
    }
  }
}

/// Rows with more ancestors than a tile of several rows may have, and than a split has positions.
void testManyAncestors(Isa isa) {
  const Shape shape{6, 2, 48, false};
  std::mt19937 random(5);
  const int begin = 30, length = 230, pages = 15;
  const std::vector<int> tokens = randomTokens(random, length);
  const std::vector<int32_t> table = shuffledPages(random, pages);
  Rig rig(shape, attentionKernels(isa), 2, pages);
  rig.run(chunk(tokens, table, 0, 0, begin, true), {table});
  const Outputs got = rig.run(chunk(tokens, table, 0, begin, length, false), {table});
  const Outputs expected = oneByOne(shape, attentionKernels(isa), tokens);
  for (int p = begin; p < length; ++p) CHECK(same(got[p - begin], expected[p]));
}

/// Long contexts on several threads take the path that cuts one row across threads.
void testThreads() {
  const Shape shape{9, 3, 64, true};
  std::mt19937 random(3);
  const std::vector<int> tokens = randomTokens(random, 700);
  Outputs expected;
  for (int threads = 1; threads <= 4; ++threads) {
    const int pages = 44;
    Rig rig(shape, attentionKernels(isas().back()), threads, pages);
    rig.run(chunk(tokens, orderedPages(pages), 0, 0, 699, true), {orderedPages(pages)});
    const Outputs got = rig.run(chunk(tokens, orderedPages(pages), 0, 699, 700, true), {orderedPages(pages)});
    if (threads == 1) expected = got;
    CHECK(same(got[0], expected[0]));
  }
}

}  // namespace

int main() {
  testAgainstDouble();
  testInstructionSetsAgree();
  testThreads();
  for (Isa isa : isas()) {
    testManyAncestors(isa);
    const uint32_t seeds = isa == Isa::portable ? 1 : 5;
    for (uint32_t seed = 0; seed < seeds; ++seed) {
      for (const Shape& shape : kShapes) {
        checkChunksAndBatches(shape, attentionKernels(isa), seed);
        checkTrees(shape, attentionKernels(isa), seed);
      }
    }
  }
  return finish("attention");
}
