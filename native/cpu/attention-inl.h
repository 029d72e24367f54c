// The attention kernels (attention.h says what they compute), written once over sixteen lanes. Included by one file per
// instruction set, which defines the vector type first.
#pragma once
#include "cpu/attention.h"
#include "cpu/vector_math-inl.h"

namespace foretoken {
namespace {

constexpr float kMinusInfinity = -__builtin_inff();

// How many accumulators of sixteen lanes the register file holds beside the operands.
#if defined(FORETOKEN_VECTOR_AVX512)
constexpr int kAccumulators = 16;
#elif defined(FORETOKEN_VECTOR_AVX2)
constexpr int kAccumulators = 6;
#else
constexpr int kAccumulators = 1;
#endif

inline int least(int a, int b) { return a < b ? a : b; }
inline int most(int a, int b) { return a > b ? a : b; }
inline int rowLength(const Pass& pass, int row) {
  return pass.base[row] + pass.ancestorBegin[row + 1] - pass.ancestorBegin[row];
}

// --- writing q, k and v ----------------------------------------------------------------------------------------------

/// out = x rotated by a row of the rotary table. `out` may be `x`.
inline void rotate(const float* x, const float* rotary, int headDim, bool interleaved, float* out) {
  float partner[kMaxHeadDim];
  if (interleaved) {
    for (int d = 0; d < headDim; d += 2) {
      partner[d] = x[d + 1];
      partner[d + 1] = x[d];
    }
  } else {
    const size_t half = sizeof(float) * headDim / 2;
    std::memcpy(partner, x + headDim / 2, half);
    std::memcpy(partner + headDim / 2, x, half);
  }
  for (int d = 0; d < headDim; d += kLanes)
    store(out + d, fma(load(partner + d), load(rotary + headDim + d), mul(load(x + d), load(rotary + d))));
}

inline void writeKey(const float* key, int headDim, uint16_t* page, int lane) {
  float even[kMaxHeadDim / 2], odd[kMaxHeadDim / 2];
  uint16_t words[kMaxHeadDim];
  for (int i = 0; i < headDim / 2; ++i) {
    even[i] = key[2 * i];
    odd[i] = key[2 * i + 1];
  }
  for (int i = headDim / 2; i % kLanes != 0; ++i) even[i] = odd[i] = 0;
  for (int i = 0; i < headDim / 2; i += kLanes) storePairs(words + 2 * i, packPairs(load(even + i), load(odd + i)));
  for (int i = 0; i < headDim / 2; ++i) std::memcpy(page + i * 2 * kPageSize + lane * 2, words + 2 * i, 4);
}

inline void writeValue(const float* value, int headDim, uint16_t* out) {
  for (int d = 0; d < headDim; d += 32) {
    const V16 high = d + kLanes < headDim ? load(value + d + kLanes) : broadcast(0.0f);
    storePairs(out + d, packPairs(load(value + d), high));
  }
}

inline void prepare(const AttentionJob& job, int row, int begin, int end) {
  const int headDim = job.kv.headDim, slot = job.pass->slot[row];
  float* x = job.qkv + static_cast<size_t>(row) * (job.heads + 2 * job.kvHeads) * headDim;
  const float* rotary = job.rotary + static_cast<size_t>(row) * 2 * headDim;
  for (int h = begin; h < end; ++h) {
    float* head = x + static_cast<size_t>(h) * headDim;
    if (h < job.heads) {
      rotate(head, rotary, headDim, job.interleaved, head);
      for (int d = 0; d < headDim; d += kLanes) store(head + d, mul(load(head + d), broadcast(job.scale)));
    } else if (h < job.heads + job.kvHeads) {
      float key[kMaxHeadDim];
      rotate(head, rotary, headDim, job.interleaved, key);
      writeKey(key, headDim, keyPage(job.kv, h - job.heads, slot / kPageSize), slot % kPageSize);
    } else {
      writeValue(head, headDim, valueOf(job.kv, h - job.heads - job.kvHeads, slot));
    }
  }
}

// --- scores ----------------------------------------------------------------------------------------------------------

/// acc[j][part] += q[j][0] key[part] for Q queries and one page. `acc` has the parts of P pages per query.
template <int Q, int P>
inline void scoreStep(const float* const* q, int d, const Part* key, Part* acc) {
#pragma GCC unroll 6
  for (int j = 0; j < Q; ++j) {
    const Part x = broadcastPart(q[j] + d);
#pragma GCC unroll 2
    for (int i = 0; i < kParts; ++i) fmaInto(acc[j * P * kParts + i], x, key[i]);
  }
}

/// scores[j][16 p + lane] = q[j] · key `lane` of page p, for Q queries and P pages: Q P independent chains over d.
template <int Q, int P>
inline void scoreBlock(const float* const* queries, const uint16_t* const* keys, int headDim, float* scores,
                       int stride) {
  Part acc[Q * P * kParts], key[kParts];
  const float* q[Q];
#pragma GCC unroll 16
  for (int i = 0; i < Q * P * kParts; ++i) acc[i] = zeroPart();
#pragma GCC unroll 6
  for (int j = 0; j < Q; ++j) q[j] = queries[j];
  for (int d = 0; d < headDim; d += 2) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      const uint16_t* words = keys[p] + d * kPageSize;
#pragma GCC unroll 2
      for (int i = 0; i < kParts; ++i) key[i] = evenPart(words + i * 2 * kPartLanes);
      scoreStep<Q, P>(q, d, key, acc + p * kParts);
      words = afresh(words);
#pragma GCC unroll 2
      for (int i = 0; i < kParts; ++i) key[i] = oddPart(words + i * 2 * kPartLanes);
      scoreStep<Q, P>(q, d + 1, key, acc + p * kParts);
    }
  }
#pragma GCC unroll 6
  for (int j = 0; j < Q; ++j)
#pragma GCC unroll 8
    for (int i = 0; i < P * kParts; ++i) storePart(scores + j * stride + i * kPartLanes, acc[j * P * kParts + i]);
}

template <int Q>
inline void scorePages(const float* const* q, const uint16_t* const* keys, int pages, int headDim, float* scores,
                       int stride) {
  constexpr int P = kAccumulators / Q >= 4 ? 4 : kAccumulators / Q >= 2 ? 2 : 1;
  int p = 0;
  for (; p + P <= pages; p += P) scoreBlock<Q, P>(q, keys + p, headDim, scores + p * kPageSize, stride);
  for (; p < pages; ++p) scoreBlock<Q, 1>(q, keys + p, headDim, scores + p * kPageSize, stride);
}

/// Scores of any number of queries against whole pages; scores [queries][stride].
inline void score(const float* const* q, int queries, const uint16_t* const* keys, int pages, int headDim,
                  float* scores, int stride) {
  int j = 0;
  for (; j + 6 <= queries; j += 6) scorePages<6>(q + j, keys, pages, headDim, scores + j * stride, stride);
  switch (queries - j) {
    case 5: return scorePages<5>(q + j, keys, pages, headDim, scores + j * stride, stride);
    case 4: return scorePages<4>(q + j, keys, pages, headDim, scores + j * stride, stride);
    case 3: return scorePages<3>(q + j, keys, pages, headDim, scores + j * stride, stride);
    case 2: return scorePages<2>(q + j, keys, pages, headDim, scores + j * stride, stride);
    case 1: return scorePages<1>(q + j, keys, pages, headDim, scores + j * stride, stride);
  }
}

// --- weights and values
// ------------------------------------------------------------------------------------------------

/// Turns `count` scores into weights relative to their maximum; returns it and the sum of the weights.
inline void weigh(float* scores, int count, float& greatest, float& sum) {
  const int end = (count + kLanes - 1) / kLanes * kLanes;
  for (int i = count; i < end; ++i) scores[i] = kMinusInfinity;
  V16 top = load(scores);
  for (int i = kLanes; i < end; i += kLanes) top = max(load(scores + i), top);
  greatest = maxLanes(top);
  const V16 shift = broadcast(greatest);
  V16 total = broadcast(0.0f);
  for (int i = 0; i < end; i += kLanes) {
    const V16 w = exp2(sub(load(scores + i), shift));
    store(scores + i, w);
    total = add(total, w);
  }
  sum = sumLanes(total);
}

/// acc[j][part] += weights[j] value[part] for Q queries.
template <int Q>
inline void weighStep(const float* weights, const Part* value, Part* acc) {
#pragma GCC unroll 3
  for (int j = 0; j < Q; ++j) {
    const Part w = broadcastPart(weights + j * kSplit);
#pragma GCC unroll 2
    for (int i = 0; i < kParts; ++i) fmaInto(acc[j * kParts + i], w, value[i]);
  }
}

/// sums[j][d] += the chain over positions [from, to) of weights[j][position] values[position][d], 32 dimensions at a
/// time.
template <int Q>
inline void accumulateBlock(const float* weights, const uint16_t* const* values, int from, int to, int width,
                            float* sums) {
  for (int d = 0; d < width; d += 2 * kLanes) {
    Part low[Q * kParts], high[Q * kParts], value[kParts];
#pragma GCC unroll 6
    for (int i = 0; i < Q * kParts; ++i) {
      float* at = sums + i / kParts * kMaxHeadDim + d + i % kParts * kPartLanes;
      low[i] = loadPart(at);
      high[i] = loadPart(at + kLanes);
    }
    for (int p = from; p < to; ++p) {
      const uint16_t* words = values[p] + d;
      const float* w = weights + p;
#pragma GCC unroll 2
      for (int i = 0; i < kParts; ++i) value[i] = evenPart(words + i * 2 * kPartLanes);
      weighStep<Q>(w, value, low);
      words = afresh(words);
      w = afresh(w);
#pragma GCC unroll 2
      for (int i = 0; i < kParts; ++i) value[i] = oddPart(words + i * 2 * kPartLanes);
      weighStep<Q>(w, value, high);
    }
#pragma GCC unroll 6
    for (int i = 0; i < Q * kParts; ++i) {
      float* at = sums + i / kParts * kMaxHeadDim + d + i % kParts * kPartLanes;
      storePart(at, low[i]);
      storePart(at + kLanes, high[i]);
    }
  }
}

inline void accumulate(const float* weights, int queries, const uint16_t* const* values, int from, int to, int width,
                       float* sums) {
  if (from >= to) return;
  int j = 0;
  for (; j + 3 <= queries; j += 3)
    accumulateBlock<3>(weights + j * kSplit, values, from, to, width, sums + j * kMaxHeadDim);
  if (queries - j == 2) accumulateBlock<2>(weights + j * kSplit, values, from, to, width, sums + j * kMaxHeadDim);
  if (queries - j == 1) accumulateBlock<1>(weights + j * kSplit, values, from, to, width, sums + j * kMaxHeadDim);
}

/// Folds a split (m, l, a) into (M, L, O).
inline void fold(float m, float l, const float* a, int width, float& most, float& total, float* totals) {
  const float top = most > m ? most : m;
  const float x = exp2(most - top), y = exp2(m - top);
  most = top;
  total = __builtin_fmaf(l, y, total * x);
  const V16 vx = broadcast(x), vy = broadcast(y);
  for (int d = 0; d < width; d += kLanes) store(totals + d, fma(load(a + d), vy, mul(load(totals + d), vx)));
}

inline void finish(float total, const float* totals, int headDim, float* out) {
  const V16 inverse = broadcast(total > 0 ? 1.0f / total : 0.0f);
  for (int d = 0; d < headDim; d += kLanes) store(out + d, mul(load(totals + d), inverse));
}

// --- a work item
// -------------------------------------------------------------------------------------------------------

/// Queries of an item are numbered row by row, head by head.
struct ItemView {
  const AttentionJob& job;
  const AttentionItem& item;
  const AttentionTile& tile;
  AttentionScratch& s;
  int heads, queries;

  ItemView(const AttentionJob& j, const AttentionItem& i, AttentionScratch& scratch)
      : job(j),
        item(i),
        tile(j.tiles[i.tile]),
        s(scratch),
        heads(i.headEnd - i.headBegin),
        queries((tile.rowEnd - tile.rowBegin) * heads) {}
  int query(int row, int head) const { return (row - tile.rowBegin) * heads + head; }
  int headIndex(int head) const { return item.kvHead * job.group + item.headBegin + head; }
  float* output(int row, int head) const {
    return job.out + (static_cast<size_t>(row) * job.heads + headIndex(head)) * job.kv.headDim;
  }
  /// Entry of the partial results of a row, head and split.
  int64_t partial(int row, int head, int split) const {
    const int splits = (tile.longest + kSplit - 1) / kSplit;
    return tile.partials + (static_cast<int64_t>(row - tile.rowBegin) * job.heads + headIndex(head)) * splits + split;
  }
};

inline void findQueries(const ItemView& v) {
  const size_t stride = static_cast<size_t>(v.job.heads + 2 * v.job.kvHeads) * v.job.kv.headDim;
  for (int row = v.tile.rowBegin; row < v.tile.rowEnd; ++row)
    for (int h = 0; h < v.heads; ++h)
      v.s.query[v.query(row, h)] = v.job.qkv + row * stride + static_cast<size_t>(v.headIndex(h)) * v.job.kv.headDim;
}

/// Scores of a row's positions that lie in slots (tree nodes): whole pages are scored and the slots' lanes picked.
inline void scoreSlots(const ItemView& v, int row, int lo, int hi) {
  const Pass& pass = *v.job.pass;
  const int32_t* slots = pass.ancestors + pass.ancestorBegin[row];
  const int base = pass.base[row], first = v.query(row, 0);
  int scored = -1;
  for (int p = most(lo, base); p < least(hi, rowLength(pass, row)); ++p) {
    const int page = slots[p - base] / kPageSize, lane = slots[p - base] % kPageSize;
    if (page != scored) {
      const uint16_t* keys = keyPage(v.job.kv, v.item.kvHead, page);
      score(v.s.query + first, v.heads, &keys, 1, v.job.kv.headDim, v.s.page[0], kPageSize);
      scored = page;
    }
    for (int h = 0; h < v.heads; ++h) v.s.scores[first + h][p - lo] = v.s.page[h][lane];
  }
}

inline void scoreSplit(const ItemView& v, int lo, int hi) {
  const int32_t* pages = v.job.pass->pages[v.job.pass->sequence[v.tile.rowBegin]];
  const int end = least(hi, v.tile.paged);
  int count = 0;
  for (int p = lo; p < end; p += kPageSize) v.s.key[count++] = keyPage(v.job.kv, v.item.kvHead, pages[p / kPageSize]);
  score(v.s.query, v.queries, v.s.key, count, v.job.kv.headDim, v.s.scores[0], kSplit);
  for (int row = v.tile.rowBegin; row < v.tile.rowEnd; ++row) scoreSlots(v, row, lo, hi);
}

/// Values of the positions that all rows share first, then each row's own.
inline void sumSplit(const ItemView& v, int lo, int hi) {
  const Pass& pass = *v.job.pass;
  const int32_t* pages = pass.pages[pass.sequence[v.tile.rowBegin]];
  const int width = v.job.kv.valueStride, shared = most(lo, least(hi, v.tile.shared)), paged = least(hi, v.tile.paged);
  for (int p = lo; p < paged; p += kPageSize) {
    const uint16_t* first = valueOf(v.job.kv, v.item.kvHead, pages[p / kPageSize] * kPageSize);
    for (int i = 0; i < kPageSize; ++i) v.s.value[p - lo + i] = first + i * width;
  }
  accumulate(v.s.scores[0], v.queries, v.s.value, 0, shared - lo, width, v.s.sums[0]);
  for (int row = v.tile.rowBegin; row < v.tile.rowEnd; ++row) {
    const uint16_t* own[kSplit];
    const int base = pass.base[row], end = least(hi, rowLength(pass, row));
    for (int p = shared; p < end; ++p)
      own[p - lo] = p < base ? v.s.value[p - lo]
                             : valueOf(v.job.kv, v.item.kvHead, pass.ancestors[pass.ancestorBegin[row] + p - base]);
    const int first = v.query(row, 0);
    accumulate(v.s.scores[first], v.heads, own, shared - lo, end - lo, width, v.s.sums[first]);
  }
}

/// One split of all queries of an item; its results go to the partials or into the item's running totals.
inline void attendSplit(const ItemView& v, int split) {
  const int lo = split * kSplit, hi = lo + kSplit, width = v.job.kv.valueStride;
  scoreSplit(v, lo, hi);
  for (int row = v.tile.rowBegin; row < v.tile.rowEnd; ++row) {
    const int count = least(hi, rowLength(*v.job.pass, row)) - lo;
    for (int h = 0; h < v.heads && count > 0; ++h) {
      const int j = v.query(row, h);
      weigh(v.s.scores[j], count, v.s.splitMost[j], v.s.splitTotal[j]);
      std::memset(v.s.sums[j], 0, sizeof(float) * width);
    }
  }
  sumSplit(v, lo, hi);
  for (int row = v.tile.rowBegin; row < v.tile.rowEnd; ++row) {
    if (rowLength(*v.job.pass, row) <= lo) continue;
    for (int h = 0; h < v.heads; ++h) {
      const int j = v.query(row, h);
      if (v.tile.partials >= 0) {
        const int64_t entry = v.partial(row, h, split);
        v.job.partialStats[2 * entry] = v.s.splitMost[j];
        v.job.partialStats[2 * entry + 1] = v.s.splitTotal[j];
        std::memcpy(v.job.partialSums + entry * width, v.s.sums[j], sizeof(float) * width);
      } else {
        fold(v.s.splitMost[j], v.s.splitTotal[j], v.s.sums[j], width, v.s.most[j], v.s.total[j], v.s.totals[j]);
      }
    }
  }
}

inline void attend(const AttentionJob& job, const AttentionItem& item, AttentionScratch& scratch) {
  const ItemView v(job, item, scratch);
  findQueries(v);
  for (int j = 0; j < v.queries; ++j) {
    v.s.most[j] = kMinusInfinity;
    v.s.total[j] = 0;
    std::memset(v.s.totals[j], 0, sizeof(float) * job.kv.valueStride);
  }
  for (int split = item.splitBegin; split < item.splitEnd; ++split) attendSplit(v, split);
  if (v.tile.partials >= 0) return;
  for (int row = v.tile.rowBegin; row < v.tile.rowEnd; ++row)
    for (int h = 0; h < v.heads; ++h)
      finish(v.s.total[v.query(row, h)], v.s.totals[v.query(row, h)], job.kv.headDim, v.output(row, h));
}

inline void merge(const AttentionJob& job, const AttentionItem& item, AttentionScratch& scratch) {
  const ItemView v(job, item, scratch);
  const int width = job.kv.valueStride;
  for (int row = v.tile.rowBegin; row < v.tile.rowEnd; ++row) {
    const int splits = (rowLength(*job.pass, row) + kSplit - 1) / kSplit;
    for (int h = 0; h < v.heads; ++h) {
      float most = kMinusInfinity, total = 0;
      float* totals = v.s.totals[0];
      std::memset(totals, 0, sizeof(float) * width);
      for (int split = 0; split < splits; ++split) {
        const int64_t entry = v.partial(row, h, split);
        fold(job.partialStats[2 * entry], job.partialStats[2 * entry + 1], job.partialSums + entry * width, width, most,
             total, totals);
      }
      finish(total, totals, job.kv.headDim, v.output(row, h));
    }
  }
}

}  // namespace
}  // namespace foretoken
