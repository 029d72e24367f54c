// Attention over the paged KV pool, bit for bit the same for a row whatever else is in the pass.
//
// Definition, per row and query head, with every addition and multiplication fp32 and every multiply-add fused:
//   1. q and k are rotated (x cos + partner (±sin), fused), q is then multiplied by log2(e) / sqrt(headDim); k and v
//   are rounded
//      to bf16 (nearest even) and written to the row's slot.
//   2. score(p) = the chain over d = 0 .. headDim - 1 of q[d] k[p][d], starting at 0.
//   3. Positions are cut at absolute multiples of kSplit. Per split: m = the greatest score, w(p) = 2^(score(p) - m)
//   (exp2 of
//      vector_math-inl.h), l = the sum of w in sixteen lanes by p mod 16, folded in a fixed tree, a[d] = the chain over
//      p of w(p) v[p][d].
//   4. Splits are folded in order into (M, L, O), starting at (-inf, 0, 0): M' = max(M, m), x = 2^(M - M'), y = 2^(m -
//   M'),
//      L = fma(l, y, L x), O[d] = fma(a[d], y, O[d] x). The output is O[d] (1 / L).
// Nothing in it depends on where a position's slot lies, on which rows share the loads of a page, or on which thread
// ran which split; so chains, trees, prefill chunks and prefix hits agree (promise 3).
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "backend.h"
#include "cpu/isa.h"
#include "cpu/kv.h"
#include "cpu/thread_pool.h"

namespace foretoken {

constexpr int kSplit = 128;       ///< positions whose softmax is computed together
constexpr int kTileQueries = 24;  ///< most queries (rows x heads of one KV head) that share the loads of K and V
constexpr int kItemHeads = 16;    ///< most query heads of one KV head in a work item
constexpr int kMaxHeadDim = 256;

/// Rows of one sequence that are neighbours in the pass and attend to (almost) the same positions.
struct AttentionTile {
  int rowBegin, rowEnd;
  int shared;        ///< least base: positions below it are read through pages by all rows
  int paged;         ///< greatest base
  int longest;       ///< positions of the longest row
  int64_t partials;  ///< first entry of the tile's partial results, -1 where one item does all splits
};

/// One unit of work: heads [headBegin, headEnd) of a KV head's group, splits [splitBegin, splitEnd), all rows of a
/// tile.
struct AttentionItem {
  int tile, kvHead, headBegin, headEnd, splitBegin, splitEnd;
  int pending;  ///< index of the counter of unfinished items that share its merge, -1 = none
};

/// One attention operation as the kernels see it.
struct AttentionJob {
  const Pass* pass;
  KvLayer kv;
  int heads, kvHeads, group;  ///< group = query heads per KV head
  float* qkv;                 ///< [rows][(heads + 2 kvHeads) headDim]; q is rotated in place
  float* out;                 ///< [rows][heads headDim]
  const float* rotary;        ///< [rows][2][headDim]: cosines, then signed sines
  bool interleaved;
  float scale;
  const AttentionTile* tiles;
  float* partialStats;  ///< [entries][2]: m, l
  float* partialSums;   ///< [entries][valueStride]: a
};

/// What one thread needs besides; about 50 KiB.
struct AttentionScratch {
  alignas(64) float scores[kTileQueries][kSplit];
  alignas(64) float sums[kTileQueries][kMaxHeadDim];
  alignas(64) float totals[kTileQueries][kMaxHeadDim];
  alignas(64) float page[kItemHeads][kPageSize];
  float most[kTileQueries], total[kTileQueries];            ///< M, L
  float splitMost[kTileQueries], splitTotal[kTileQueries];  ///< m, l
  const float* query[kTileQueries];
  const uint16_t* value[kSplit];
  const uint16_t* key[kSplit / kPageSize];
};

/// The kernels of one instruction set.
struct AttentionKernels {
  /// Rotates and stores heads [begin, end) of a row, counted q, k, v.
  void (*prepare)(const AttentionJob&, int row, int begin, int end);
  void (*attend)(const AttentionJob&, const AttentionItem&, AttentionScratch&);
  /// Folds the partial results of an item's rows and heads into the output.
  void (*merge)(const AttentionJob&, const AttentionItem&, AttentionScratch&);
};
extern const AttentionKernels kAttentionPortable, kAttentionAvx2, kAttentionAvx512;
const AttentionKernels& attentionKernels(Isa isa);

class Attention {
 public:
  /// Reserves what passes over a pool of this shape need, so that none of them allocates (passes of more than 512 rows
  /// enlarge some of it once). `threads` must outlive this.
  Attention(const AttentionKernels& kernels, const KvShape& shape, ThreadPool& threads);

  /// Backend::attention for one layer of `pool`.
  void run(const Pass& pass, KvPool& pool, int layer, int heads, const Rope& rope, float* qkv, float* out);

 private:
  void updateRotary(const Pass& pass, const Rope& rope);
  void rotaryRow(const Rope& rope, int row, int position);
  void planTiles(const Pass& pass, int group);
  void planItems(int heads, int kvHeads);
  void addItems(int tile, int kvHead, int group, int chunk);
  void prepareRows(const AttentionJob& job, int64_t first, int64_t last);
  void attendItems(const AttentionJob& job, int thread);

  const AttentionKernels& kernels_;
  ThreadPool& threads_;
  int headDim_, valueStride_;
  std::vector<AttentionScratch> scratch_;  // one per thread
  std::vector<AttentionTile> tiles_;
  std::vector<AttentionItem> items_;
  std::vector<float> partialStats_, partialSums_;
  int64_t partialCapacity_;
  std::unique_ptr<std::atomic<int>[]> pending_;
  int pendingCapacity_, pendingUsed_ = 0;
  alignas(64) std::atomic<int> next_{0};  // item to be taken next

  // Cosines and sines of the pass at hand, and what they were computed from.
  std::vector<float> rotary_, rotaryFrequency_;
  std::vector<int32_t> rotaryPosition_;
  bool rotaryInterleaved_ = false;
};

}  // namespace foretoken
