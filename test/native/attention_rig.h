// What the tests of the CPU's attention share: a pool to run passes over, the exact answer in double, and promise 3.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "cpu/attention.h"
#include "cpu/kv.h"
#include "cpu/thread_pool.h"
#include "test/native/attention_inputs.h"
#include "test/native/check.h"

namespace foretoken::test {

/// A pool of a few layers with the threads and the kernels that work on it.
class Rig {
 public:
  Rig(const Shape& shape, const AttentionKernels& kernels, int threads, int pages, int layers = 1)
      : shape_(shape),
        frequency_(frequencies(shape.headDim)),
        threads_(threads),
        pool({layers, shape.kvHeads, shape.headDim, pages, 0}),
        attention_(kernels, pool.shape(), threads_) {}

  /// Runs one pass and returns the outputs, a vector per row.
  Outputs run(const std::vector<Row>& rows, const std::vector<std::vector<int32_t>>& tables, int layer = 0) {
    RowsPass of(shape_, rows, tables);
    std::vector<float> out(rows.size() * shape_.heads * shape_.headDim);
    attention_.run(of.pass, pool, layer, shape_.heads, Rope{frequency_, shape_.interleaved}, of.qkv.data(), out.data());
    return perRow(out, of.pass.rows);
  }

 private:
  Shape shape_;
  std::vector<float> frequency_;
  ThreadPool threads_;

 public:
  KvPool pool;

 private:
  Attention attention_;
};

/// Outputs of every position of `tokens`, decoded one by one in ordered pages on one thread: what all else must equal.
inline Outputs oneByOne(const Shape& shape, const AttentionKernels& kernels, const std::vector<int>& tokens) {
  const int length = static_cast<int>(tokens.size()), pages = (length + kPageSize - 1) / kPageSize;
  Rig rig(shape, kernels, 1, pages);
  Outputs outputs;
  for (int p = 0; p < length; ++p)
    outputs.push_back(rig.run({{tokens[p], p, p, 0, p + 1, {}}}, {orderedPages(pages)})[0]);
  return outputs;
}

inline float roundBf16(float x) {
  uint32_t u;
  std::memcpy(&u, &x, 4);
  u = (u + 0x7fff + (u >> 16 & 1)) & 0xffff0000u;
  std::memcpy(&x, &u, 4);
  return x;
}

/// The last position's output, in double but for the rounding of k and v to bf16.
inline std::vector<double> exactLast(const Shape& shape, const std::vector<int>& tokens) {
  const int length = static_cast<int>(tokens.size()), group = shape.heads / shape.kvHeads;
  Outputs rows;
  for (int token : tokens) rows.push_back(inputRow(shape, token));
  std::vector<double> out;
  for (int head = 0; head < shape.heads; ++head) {
    const int kvHead = head / group;
    const std::vector<double> q = headOf(shape, rows.back(), head, length - 1);
    std::vector<double> score(length);
    for (int p = 0; p < length; ++p) {
      const std::vector<double> k = headOf(shape, rows[p], shape.heads + kvHead, p);
      for (int d = 0; d < shape.headDim; ++d) score[p] += q[d] * roundBf16(static_cast<float>(k[d]));
      score[p] /= std::sqrt(static_cast<double>(shape.headDim));
    }
    const double top = *std::max_element(score.begin(), score.end());
    double total = 0;
    std::vector<double> sum(shape.headDim);
    for (int p = 0; p < length; ++p) {
      const double w = std::exp(score[p] - top);
      total += w;
      const float* v = rows[p].data() + (shape.heads + shape.kvHeads + kvHead) * shape.headDim;
      for (int d = 0; d < shape.headDim; ++d) sum[d] += w * roundBf16(v[d]);
    }
    for (double s : sum) out.push_back(s / total);
  }
  return out;
}

/// A sequence's last output is near the exact one.
inline void checkAgainstDouble(const Shape& shape, const AttentionKernels& kernels, int length) {
  std::mt19937 random(length);
  const std::vector<int> tokens = randomTokens(random, length);
  const std::vector<double> exact = exactLast(shape, tokens);
  const std::vector<float> got = oneByOne(shape, kernels, tokens).back();
  double worst = 0;
  for (size_t i = 0; i < exact.size(); ++i) worst = std::max(worst, std::abs(exact[i] - got[i]));
  CHECK(worst < 2e-3);
}

/// Several sequences with a common prefix (shared pages), prefilled in random chunks that share passes.
inline void checkChunksAndBatches(const Shape& shape, const AttentionKernels& kernels, uint32_t seed) {
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
    expected[s] = oneByOne(shape, kernels, mine);
  }
  Rig rig(shape, kernels, threads, static_cast<int>(all.size()));
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
inline void checkTrees(const Shape& shape, const AttentionKernels& kernels, uint32_t seed) {
  std::mt19937 random(seed);
  const int threads = 1 + static_cast<int>(random() % 4), length = static_cast<int>(random() % 280);
  const int nodes = 1 + static_cast<int>(random() % 24), pages = 24, scratchPages = 12;
  const std::vector<int> prefix = randomTokens(random, length);
  const std::vector<int32_t> all = shuffledPages(random, pages + scratchPages);
  const std::vector<int32_t> table(all.begin(), all.begin() + pages);
  std::vector<int32_t> scratch = slotsOf(std::span(all).subspan(pages));
  if (random() % 2) std::shuffle(scratch.begin(), scratch.end(), random);

  Rig rig(shape, kernels, threads, pages + scratchPages);
  if (length > 0) rig.run(chunk(prefix, table, 0, 0, length, true), {table});
  const auto [rows, paths] = randomForest(random, length, nodes, scratch);
  const Outputs got = rig.run(rows, {table});
  size_t deepest = 0;
  for (size_t n = 0; n < rows.size(); ++n) {
    CHECK(same(got[n], oneByOne(shape, kernels, followed(prefix, paths[n])).back()));
    if (paths[n].size() > paths[deepest].size()) deepest = n;
  }

  std::vector<int> accepted = followed(prefix, paths[deepest]);
  std::vector<int32_t> to;
  for (size_t i = 0; i < paths[deepest].size(); ++i) to.push_back(slotOf(table, length + static_cast<int>(i)));
  rig.pool.copyLayers(rows[deepest].ancestors, to, 0, 1);
  accepted.push_back(42);
  const int last = static_cast<int>(accepted.size()) - 1;
  const Outputs next = rig.run(chunk(accepted, table, 0, last, last + 1, true), {table});
  CHECK(same(next[0], oneByOne(shape, kernels, accepted).back()));
}

}  // namespace foretoken::test
