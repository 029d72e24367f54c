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

void testAgainstDouble() {
  for (const Shape& shape : kShapes) {
    for (int length : {1, 2, 17, 128, 129, 300}) {
      std::mt19937 random(length);
      const std::vector<int> tokens = randomTokens(random, length);
      const std::vector<double> exact = exactLast(shape, tokens);
      const std::vector<float> got = oneByOne(shape, attentionKernels(Isa::portable), tokens).back();
      double worst = 0;
      for (size_t i = 0; i < exact.size(); ++i) worst = std::max(worst, std::abs(exact[i] - got[i]));
      CHECK(worst < 2e-3);
    }
  }
}

void testInstructionSetsAgree() {
  for (const Shape& shape : kShapes) {
    std::mt19937 random(7);
    const std::vector<int> tokens = randomTokens(random, 150);
    const Outputs expected = oneByOne(shape, attentionKernels(Isa::portable), tokens);
    for (Isa isa : isas()) {
      const Outputs got = oneByOne(shape, attentionKernels(isa), tokens);
      for (size_t p = 0; p < tokens.size(); ++p) CHECK(same(expected[p], got[p]));
    }
  }
}

/// Several sequences with a common prefix (shared pages), prefilled in random chunks that share passes.
void testChunksAndBatches(const Shape& shape, Isa isa, uint32_t seed) {
  std::mt19937 random(seed);
  const int sequences = 1 + static_cast<int>(random() % 4), prefixPages = static_cast<int>(random() % 10);
  const int threads = 1 + static_cast<int>(random() % 4), perSequence = 20;
  const std::vector<int> prefix = randomTokens(random, prefixPages * kPageSize);
  std::vector<int32_t> all = shuffledPages(random, prefixPages + sequences * perSequence);
  std::vector<std::vector<int>> tokens;
  std::vector<std::vector<int32_t>> tables;
  Outputs expected[4];
  for (int s = 0; s < sequences; ++s) {
    std::vector<int> mine = prefix, tail = randomTokens(random, 1 + static_cast<int>(random() % 150));
    mine.insert(mine.end(), tail.begin(), tail.end());
    tokens.push_back(mine);
    std::vector<int32_t> table(all.begin(), all.begin() + prefixPages);
    const auto own = all.begin() + prefixPages + s * perSequence;
    table.insert(table.end(), own, own + perSequence);
    tables.push_back(table);
    expected[s] = oneByOne(shape, attentionKernels(isa), mine);
  }
  Rig rig(shape, attentionKernels(isa), threads, static_cast<int>(all.size()));
  // The first sequence computes the prefix; the others hit it and start behind it.
  std::vector<int> done(sequences, static_cast<int>(prefix.size()));
  done[0] = 0;
  bool first = true;
  for (;;) {
    std::vector<Row> rows;
    std::vector<std::pair<int, int>> what;
    for (int s = 0; s < sequences; ++s) {
      if (s > 0 && first) continue;
      const int left = static_cast<int>(tokens[s].size()) - done[s];
      const int most = s == 0 && first ? std::max<int>(1, static_cast<int>(prefix.size())) : left;
      const int count = std::min(left, s == 0 && first ? most : 1 + static_cast<int>(random() % 60));
      for (const Row& row : chunk(tokens[s], tables[s], s, done[s], done[s] + count, random() % 2 == 0)) {
        what.push_back({s, row.position});
        rows.push_back(row);
      }
      done[s] += count;
    }
    first = false;
    if (rows.empty()) break;
    const Outputs got = rig.run(rows, tables);
    for (size_t r = 0; r < rows.size(); ++r) CHECK(same(got[r], expected[what[r].first][what[r].second]));
  }
}

/// Random trees behind a prefix; then the deepest path is copied into place and decoding goes on.
void testTrees(const Shape& shape, Isa isa, uint32_t seed) {
  std::mt19937 random(seed);
  const int threads = 1 + static_cast<int>(random() % 4), length = static_cast<int>(random() % 280);
  const int nodes = 1 + static_cast<int>(random() % 24), pages = 24, scratchPages = 12;
  const std::vector<int> prefix = randomTokens(random, length);
  const std::vector<int32_t> all = shuffledPages(random, pages + scratchPages);
  const std::vector<int32_t> table(all.begin(), all.begin() + pages);
  std::vector<int32_t> scratch;
  for (int i = pages; i < pages + scratchPages; ++i)
    for (int lane = 0; lane < kPageSize; ++lane) scratch.push_back(all[i] * kPageSize + lane);
  if (random() % 2) std::shuffle(scratch.begin(), scratch.end(), random);

  Rig rig(shape, attentionKernels(isa), threads, pages + scratchPages);
  if (length > 0) rig.run(chunk(prefix, table, 0, 0, length, true), {table});
  std::vector<Row> rows;
  std::vector<std::vector<int>> paths;  // tokens from the root to each node
  int deepest = 0;
  for (int n = 0; n < nodes; ++n) {
    const int parent = n == 0 ? -1 : static_cast<int>(random() % n);
    std::vector<int> path = parent < 0 ? std::vector<int>{} : paths[parent];
    path.push_back(static_cast<int>(random() % 1000000));
    Row row{path.back(), length + static_cast<int>(path.size()) - 1, scratch[n], 0, length, {}};
    if (parent >= 0) row.ancestors = rows[parent].ancestors;
    row.ancestors.push_back(scratch[n]);
    paths.push_back(path);
    rows.push_back(row);
    if (path.size() > paths[deepest].size()) deepest = n;
  }
  const Outputs got = rig.run(rows, {table});
  for (int n = 0; n < nodes; ++n) {
    std::vector<int> tokens = prefix;
    tokens.insert(tokens.end(), paths[n].begin(), paths[n].end());
    CHECK(same(got[n], oneByOne(shape, attentionKernels(isa), tokens).back()));
  }

  std::vector<int> accepted = prefix;
  accepted.insert(accepted.end(), paths[deepest].begin(), paths[deepest].end());
  std::vector<int32_t> to;
  for (size_t i = 0; i < paths[deepest].size(); ++i) to.push_back(slotOf(table, length + static_cast<int>(i)));
  rig.pool.copyLayers(rows[deepest].ancestors, to, 0, 1);
  accepted.push_back(42);
  const int last = static_cast<int>(accepted.size()) - 1;
  const Outputs next = rig.run(chunk(accepted, table, 0, last, last + 1, true), {table});
  CHECK(same(next[0], oneByOne(shape, attentionKernels(isa), accepted).back()));
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
        testChunksAndBatches(shape, isa, seed);
        testTrees(shape, isa, seed);
      }
    }
  }
  return finish("attention");
}
