// Attention over paged keys and values on tensor cores: one kernel for decoding, draft trees and prefill.
//
// Definition, per row and query head; positions are cut at multiples of 64 into strips and of 256 into splits:
//   1. score(p) = q . k(p), summed by matrix instructions over 16 dimensions after the other.
//   2. Per strip: m = the greatest score, w(p) = bf16(2^(score(p) - m)), l = sum of w, a[d] = sum of w(p) v(p)[d] by
//      matrix instructions over 16 positions after the other: those of position 16 i .. 16 i + 15, absent ones with
//      weight 0.
//   3. Strips are folded in order into their split's (M, L, O), starting at (-inf, 0, 0): M' = max(M, m),
//      x = 2^(M - M'), y = 2^(m - M'), L = l y + L x, O = a y + O x; splits are folded in order in the same way; the
//      output is O / L.
// Whatever a position's slot, it has its place in the same instruction: so a row's bits don't depend on where its
// context lies, on the other rows of its tile, or on how many blocks of threads share its splits. Where rows of a tile
// see different slots at one position (nodes of a draft tree), each row's keys and values are gathered from its own
// path into their logical places, and the instruction runs once for every row.
#pragma once
#include "cuda/attention/append.cuh"
#include "cuda/attention/kv_pages.cuh"
#include "cuda/step/pass_view.cuh"

namespace foretoken::cuda {

constexpr int kStripPages = 4, kStrip = kStripPages * kPageSize;  ///< positions of one warp's softmax
constexpr int kSplitStrips = 4, kSplit = kSplitStrips * kStrip;   ///< positions of one block's turn

struct AttendArgs {
  const int32_t* pass;
  const uint16_t* queries;  ///< [rows][heads][headDim] bf16
  KvPages kv;
  int heads, group;  ///< group = query heads of one KV head
  /// Blocks share the splits of a tile: each leaves its result for `foldSplits`. Null: one block takes them all.
  float* partials;  ///< [rows][heads][splits][headDim + 2]: O, M, L
  int splits;       ///< greatest number of splits there is room for
  float* out;       ///< [rows][heads][headDim]
  bool operator==(const AttendArgs&) const = default;
};

/// Rows see what stands in their sequence's pages, up to their own position: decoding and prefill.
struct PagedMask {
  static constexpr bool kTree = false;
};
/// Rows see their sequence's pages up to `base`, then their ancestors in a draft tree, which are bits of a mask.
struct TreeMask {
  static constexpr bool kTree = true;
};

__device__ constexpr float kNothing = -INFINITY;

/// 2^(score - most), with nothing seen at all for a score of -inf.
__device__ inline float weightOf(float score, float most) { return score == kNothing ? 0.0f : exp2f(score - most); }

/// Index of set bit `k` of `word`, counted from the lowest.
__device__ inline int setBit(uint32_t word, int k) {
  for (; k > 0; --k) word &= word - 1;
  return __ffs(static_cast<int>(word)) - 1;
}

/// The tile that a block works on, and how its sixteen queries map to rows.
struct TileView {
  const AttendArgs& a;
  const PassView pass;
  const AttentionTile& tile;
  const int32_t* pages;

  __device__ TileView(const AttendArgs& args, int index)
      : a(args), pass(args.pass), tile(pass.tile(index)), pages(pass.at(pass.header().pages) + tile.pages) {}
  __device__ int queries() const {
    const int left = (tile.rowEnd - tile.rowBegin) * a.group - tile.queryBegin;
    return left < kTileQueries ? left : kTileQueries;
  }
  /// Row of query `i` of the tile; -1 where there is none.
  __device__ int rowOf(int i) const { return i < queries() ? tile.rowBegin + (tile.queryBegin + i) / a.group : -1; }
  __device__ int headOf(int i, int kvHead) const { return kvHead * a.group + (tile.queryBegin + i) % a.group; }
  __device__ int base(int row) const { return pass.at(pass.header().base)[row]; }
  __device__ int length(int row) const { return pass.at(pass.header().length)[row]; }

  /// The slot that `row` sees at position `p`, -1 for none.
  __device__ int slotAt(int row, int p) const {
    if (p >= length(row)) return -1;
    int ancestor = p - base(row);
    if (ancestor < 0) return pages[p / kPageSize] * kPageSize + p % kPageSize;
    const int words = pass.header().maskWords;
    const uint32_t* const mask = reinterpret_cast<const uint32_t*>(pass.at(pass.header().mask)) + row * words;
    for (int w = 0; w < words; ++w) {
      const int count = __popc(mask[w]);
      if (ancestor < count)
        return pass.at(pass.header().treeSlots)[tile.treeSlots + 32 * w + setBit(mask[w], ancestor)];
      ancestor -= count;
    }
    return -1;
  }
};

/// Where a warp finds sixteen positions: in one page that all rows of the tile share, or in any slots of one row's
/// path.
template <class Codec>
struct Positions {
  using Element = typename Codec::Element;
  using Share = typename Codec::Share;
  const KvPages& kv;
  int kvHead, lane;
  int page;  ///< the shared page
  int slot;  ///< gathered: of position `lane` % 16

  /// The lane's registers of keys: block `c` of dimensions.
  __device__ void keys(int c, uint32_t (&out)[4]) const {
    Codec::expand(reinterpret_cast<const Share*>(kv.keys<Codec>(page, kvHead))[c * 32 + lane], out);
  }
  __device__ void values(int c, uint32_t (&out)[4]) const {
    Codec::expand(reinterpret_cast<const Share*>(kv.values<Codec>(page, kvHead))[c * 32 + lane], out);
  }
  /// Keys are columns: this lane holds dimensions of positions lane / 4 and 8 + lane / 4.
  __device__ void gatheredKeys(int c, uint32_t (&out)[4]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int from = __shfl_sync(kAllLanes, slot, half * 8 + lane / 4);
      const Element* const block = kv.keys<Codec>(from / kPageSize, kvHead) + c * kBlockDims * kPageSize;
#pragma unroll
      for (int part = 0; part < 2; ++part) {
        const Element* const e = block + elementIndex(from % kPageSize, part * 8 + lane % 4 * 2);
        out[half * 2 + part] = Codec::pair(e[0], e[1]);
      }
    }
  }
  /// Values are summed over positions: this lane holds those of 2 t, 2 t + 1, 8 + 2 t and 9 + 2 t, where t = lane % 4.
  __device__ void gatheredValues(int c, uint32_t (&out)[4]) const {
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      const int k = part * 8 + lane % 4 * 2;
      const int low = __shfl_sync(kAllLanes, slot, k), high = __shfl_sync(kAllLanes, slot, k + 1);
      const Element* const lowBlock = kv.values<Codec>(low / kPageSize, kvHead) + c * kBlockDims * kPageSize;
      const Element* const highBlock = kv.values<Codec>(high / kPageSize, kvHead) + c * kBlockDims * kPageSize;
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int n = half * 8 + lane / 4;
        out[half * 2 + part] =
            Codec::pair(lowBlock[elementIndex(n, low % kPageSize)], highBlock[elementIndex(n, high % kPageSize)]);
      }
    }
  }
  /// The power of two of position `p`'s key or value. All lanes call it together.
  template <bool gathered>
  __device__ float scale(int p, bool ofKey) const {
    if constexpr (!Codec::kScaled) {
      return 1.0f;
    } else {
      const int from = gathered ? __shfl_sync(kAllLanes, slot, p) : page * kPageSize + p;
      const int8_t* const all = kv.exponents<Codec>(from / kPageSize, kvHead);
      return powerOfTwo(all[(ofKey ? 0 : kPageSize) + from % kPageSize]);
    }
  }
};

/// A warp's work: sixteen queries over the positions of one strip. A lane holds, of the queries lane / 4 and
/// 8 + lane / 4 ("low" and "high"), positions and dimensions 8 j + 2 (lane % 4) and the next one.
template <class Codec, class Mask, int kBlocks>
class StripOfTile {
 public:
  __device__ StripOfTile(const TileView& view, const uint4* queries, int kvHead, int strip)
      : view_(view),
        queries_(queries),
        kvHead_(kvHead),
        begin_(strip * kStrip),
        lane_(static_cast<int>(threadIdx.x % 32)),
        blocks_(view.a.kv.headDim / kBlockDims),
        rows_{view.rowOf(lane_ / 4), view.rowOf(8 + lane_ / 4)} {}

  __device__ void run() {
    score();
    weigh();
    sum();
  }
  /// m and l of the low (0) or high (1) query; a of both: element i % 2 + 2 * high of dimensions 8 j + 2 (lane % 4).
  float most[2], total[2], sums[kBlocks * 2][4];

 private:
  static constexpr int kColumns = kStripPages * 2;  // groups of eight positions

  /// Whether the tile's rows find all of page `i` of the strip in the same page.
  __device__ bool shared(int i) const { return !Mask::kTree || begin_ + (i + 1) * kPageSize <= view_.tile.shared; }
  __device__ bool absent(int i) const { return begin_ + i * kPageSize >= view_.tile.longest; }
  __device__ Positions<Codec> page(int i) const {
    return {view_.a.kv, kvHead_, lane_, view_.pages[begin_ / kPageSize + i], 0};
  }
  /// Slots of one row's path; where there is none any slot will do, for its weight is 0.
  __device__ Positions<Codec> path(int i, int row) const {
    const int slot = view_.slotAt(row, begin_ + i * kPageSize + lane_ % kPageSize);
    return {view_.a.kv, kvHead_, lane_, 0, slot < 0 ? 0 : slot};
  }
  __device__ int firstRow() const { return view_.rowOf(0); }
  __device__ int lastRow() const { return view_.rowOf(view_.queries() - 1); }

  template <bool gathered>
  __device__ void scorePage(const Positions<Codec>& at, float (&low)[4], float (&high)[4]) const {
#pragma unroll
    for (int j = 0; j < 4; ++j) low[j] = high[j] = 0.0f;
#pragma unroll
    for (int c = 0; c < kBlocks; ++c) {
      if (c >= blocks_) break;
      const uint4 q = queries_[c * 32 + lane_];
      const uint32_t a[4] = {q.x, q.y, q.z, q.w};
      uint32_t b[4];
      gathered ? at.gatheredKeys(c, b) : at.keys(c, b);
      mma(Bf16{}, low, a, {b[0], b[1]});
      mma(Bf16{}, high, a, {b[2], b[3]});
    }
    if constexpr (Codec::kScaled) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const float x = at.template scale<gathered>(lane_ % 4 * 2 + j, true);
        const float y = at.template scale<gathered>(8 + lane_ % 4 * 2 + j, true);
        low[j] *= x, low[2 + j] *= x;
        high[j] *= y, high[2 + j] *= y;
      }
    }
  }

  __device__ void score() {
#pragma unroll
    for (int i = 0; i < kStripPages; ++i) {
      float(&low)[4] = scores_[2 * i];
      float(&high)[4] = scores_[2 * i + 1];
      if (absent(i)) {
#pragma unroll
        for (int j = 0; j < 4; ++j) low[j] = high[j] = kNothing;
      } else if (shared(i)) {
        scorePage<false>(page(i), low, high);
      } else {
        for (int row = firstRow(); row <= lastRow(); ++row) {
          float x[4], y[4];
          scorePage<true>(path(i, row), x, y);
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            if (rows_[j / 2] != row) continue;
            low[j] = x[j];
            high[j] = y[j];
          }
        }
      }
    }
    hideUnseen();
  }
  /// Takes out positions behind a row's own, and queries that the tile lacks.
  __device__ void hideUnseen() {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int length = rows_[half] < 0 ? 0 : view_.length(rows_[half]);
#pragma unroll
      for (int column = 0; column < kColumns; ++column)
#pragma unroll
        for (int j = 0; j < 2; ++j)
          if (begin_ + column * 8 + lane_ % 4 * 2 + j >= length) scores_[column][half * 2 + j] = kNothing;
    }
  }

  /// Scores become weights, rounded to what the values are multiplied with.
  __device__ void weigh() {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float greatest = kNothing;
#pragma unroll
      for (int column = 0; column < kColumns; ++column)
        greatest = fmaxf(greatest, fmaxf(scores_[column][half * 2], scores_[column][half * 2 + 1]));
      greatest = fmaxf(greatest, __shfl_xor_sync(kAllLanes, greatest, 1));
      greatest = fmaxf(greatest, __shfl_xor_sync(kAllLanes, greatest, 2));
      float sum = 0;
#pragma unroll
      for (int column = 0; column < kColumns; ++column) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          float& score = scores_[column][half * 2 + j];
          score = toFloat(Bf16{}, fromFloat(Bf16{}, weightOf(score, greatest)));
          sum += score;
        }
      }
      sum += __shfl_xor_sync(kAllLanes, sum, 1);
      sum += __shfl_xor_sync(kAllLanes, sum, 2);
      most[half] = greatest;
      total[half] = sum;
    }
  }

  template <bool gathered>
  __device__ void sumPage(const Positions<Codec>& at, int i, int onlyRow) {
    const float(&low)[4] = scores_[2 * i];
    const float(&high)[4] = scores_[2 * i + 1];
    float w[2][4];
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const bool counts = !gathered || rows_[j / 2] == onlyRow;
      w[0][j] = counts ? low[j] : 0.0f;
      w[1][j] = counts ? high[j] : 0.0f;
    }
    if constexpr (Codec::kScaled) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const float x = at.template scale<gathered>(lane_ % 4 * 2 + j, false);
        const float y = at.template scale<gathered>(8 + lane_ % 4 * 2 + j, false);
        w[0][j] *= x, w[0][2 + j] *= x;
        w[1][j] *= y, w[1][2 + j] *= y;
      }
    }
    const uint32_t a[4] = {packPair(Bf16{}, w[0][0], w[0][1]), packPair(Bf16{}, w[0][2], w[0][3]),
                           packPair(Bf16{}, w[1][0], w[1][1]), packPair(Bf16{}, w[1][2], w[1][3])};
#pragma unroll
    for (int c = 0; c < kBlocks; ++c) {
      if (c >= blocks_) break;
      uint32_t b[4];
      gathered ? at.gatheredValues(c, b) : at.values(c, b);
      mma(Bf16{}, sums[2 * c], a, {b[0], b[1]});
      mma(Bf16{}, sums[2 * c + 1], a, {b[2], b[3]});
    }
  }

  __device__ void sum() {
#pragma unroll
    for (int c = 0; c < 2 * kBlocks; ++c)
#pragma unroll
      for (int j = 0; j < 4; ++j) sums[c][j] = 0.0f;
#pragma unroll
    for (int i = 0; i < kStripPages; ++i) {
      if (absent(i)) continue;
      if (shared(i)) {
        sumPage<false>(page(i), i, 0);
      } else {
        for (int row = firstRow(); row <= lastRow(); ++row) sumPage<true>(path(i, row), i, row);
      }
    }
  }

  const TileView& view_;
  const uint4* queries_;
  int kvHead_, begin_, lane_, blocks_;
  int rows_[2];
  float scores_[kColumns][4];
};

/// How (M, L, O) takes in (m, l, a).
struct FoldFactors {
  float most, keep, take;
  __device__ FoldFactors(float before, float add)
      : most(fmaxf(before, add)), keep(weightOf(before, most)), take(weightOf(add, most)) {}
};

/// Running (M, L, O) of sixteen queries.
template <int kDims>
struct Running {
  float most[kTileQueries], total[kTileQueries], sums[kTileQueries][kDims + 4];

  /// By all threads of the block.
  __device__ void clear() {
    for (int i = threadIdx.x; i < kTileQueries; i += blockDim.x) {
      most[i] = kNothing;
      total[i] = 0;
    }
    for (int i = threadIdx.x; i < kTileQueries * kDims; i += blockDim.x) sums[i / kDims][i % kDims] = 0;
  }
  /// By one warp.
  template <class Strip>
  __device__ void fold(const Strip& strip, int dims) {
    const int lane = threadIdx.x % 32;
    const int queries[2] = {lane / 4, 8 + lane / 4};
    const FoldFactors low(most[queries[0]], strip.most[0]), high(most[queries[1]], strip.most[1]);
    __syncwarp();
    if (lane % 4 == 0) {
      most[queries[0]] = low.most;
      most[queries[1]] = high.most;
      total[queries[0]] = fmaf(strip.total[0], low.take, total[queries[0]] * low.keep);
      total[queries[1]] = fmaf(strip.total[1], high.take, total[queries[1]] * high.keep);
    }
#pragma unroll
    for (int c = 0; c < kDims / 8; ++c) {
      if (c * 8 >= dims) break;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const FoldFactors& x = j < 2 ? low : high;
        float& sum = sums[queries[j / 2]][c * 8 + lane % 4 * 2 + j % 2];
        sum = fmaf(strip.sums[c][j], x.take, sum * x.keep);
      }
    }
  }
  /// Element `i` of another one's sums is taken in by the thread that calls; M and L follow in `foldTotals`.
  __device__ void foldSum(const Running& from, int query, int d) {
    const FoldFactors x(most[query], from.most[query]);
    sums[query][d] = fmaf(from.sums[query][d], x.take, sums[query][d] * x.keep);
  }
  __device__ void foldTotals(const Running& from, int query) {
    const FoldFactors x(most[query], from.most[query]);
    most[query] = x.most;
    total[query] = fmaf(from.total[query], x.take, total[query] * x.keep);
  }
};

/// Adding zero makes -0 and 0 one.
__device__ inline float outputOf(float sum, float total) { return sum / total + 0.0f; }

/// The tile's queries in the order of the instruction's first operand, [headDim / 16][32 lanes][4 registers].
__device__ inline void loadQueries(const TileView& view, int kvHead, uint4* out) {
  const int headDim = view.a.kv.headDim;
  for (int i = threadIdx.x; i < headDim / kBlockDims * 32; i += blockDim.x) {
    const int lane = i % 32, d = i / 32 * kBlockDims + lane % 4 * 2;
    uint32_t words[4] = {};
    for (int half = 0; half < 2; ++half) {
      const int query = half * 8 + lane / 4, row = view.rowOf(query);
      if (row < 0) continue;
      const uint16_t* const q =
          view.a.queries + (static_cast<size_t>(row) * view.a.heads + view.headOf(query, kvHead)) * headDim + d;
      words[half] = *reinterpret_cast<const uint32_t*>(q);
      words[2 + half] = *reinterpret_cast<const uint32_t*>(q + 8);
    }
    out[i] = {words[0], words[1], words[2], words[3]};
  }
}

/// Leaves a split's result for foldSplits.
template <int kDims>
__device__ void leavePartial(const TileView& view, const Running<kDims>& from, int kvHead, int split) {
  const int headDim = view.a.kv.headDim, stride = headDim + 2;
  for (int i = threadIdx.x; i < view.queries() * stride; i += blockDim.x) {
    const int query = i / stride, d = i % stride;
    const size_t entry = static_cast<size_t>(view.rowOf(query)) * view.a.heads + view.headOf(query, kvHead);
    view.a.partials[(entry * view.a.splits + split) * stride + d] = d < headDim    ? from.sums[query][d]
                                                                    : d == headDim ? from.most[query]
                                                                                   : from.total[query];
  }
}

template <int kDims>
__device__ void writeOutput(const TileView& view, const Running<kDims>& from, int kvHead) {
  const int headDim = view.a.kv.headDim;
  for (int i = threadIdx.x; i < view.queries() * headDim; i += blockDim.x) {
    const int query = i / headDim, d = i % headDim;
    view.a.out[(static_cast<size_t>(view.rowOf(query)) * view.a.heads + view.headOf(query, kvHead)) * headDim + d] =
        outputOf(from.sums[query][d], from.total[query]);
  }
}

/// Grid: (splits, or 1 where a block takes all of them; KV heads; tiles). A warp takes every fourth strip.
template <class Codec, class Mask, int kBlocks>
__global__ void __launch_bounds__(kSplitStrips * 32) attend(AttendArgs a) {
  constexpr int kDims = kBlocks * kBlockDims;
  __shared__ uint4 queries[kBlocks * 32];
  __shared__ Running<kDims> split, all;
  if (static_cast<int>(blockIdx.z) >= PassView(a.pass).header().tiles) return;
  const TileView view(a, blockIdx.z);
  const int kvHead = blockIdx.y, warp = threadIdx.x / 32, splits = (view.tile.longest + kSplit - 1) / kSplit;
  const bool whole = a.partials == nullptr;
  if (static_cast<int>(blockIdx.x) >= splits) return;
  loadQueries(view, kvHead, queries);
  all.clear();
  for (int s = whole ? 0 : blockIdx.x; s < (whole ? splits : static_cast<int>(blockIdx.x) + 1); ++s) {
    split.clear();
    __syncthreads();
    StripOfTile<Codec, Mask, kBlocks> strip(view, queries, kvHead, s * kSplitStrips + warp);
    strip.run();
    for (int turn = 0; turn < kSplitStrips; ++turn) {
      if (warp == turn) split.fold(strip, a.kv.headDim);
      __syncthreads();
    }
    if (!whole) break;
    for (int i = threadIdx.x; i < kTileQueries * a.kv.headDim; i += blockDim.x)
      all.foldSum(split, i / a.kv.headDim, i % a.kv.headDim);
    __syncthreads();
    if (threadIdx.x < kTileQueries) all.foldTotals(split, threadIdx.x);
    __syncthreads();
  }
  if (whole)
    writeOutput(view, all, kvHead);
  else
    leavePartial(view, split, kvHead, blockIdx.x);
}

/// Folds what blocks left of each row's splits. Grid: (rows, heads); a thread takes every blockDim-th dimension.
static __global__ void __launch_bounds__(128) foldSplits(AttendArgs a) {
  const PassView pass(a.pass);
  const int row = blockIdx.x, head = blockIdx.y, headDim = a.kv.headDim, stride = headDim + 2;
  if (row >= pass.rows()) return;
  const int splits = (pass.at(pass.header().length)[row] + kSplit - 1) / kSplit;
  const size_t entry = static_cast<size_t>(row) * a.heads + head;
  const float* const partials = a.partials + entry * a.splits * stride;
  for (int d = threadIdx.x; d < headDim; d += blockDim.x) {
    float most = kNothing, total = 0, sum = 0;
    for (int s = 0; s < splits; ++s) {
      const float* const from = partials + static_cast<size_t>(s) * stride;
      const FoldFactors x(most, from[headDim]);
      most = x.most;
      total = fmaf(from[headDim + 1], x.take, total * x.keep);
      sum = fmaf(from[d], x.take, sum * x.keep);
    }
    a.out[entry * headDim + d] = outputOf(sum, total);
  }
}

}  // namespace foretoken::cuda
