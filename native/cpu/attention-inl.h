// The attention kernels (attention.h says what they compute), written once over sixteen lanes. Included by one file per
// instruction set, which defines the vector type first.
#pragma once
#include "cpu/attention.h"
#include "cpu/vector_math-inl.h"

namespace foretoken {
namespace {

constexpr float kMinusInfinity = -__builtin_inff();

// How many accumulators of sixteen lanes the register file holds beside the operands, of scores and of sums, and how
// many queries at most share what is loaded of a key or a value.
#if defined(FORETOKEN_VECTOR_AVX512)
constexpr int kScores = 16, kSums = 24, kQueries = 12;
#elif defined(FORETOKEN_VECTOR_AVX2) || defined(FORETOKEN_VECTOR_NEON)
constexpr int kScores = 6, kSums = 6, kQueries = 6;
#else
constexpr int kScores = 1, kSums = 1, kQueries = 6;
#endif

/// How many pages or vectors of dimensions so many queries take on together.
constexpr int atOnce(int queries, int accumulators) {
  return accumulators / queries >= 4 ? 4 : accumulators / queries >= 2 ? 2 : 1;
}

inline int least(int a, int b) { return a < b ? a : b; }
inline int most(int a, int b) { return a > b ? a : b; }

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

/// Within the finite range of bf16 (NaN: at its lower end), so that a weight of 0 takes any value out of a sum.
inline V16 finite(V16 x) {
  const V16 zero = broadcast(0.0f), least = broadcast(-3.38953139e38f);
  return sub(zero, max(sub(zero, max(x, least)), least));
}

inline void writeValue(const float* value, int headDim, uint16_t* out) {
  for (int d = 0; d < headDim; d += 32) {
    const V16 high = d + kLanes < headDim ? load(value + d + kLanes) : broadcast(0.0f);
    storePairs(out + d, packPairs(finite(load(value + d)), finite(high)));
  }
}

/// The row's line of the rotary table.
inline const float* rotaryOf(const AttentionJob& job, int row) {
  return job.rotary + static_cast<size_t>(row) * 2 * job.kv.headDim;
}
/// Its query heads, then its keys, then its values.
inline const float* headsOf(const AttentionJob& job, int row) {
  return job.qkv + static_cast<size_t>(row) * (job.heads + 2 * job.kvHeads) * job.kv.headDim;
}

inline void writeRow(const AttentionJob& job, int row, int begin, int end) {
  const int headDim = job.kv.headDim, slot = job.pass->slot[row];
  for (int h = begin; h < end; ++h) {
    const float* head = headsOf(job, row) + static_cast<size_t>(job.heads + h) * headDim;
    if (h < job.kvHeads) {
      float key[kMaxHeadDim];
      rotate(head, rotaryOf(job, row), headDim, job.interleaved, key);
      writeKey(key, headDim, keyPage(job.kv, h, slot / kPageSize), slot % kPageSize);
    } else {
      writeValue(head, headDim, valueOf(job.kv, h - job.kvHeads, slot));
    }
  }
}

// --- scores ----------------------------------------------------------------------------------------------------------

/// acc[j][part] += q[j][0] key[part] for Q queries and one page. `acc` has the parts of P pages per query.
template <int Q, int P>
inline void scoreStep(const float* q, const Part* key, Part* acc) {
#pragma GCC unroll 12
  for (int j = 0; j < Q; ++j) {
    const Part x = broadcastPart(q + j * kQueryStride);
#pragma GCC unroll 4
    for (int i = 0; i < kParts; ++i) fmaInto(acc[j * P * kParts + i], x, key[i]);
  }
}

/// scores[j][16 p + lane] = q[j] · key `lane` of page p, for Q queries and P pages: Q P independent chains over d. The
/// values behind these keys and the next keys are wanted next. (Inlined into one another, the hot loops spill.)
template <int Q, int P>
[[gnu::noinline]] void scoreBlock(const float* q, const uint16_t* const* keys, int headDim, float* scores) {
  Part acc[Q * P * kParts], key[kParts];
#pragma GCC unroll 48
  for (int i = 0; i < Q * P * kParts; ++i) acc[i] = zeroPart();
  for (int d = 0; d < headDim; d += 2) {
#pragma GCC unroll 4
    for (int p = 0; p < P; ++p) {
      const uint16_t* words = keys[p] + d * kPageSize;
      prefetch(keys[p + P] + d * kPageSize);
      prefetch(words + headDim * kPageSize);
#pragma GCC unroll 4
      for (int i = 0; i < kParts; ++i) key[i] = evenPart(words + i * 2 * kPartLanes);
      scoreStep<Q, P>(q + d, key, acc + p * kParts);
      words = afresh(words);
#pragma GCC unroll 4
      for (int i = 0; i < kParts; ++i) key[i] = oddPart(words + i * 2 * kPartLanes);
      scoreStep<Q, P>(q + d + 1, key, acc + p * kParts);
    }
  }
#pragma GCC unroll 12
  for (int j = 0; j < Q; ++j)
#pragma GCC unroll 16
    for (int i = 0; i < P * kParts; ++i) storePart(scores + j * kSplitLanes + i * kPartLanes, acc[j * P * kParts + i]);
}

/// Scores of any number of queries [][kQueryStride] against whole pages; scores [queries][kSplitLanes].
template <int Q = kQueries>
inline void score(const float* q, int queries, const uint16_t* const* keys, int pages, int headDim, float* scores) {
  constexpr int P = atOnce(Q, kScores);
  for (; queries >= Q; queries -= Q, q += Q * kQueryStride, scores += Q * kSplitLanes) {
    int p = 0;
    for (; p + P <= pages; p += P) scoreBlock<Q, P>(q, keys + p, headDim, scores + p * kPageSize);
    for (; p < pages; ++p) scoreBlock<Q, 1>(q, keys + p, headDim, scores + p * kPageSize);
  }
  if constexpr (Q > 1) score<Q - 1>(q, queries, keys, pages, headDim, scores);
}

// --- weights and values ----------------------------------------------------------------------------------------------

/// The sum of weights rounded to multiples of 2^-22, exact, hence in any order.
class WeightSum {
 public:
  void add(V16 weights) {
    // The sum lies where the spacing of floats is 1, so that its low bits are the rounded integer.
    words_ = addWords(words_, fma(weights, broadcast(4194304.0f), broadcast(kOne)));
    ++count_;
  }
  float value() const {
    uint32_t words[kLanes], one, sum = 0;
    store(reinterpret_cast<float*>(words), words_);
    for (int i = 0; i < kLanes; ++i) sum += words[i];
    std::memcpy(&one, &kOne, sizeof one);
    return static_cast<float>(static_cast<int32_t>(sum - count_ * kLanes * one)) * (1.0f / 4194304.0f);
  }

 private:
  static constexpr float kOne = 12582912.0f;  // 1.5 * 2^23
  V16 words_ = broadcast(0.0f);
  uint32_t count_ = 0;
};

inline float greatest(const float* scores, int lanes) {
  V16 top = load(scores);
  for (int i = kLanes; i < lanes; i += kLanes) top = max(load(scores + i), top);
  return maxLanes(top);
}

/// Turns scores (-inf: not seen) into weights relative to their maximum; returns the sum of the weights.
[[gnu::noinline]] float weigh(float* scores, int lanes, float greatest) {
  const V16 shift = broadcast(greatest);
  WeightSum total;
  for (int i = 0; i < lanes; i += kLanes) {
    const V16 w = exp2(sub(load(scores + i), shift));
    store(scores + i, w);
    total.add(w);
  }
  return total.value();
}

/// sums[j][16 h + i] = the chain over lanes [from, to) of weights[j][lane] values[lane][16 h + i], starting at 0 if
/// `from` is 0 and at what was there if not, for Q queries and H vectors of dimensions: of the words from `at` on first
/// the even values, then the odd ones, or with `odd` these alone.
template <int Q, int H, bool odd>
[[gnu::noinline]] void accumulateBlock(const float* weights, const uint16_t* const* values, int at, int from, int to,
                                       int width, float* sums) {
  Part acc[Q * H * kParts];
  const auto sum = [&](int i) {
    return sums + i / (H * kParts) * width + i / kParts % H * kLanes + i % kParts * kPartLanes;
  };
#pragma GCC unroll 48
  for (int i = 0; i < Q * H * kParts; ++i) acc[i] = from == 0 ? zeroPart() : loadPart(sum(i));
  for (int lane = from; lane < to; ++lane) {
    Part value[H * kParts];
#pragma GCC unroll 16
    for (int i = 0; i < H * kParts; ++i) {
      const uint16_t* words = values[lane] + at + i / kParts / 2 * 2 * kLanes + i % kParts * 2 * kPartLanes;
      value[i] = odd || i / kParts % 2 ? oddPart(words) : evenPart(words);
    }
#pragma GCC unroll 12
    for (int j = 0; j < Q; ++j) {
      const Part w = broadcastPart(weights + j * kSplitLanes + lane);
#pragma GCC unroll 16
      for (int i = 0; i < H * kParts; ++i) fmaInto(acc[j * H * kParts + i], w, value[i]);
    }
  }
#pragma GCC unroll 48
  for (int i = 0; i < Q * H * kParts; ++i) storePart(sum(i), acc[i]);
}

/// Sums of any number of queries; weights [queries][kSplitLanes], sums [queries][width].
template <int Q = kQueries>
inline void accumulate(const float* weights, int queries, const uint16_t* const* values, int from, int to, int width,
                       float* sums) {
  constexpr int H = atOnce(Q, kSums);
  for (; queries >= Q; queries -= Q, weights += Q * kSplitLanes, sums += Q * width) {
    int d = 0;
    if constexpr (H == 4)
      for (; d + H * kLanes <= width; d += H * kLanes)
        accumulateBlock<Q, H, false>(weights, values, d, from, to, width, sums + d);
    for (; d < width; d += 2 * kLanes) {
      accumulateBlock<Q, H == 1 ? 1 : 2, false>(weights, values, d, from, to, width, sums + d);
      if constexpr (H == 1) accumulateBlock<Q, 1, true>(weights, values, d, from, to, width, sums + d + kLanes);
    }
  }
  if constexpr (Q > 1) accumulate<Q - 1>(weights, queries, values, from, to, width, sums);
}

// --- a work item -----------------------------------------------------------------------------------------------------

/// Queries of an item are numbered row by row, head by head.
struct ItemView {
  const AttentionJob& job;
  const AttentionItem& item;
  const AttentionTile& tile;
  AttentionScratch& s;
  int rows, heads, queries;

  ItemView(const AttentionJob& j, const AttentionItem& i, AttentionScratch& scratch)
      : job(j),
        item(i),
        tile(j.tiles[i.tile]),
        s(scratch),
        rows(tile.rowEnd - tile.rowBegin),
        heads(i.headEnd - i.headBegin),
        queries(rows * heads) {}
  int splits() const { return (tile.longest + kSplit - 1) / kSplit; }
  int firstHead() const { return item.kvHead * job.group + item.headBegin; }
  int base(int row) const { return job.pass->base[tile.rowBegin + row]; }
};

/// m, l and a of one split, for every query.
struct SplitResult {
  float *most, *total, *sums;
};

inline SplitResult resultOf(const ItemView& v, int split) {
  if (v.item.partials < 0) return {v.s.splitMost, v.s.splitTotal, v.s.sums};
  const int64_t entry = v.item.partials + static_cast<int64_t>(split) * v.queries;
  return {v.job.partialMost + entry, v.job.partialTotal + entry, v.job.partialSums + entry * v.job.kv.valueStride};
}

/// Rotates and scales the item's queries; Products::take then brings one into the form that it multiplies.
template <class Products>
inline void findQueries(const ItemView& v) {
  const int headDim = v.job.kv.headDim;
  for (int row = 0, j = 0; row < v.rows; ++row) {
    const float* rotary = rotaryOf(v.job, v.tile.rowBegin + row);
    const float* head = headsOf(v.job, v.tile.rowBegin + row) + static_cast<size_t>(v.firstHead()) * headDim;
    for (int h = 0; h < v.heads; ++h, ++j, head += headDim) {
      float* q = v.s.queries[j];
      rotate(head, rotary, headDim, v.job.interleaved, q);
      for (int d = 0; d < headDim; d += kLanes) store(q + d, mul(load(q + d), broadcast(v.job.scale)));
      Products::take(q, headDim);
    }
  }
}

/// Finds the tile's side slots in [lo, hi) and gathers their keys into pages.
inline void findSides(const ItemView& v, int lo, int hi) {
  AttentionScratch& s = v.s;
  const int headDim = v.job.kv.headDim;
  s.sides = 0;
  for (int i = v.tile.sideBegin; i < v.tile.sideEnd; ++i) {
    const AttentionSide& side = v.job.sides[i];
    if (side.position < lo || side.position >= hi) continue;
    const uint16_t* from = keyPage(v.job.kv, v.item.kvHead, side.slot / kPageSize) + side.slot % kPageSize * 2;
    uint16_t* to = s.sideKeys + s.sides / kPageSize * kPageSize * headDim + s.sides % kPageSize * 2;
    for (int d = 0; d < headDim * kPageSize; d += 2 * kPageSize) std::memcpy(to + d, from + d, 4);
    s.value[s.sideLane + s.sides] = valueOf(v.job.kv, v.item.kvHead, side.slot);
    s.sidePosition[s.sides] = side.position;
    s.sideRows[s.sides++] = side.rows;
  }
  for (int i = 0; i < s.sides; i += kPageSize) s.key[(s.sideLane + i) / kPageSize] = s.sideKeys + i * headDim;
}

/// Finds keys and values of all positions in [lo, hi) that a row of the tile may see.
inline void findLanes(const ItemView& v, int lo, int hi) {
  AttentionScratch& s = v.s;
  const int32_t* pages = v.job.pass->pages[v.job.pass->sequence[v.tile.rowBegin]] + lo / kPageSize;
  s.first = lo;
  s.paged = most(0, least(hi, v.tile.paged) - lo);
  s.sideLane = (s.paged + kPageSize - 1) / kPageSize * kPageSize;
  for (int p = 0; p < s.paged; p += kPageSize) {
    const int page = pages[p / kPageSize];
    const uint16_t* values = valueOf(v.job.kv, v.item.kvHead, page * kPageSize);
    s.key[p / kPageSize] = keyPage(v.job.kv, v.item.kvHead, page);
    for (int i = 0; i < kPageSize; ++i) s.value[p + i] = values + i * v.job.kv.valueStride;
  }
  findSides(v, lo, hi);
}

/// Takes the lanes that a row does not see out of one query's scores.
inline void mask(const ItemView& v, int row, int lanes, float* scores) {
  const AttentionScratch& s = v.s;
  for (int i = most(0, v.base(row) - s.first); i < s.sideLane; ++i) scores[i] = kMinusInfinity;
  for (int i = s.sideLane; i < lanes; ++i)
    if (i >= s.sideLane + s.sides || !(s.sideRows[i - s.sideLane] >> row & 1)) scores[i] = kMinusInfinity;
}

/// Products of queries and keys, of weights and values, as chains over lanes.
struct ByLanes {
  const ItemView& v;

  explicit ByLanes(const ItemView& item) : v(item) {}
  static void take(float*, int) {}
  void score(int pages) const {
    foretoken::score(v.s.queries[0], v.queries, v.s.key, pages, v.job.kv.headDim, v.s.scores[0]);
  }
  float weigh(int query, int lanes, float greatest) const {
    return foretoken::weigh(v.s.scores[query], lanes, greatest);
  }
  void accumulate(float* sums) const {
    const AttentionScratch& s = v.s;
    const int width = v.job.kv.valueStride;
    foretoken::accumulate(s.scores[0], v.queries, s.value, 0, s.paged, width, sums);
    foretoken::accumulate(s.scores[0], v.queries, s.value, s.sideLane, s.sideLane + s.sides, width, sums);
  }
};

/// One split of all queries of an item, multiplied in this way.
template <class Products>
inline void attendSplit(const ItemView& v, int split, const Products& products) {
  AttentionScratch& s = v.s;
  const SplitResult result = resultOf(v, split);
  findLanes(v, split * kSplit, (split + 1) * kSplit);
  const int lanes = (s.sideLane + s.sides + kPageSize - 1) / kPageSize * kPageSize;
  products.score(lanes / kPageSize);
  // All maxima first: an exponential then never waits for one.
  for (int row = 0; row < v.rows; ++row) {
    for (int j = row * v.heads; j < (row + 1) * v.heads; ++j) {
      mask(v, row, lanes, s.scores[j]);
      result.most[j] = greatest(s.scores[j], lanes);
    }
  }
  for (int j = 0; j < v.queries; ++j) result.total[j] = products.weigh(j, lanes, result.most[j]);
  products.accumulate(result.sums);
}

inline void startTotals(const ItemView& v) {
  for (int j = 0; j < kQueryLanes; ++j) {
    v.s.most[j] = kMinusInfinity;
    v.s.total[j] = 0;
  }
  std::memset(v.s.totals, 0, sizeof(float) * v.queries * v.job.kv.valueStride);
}

/// Folds the split's (m, l, a) into (M, L, O). Lanes behind the item's queries are of others, who may be writing them:
/// nobody reads what comes of those.
inline void foldSplit(const ItemView& v, int split) {
  AttentionScratch& s = v.s;
  const int width = v.job.kv.valueStride;
  const SplitResult from = resultOf(v, split);
  for (int j = 0; j < v.queries; j += kLanes) {
    const V16 most = load(s.most + j), m = load(from.most + j), top = max(most, m);
    const V16 x = exp2(sub(most, top)), y = exp2(sub(m, top));
    store(s.most + j, top);
    store(s.total + j, fma(load(from.total + j), y, mul(load(s.total + j), x)));
    store(s.keep + j, x);
    store(s.take + j, y);
  }
  for (int j = 0; j < v.queries; ++j) {
    const V16 x = broadcast(s.keep[j]), y = broadcast(s.take[j]);
    float* totals = s.totals + j * width;
    for (int d = 0; d < width; d += kLanes)
      store(totals + d, fma(load(from.sums + j * width + d), y, mul(load(totals + d), x)));
  }
}

inline void finish(const ItemView& v) {
  const size_t headDim = v.job.kv.headDim, stride = v.job.heads * headDim;
  float* first = v.job.out + v.tile.rowBegin * stride + v.firstHead() * headDim;
  for (int row = 0; row < v.rows; ++row) {
    for (int h = 0; h < v.heads; ++h) {
      const int j = row * v.heads + h;
      const float* totals = v.s.totals + j * v.job.kv.valueStride;
      float* out = first + row * stride + h * headDim;
      const V16 inverse = broadcast(v.s.total[j] > 0 ? 1.0f / v.s.total[j] : 0.0f);
      // Adding zero makes -0 and 0 one.
      for (size_t d = 0; d < headDim; d += kLanes) store(out + d, fma(load(totals + d), inverse, broadcast(0.0f)));
    }
  }
}

template <class Products>
inline void attendBy(const AttentionJob& job, const AttentionItem& item, AttentionScratch& scratch) {
  const ItemView v(job, item, scratch);
  const bool whole = v.item.partials < 0;
  const Products products(v);  // asks for keys, which come while queries are made
  findQueries<Products>(v);
  if (whole) startTotals(v);
  for (int split = item.splitBegin; split < item.splitEnd; ++split) {
    attendSplit(v, split, products);
    if (whole) foldSplit(v, split);
  }
  if (whole) finish(v);
}

inline void attend(const AttentionJob& job, const AttentionItem& item, AttentionScratch& scratch) {
  attendBy<ByLanes>(job, item, scratch);
}

inline void merge(const AttentionJob& job, const AttentionItem& item, AttentionScratch& scratch) {
  const ItemView v(job, item, scratch);
  startTotals(v);
  for (int split = 0; split < v.splits(); ++split) foldSplit(v, split);
  finish(v);
}

}  // namespace
}  // namespace foretoken
