// Attention over the paged KV pool, bit for bit the same for a row whatever else is in the pass.
//
// Definition, per row and query head, with every addition and multiplication fp32 and every multiply-add fused:
//   1. q and k are rotated (x cos + partner (±sin), fused), q is then multiplied by log2(e) / sqrt(headDim); v is kept
//      within the finite bf16 range; k and v are rounded to bf16 (nearest even) and written to the row's slot.
//   2. score(p) = the chain over d = 0 .. headDim - 1 of q[d] k[p][d], starting at 0.
//   3. Positions are cut at absolute multiples of kSplit. Per split: m = the greatest score, w(p) = 2^(score(p) - m)
//      (exp2 of vector_math-inl.h), l = the exact sum of w rounded to multiples of 2^-22, a[d] = the chain over p of
//      w(p) v[p][d].
//   4. Splits are folded in order into (M, L, O), starting at (-inf, 0, 0): M' = max(M, m), x = 2^(M - M'),
//      y = 2^(m - M'), L = fma(l, y, L x), O[d] = fma(a[d], y, O[d] x). The output is fma(O[d], 1 / L, 0).
// On CPUs that multiply tiles (AMX), heads of whole 32 dimensions take other chains (attention_amx.cc): q and w(p) are
// sums of two bf16, and what is added to a[d] is the chain of w(p) v[p][d] over sixteen positions, cut at absolute
// multiples of kPageSize.
// Nothing in it depends on where a position's slot lies, on which rows share the loads of a page, or on which thread
// ran which split; so chains, trees, prefill chunks and prefix hits agree (promise 3). A position that a row does not
// see may be computed with the others of its tile: its weight is 0, and neither a sum nor a chain changes by it.
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
constexpr int kQueryLanes = 32;   ///< kTileQueries in whole vectors
constexpr int kItemHeads = 16;    ///< most query heads of one KV head in a work item
constexpr int kMaxHeadDim = 256;
constexpr int kQueryStride = kMaxHeadDim + 16;  ///< floats from query to query: an odd number of cache lines
constexpr int kTileSides = 64;                  ///< most side slots of a tile of several rows
/// Positions of a split in pages, and those in side slots. (An odd number of cache lines: rows lie in different sets.)
constexpr int kSplitLanes = kSplit + kTileSides + kPageSize;
constexpr int kWeightForms = 4;

/// A slot that rows of a tile read beside the pages of their sequence.
struct AttentionSide {
  int slot, position;
  uint32_t rows;  ///< bit i: row rowBegin + i sees it
};

/// Rows of one sequence that are neighbours in the pass and attend to (almost) the same positions.
struct AttentionTile {
  int rowBegin, rowEnd;
  int shared, paged;       ///< least and greatest base
  int longest;             ///< positions of the longest row
  int sideBegin, sideEnd;  ///< its side slots: ancestors come before their descendants
};

/// One unit of work: heads [headBegin, headEnd) of a KV head's group, splits [splitBegin, splitEnd), all rows of a
/// tile.
struct AttentionItem {
  int tile, kvHead, headBegin, headEnd, splitBegin, splitEnd;
  int64_t partials;  ///< where one of several items does these splits: the first entry of their results, otherwise -1
  int merge;         ///< index of the counter of those of them that are finished
  int parts;         ///< how many they are
};

/// One attention operation as the kernels see it.
struct AttentionJob {
  const Pass* pass;
  KvLayer kv;
  int heads, kvHeads, group;  ///< group = query heads per KV head
  const float* qkv;           ///< [rows][(heads + 2 kvHeads) headDim]
  float* out;                 ///< [rows][heads headDim]
  const float* rotary;        ///< [rows][2][headDim]: cosines, then signed sines
  bool interleaved;
  float scale;
  const AttentionTile* tiles;
  const AttentionSide* sides;
  // Results of splits that are folded later, by item, split and query.
  float *partialMost, *partialTotal;  ///< [entries]: m, l
  float* partialSums;                 ///< [entries][valueStride]: a
};

/// What one thread needs besides; about 260 KiB, of which heads of 64 dimensions touch a third.
struct AttentionScratch {
  alignas(64) float queries[kTileQueries][kQueryStride];
  alignas(64) float scores[kTileQueries][kSplitLanes];
  alignas(64) float sums[kTileQueries * kMaxHeadDim];  ///< a, [queries][valueStride]
  alignas(64) float totals[kTileQueries * kMaxHeadDim];
  alignas(64) uint16_t sideKeys[kSplit * kMaxHeadDim];  ///< the side slots' keys, as pages
  // By query, in whole vectors.
  alignas(64) float most[kQueryLanes], total[kQueryLanes];            ///< M, L
  alignas(64) float splitMost[kQueryLanes], splitTotal[kQueryLanes];  ///< m, l
  alignas(64) float keep[kQueryLanes], take[kQueryLanes];             ///< x, y
  // Lanes of the split at hand, from position `first` on: positions in pages, then (from a whole page on) side slots.
  int first, paged, sideLane, sides;
  const uint16_t* key[kSplitLanes / kPageSize + 4];  ///< (prefetched a little beyond)
  const uint16_t* value[kSplitLanes];
  uint32_t sideRows[kSplit];
  int sidePosition[kSplit];
  // What tiles are made of besides: weights as kWeightForms rows of words (attention_amx.cc); weights and values of one
  // page's positions, gathered.
  alignas(64) uint32_t weights[kTileQueries][kWeightForms][kSplitLanes];
  alignas(64) uint32_t pageWeights[kTileQueries][kWeightForms][kPageSize];
  alignas(64) uint16_t pageValues[kPageSize * kMaxHeadDim];
};

/// The kernels of one instruction set.
struct AttentionKernels {
  /// Writes keys (rotated) and values of a row to its slot: heads [begin, end), keys counted before values.
  void (*write)(const AttentionJob&, int row, int begin, int end);
  void (*attend)(const AttentionJob&, const AttentionItem&, AttentionScratch&);
  /// Folds the partial results of an item's rows and heads into the output.
  void (*merge)(const AttentionJob&, const AttentionItem&, AttentionScratch&);
};
extern const AttentionKernels kAttentionPortable, kAttentionNeon, kAttentionAvx2, kAttentionAvx512, kAttentionAmx;
const AttentionKernels& attentionKernels(Isa isa);

class Attention {
 public:
  /// Reserves what passes over a pool of this shape need, so that none of them allocates (passes of more than 512 rows
  /// enlarge some of it once). `threads` must outlive this.
  Attention(const AttentionKernels& kernels, const KvShape& shape, ThreadPool& threads);

  /// Backend::attention for one layer of `pool`.
  void run(const Pass& pass, KvPool& pool, int layer, int heads, const Rope& rope, const float* qkv, float* out);
  /// Backend::writeKeys.
  void writeKeys(const Pass& pass, KvPool& pool, int layer, const Rope& rope, const float* kv);

 private:
  bool planned(const Pass& pass, int heads, const Rope& rope) const;
  void plan(const Pass& pass, int heads, int kvHeads, const Rope& rope);
  void computeRotary(const Pass& pass, const Rope& rope);
  void rotaryRow(const Rope& rope, int row, int position);
  AttentionJob job(const Pass& pass, KvPool& pool, int layer, int heads, const Rope& rope, const float* qkv,
                   float* out);
  void planTiles(const Pass& pass, int group, int kvHeads);
  void addSides(const Pass& pass, int row);
  void planItems(int heads, int kvHeads);
  void cutItems(size_t first);
  void writeRows(const AttentionJob& job);
  void attendItems(const AttentionJob& job, int thread);

  const AttentionKernels& kernels_;
  ThreadPool& threads_;
  int headDim_, valueStride_;
  std::vector<AttentionScratch> scratch_;  // one per thread
  std::vector<float> partialMost_, partialTotal_, partialSums_;
  int64_t partialCapacity_;
  std::unique_ptr<std::atomic<int>[]> finished_;
  int mergeCapacity_;
  alignas(64) std::atomic<int> next_{0};  // item to be taken next

  // The plan of the pass at hand, the same for all its layers, and what it was made from.
  std::vector<AttentionTile> tiles_;
  std::vector<AttentionSide> sides_;
  std::vector<AttentionItem> items_, cut_;
  std::vector<float> rotary_, plannedFrequency_;
  std::vector<int32_t> plannedPass_;
  int plannedHeads_ = 0;
  bool plannedInterleaved_ = false;
};

}  // namespace foretoken
