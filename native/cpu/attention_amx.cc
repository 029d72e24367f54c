// Attention on CPUs that multiply tiles (AMX-BF16): up to sixteen queries by sixteen positions, or by sixteen
// dimensions of a page's values, are one instruction, and pages are read as they lie (kv.h).
//
// Scores: q = q1 + q2, both bf16: q1 is q, rounded, q2 the rest, rounded. For each 32 dimensions, tdpbf16ps adds the
// products of q1, then those of q2: for both, even and odd dimensions are two chains, whose total is added.
//
// Weights: w = w1 + w2, both bf16: w1 is w, cut off, w2 the rest, cut off.
//
// Sums: a word of a page's values holds dimensions d and d + 16 of one position. Weights in the low halves of words,
// zeros in the high ones, give the chain over the page's positions of w(p) v[p][d], weights in the high halves that of
// d + 16; those of w1 are added to a, then those of w2. A position that a row does not see has weight 0 and changes
// neither. But a page is sixteen positions, wherever they lie: where rows see slots beside their pages, weights and
// values are gathered by position, once for all rows that agree on what stands where.
#if !defined(FORETOKEN_EMULATED_AVX512)
#include <immintrin.h>

#define FORETOKEN_VECTOR_AVX512
#endif
#include "cpu/amx-inl.h"
#include "cpu/attention-inl.h"

namespace foretoken {
namespace {

constexpr int kTileRows = 16;
constexpr int kTileDims = 32;  // of two bytes, in a tile's row
constexpr size_t kQueryWords = kWeightForms * kSplitLanes;

// Tile registers: four of sums, two of queries or weights, two of keys or values.
constexpr int kLeft = 4, kRight = 6;
static_assert(kPageSize == kTileRows && kTileQueries <= 2 * kTileRows);

TileShapes shapesFor(int queries) {
  TileShapes shapes;
  for (int i = 0; i < kRight; ++i) shapes.set(i, queries, 64);
  shapes.set(kRight, kTileRows, 64);
  shapes.set(kRight + 1, kTileRows, 64);
  return shapes;
}

/// w1 in the low halves of words, in the high ones; w2 likewise.
inline void storeWeights(uint32_t (*forms)[kSplitLanes], int lane, V16 w) {
  const V16 high = odds({_mm512_castps_si512(w.x)}), rest = odds({_mm512_castps_si512(sub(w, high).x)});
  _mm512_storeu_si512(forms[0] + lane, _mm512_srli_epi32(_mm512_castps_si512(high.x), 16));
  _mm512_storeu_si512(forms[1] + lane, _mm512_castps_si512(high.x));
  _mm512_storeu_si512(forms[2] + lane, _mm512_srli_epi32(_mm512_castps_si512(rest.x), 16));
  _mm512_storeu_si512(forms[3] + lane, _mm512_castps_si512(rest.x));
}

/// Weights of one page's positions and their values.
struct WeightedPage {
  const uint32_t* weights;
  size_t form, query;  ///< words from form to form, from query to query
  const uint16_t* values;
};

/// Products by tiles. More than sixteen queries are two groups of as many, which may have one in common.
class ByTiles {
 public:
  explicit ByTiles(const ItemView& item)
      : v(item),
        s(item.s),
        headDim(v.job.kv.headDim),
        width(v.job.kv.valueStride),
        group(v.queries > kTileRows ? (v.queries + 1) / 2 : v.queries) {
    for (int page = 0; page < kSplit / kPageSize; ++page) fetchKeys(item.item.splitBegin * kSplit + page * kPageSize);
    configureTiles(shapesFor(group));
  }
  ~ByTiles() { releaseTiles(); }

  /// What was a query of floats becomes two rows of bf16: q1, then q2.
  static void take(float* query, int headDim) {
    uint16_t halves[2 * kMaxHeadDim];
    const auto storeHalves = [](uint16_t* to, Pairs high) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_srli_epi32(high.x, 16)));
    };
    for (int d = 0; d < headDim; d += kLanes) {
      const V16 q = load(query + d);
      const Pairs high{roundHigh(q)}, low{roundHigh(sub(q, odds(high)))};
      storeHalves(halves + d, high);
      storeHalves(halves + headDim + d, low);
    }
    std::memcpy(query, halves, 2 * headDim * sizeof(uint16_t));
  }

  void score(int pages) const {
    for (int page = 0; page < pages; page += 4) {
      scorePages(0, page, pages - page);
      if (group < v.queries) scorePages(v.queries - group, page, pages - page);
    }
  }

  /// As `foretoken::weigh`, into the forms that tiles read.
  float weigh(int query, int lanes, float greatest) const {
    const V16 shift = broadcast(greatest);
    WeightSum total;
    for (int i = 0; i < lanes; i += kLanes) {
      const V16 w = exp2(sub(load(s.scores[query] + i), shift));
      storeWeights(s.weights[query], i, w);
      total.add(w);
    }
    return total.value();
  }

  /// The split's pages in order, each as it lies where no row sees anything beside it.
  void accumulate(float* sums) const {
    uint32_t besides = 0;  // bit: a page that has side slots
    for (int i = 0; i < s.sides; ++i) besides |= 1u << pageOf(i);
    WeightedPage whole[kSplit / kPageSize];
    int count = 0;
    bool first = true;
    const auto addPages = [&](const WeightedPage* pages, int number) {
      const int second = v.queries - group;
      float* const common = sums + second * width;  // both groups may have this query
      float before[kMaxHeadDim];
      if (second > 0 && !first) std::copy_n(common, width, before);
      add(pages, number, first, 0, sums);
      if (second > 0 && !first && second < group) std::copy_n(before, width, common);
      if (second > 0) add(pages, number, first, second, sums);
      first = false;
    };
    for (int page = 0; page < kSplit / kPageSize; ++page) {
      const int lane = page * kPageSize;
      if (!(besides >> page & 1)) {
        fetchKeys(s.first + kSplit + lane);
        if (lane < s.paged) whole[count++] = {s.weights[0][0] + lane, kSplitLanes, kQueryWords, s.value[lane]};
        continue;
      }
      if (count > 0) addPages(whole, count);
      count = 0;
      for (uint32_t left = (1u << v.rows) - 1; left != 0;) {
        const uint16_t* values[kPageSize] = {};
        const uint32_t rows = agreeing(left, page, values);
        const WeightedPage gathered = gather(rows, page, values);
        addPages(&gathered, 1);
        left &= ~rows;
      }
    }
    if (count > 0 || first) addPages(whole, count);
  }

 private:
  /// Asks for the keys of the page of a position, if that is in one.
  void fetchKeys(int position) const {
    if (position >= v.tile.paged) return;
    const int page = v.job.pass->pages[v.job.pass->sequence[v.tile.rowBegin]][position / kPageSize];
    const uint16_t* keys = keyPage(v.job.kv, v.item.kvHead, page);
    for (int d = 0; d < headDim; d += 2) prefetch(keys + d * kPageSize);
  }

  // --- scores

  template <int i>
  void loadQueries(int query, int d) const {
    const auto* halves = reinterpret_cast<const uint16_t*>(s.queries[query]) + i * headDim;
    loadTile<kLeft + i>(halves + d, sizeof s.queries[query]);
  }
  /// Adds the products of keys of 32 dimensions. The values behind these are wanted next.
  template <int sums>
  void addScores(int page, int d) const {
    const uint16_t* keys = s.key[page] + d * kPageSize;
    for (int line = 0; line < kTileRows; ++line) prefetch(keys + headDim * kPageSize + line * kTileDims);
    constexpr int kKeys = kRight + sums % 2;
    loadTile<kKeys>(keys, 64);
    multiplyTiles<sums, kLeft, kKeys>();
    multiplyTiles<sums, kLeft + 1, kKeys>();
  }
  template <int tile>
  void storeScores(int query, int page) const {
    storeTile<tile>(s.scores[query] + page * kPageSize, kSplitLanes * sizeof(float));
  }
  /// A group's scores of up to four pages.
  void scorePages(int query, int page, int pages) const {
    clearTile<0>(), clearTile<1>(), clearTile<2>(), clearTile<3>();
    for (int d = 0; d < headDim; d += kTileDims) {
      loadQueries<0>(query, d), loadQueries<1>(query, d);
      addScores<0>(page, d);
      if (pages > 1) addScores<1>(page + 1, d);
      if (pages > 2) addScores<2>(page + 2, d);
      if (pages > 3) addScores<3>(page + 3, d);
    }
    storeScores<0>(query, page);
    if (pages > 1) storeScores<1>(query, page + 1);
    if (pages > 2) storeScores<2>(query, page + 2);
    if (pages > 3) storeScores<3>(query, page + 3);
  }

  // --- pages with slots beside them

  int pageOf(int side) const { return (s.sidePosition[side] - s.first) / kPageSize; }

  /// Calls see(place, lane) for all that a row sees of the split's page.
  template <class See>
  void visit(int row, int page, See&& see) const {
    const int lanes = least(kPageSize, v.base(row) - s.first - page * kPageSize);
    for (int i = 0; i < lanes; ++i) see(i, page * kPageSize + i);
    for (int i = 0; i < s.sides; ++i)
      if (pageOf(i) == page && s.sideRows[i] >> row & 1) see(s.sidePosition[i] % kPageSize, s.sideLane + i);
  }
  /// Rows of `left` that agree with its first one on which slots the page's positions are in; `values`: these.
  uint32_t agreeing(uint32_t left, int page, const uint16_t** values) const {
    uint32_t taken = 0;
    for (int row = 0; row < v.rows; ++row) {
      if (!(left >> row & 1)) continue;
      bool agrees = true;
      visit(row, page, [&](int place, int lane) { agrees &= !values[place] || values[place] == s.value[lane]; });
      if (!agrees) continue;
      visit(row, page, [&](int place, int lane) { values[place] = s.value[lane]; });
      taken |= 1u << row;
    }
    return taken;
  }
  WeightedPage gather(uint32_t rows, int page, const uint16_t* const* values) const {
    const int lane = page * kPageSize;
    for (int j = 0; j < v.queries; ++j)
      for (int form = 0; form < kWeightForms; ++form) {
        const bool paged = lane < s.sideLane && rows >> j / v.heads & 1;
        const uint32_t* words = s.weights[j][form];
        _mm512_storeu_si512(s.pageWeights[j][form], paged ? _mm512_loadu_si512(words + lane) : _mm512_set1_epi32(0));
      }
    for (int i = 0; i < s.sides; ++i)
      for (uint32_t left = pageOf(i) == page ? rows & s.sideRows[i] : 0; left != 0; left &= left - 1)
        for (int h = 0, j = __builtin_ctz(left) * v.heads; h < v.heads; ++h, ++j)
          for (int form = 0; form < kWeightForms; ++form)
            s.pageWeights[j][form][s.sidePosition[i] % kPageSize] = s.weights[j][form][s.sideLane + i];
    std::memset(s.pageValues, 0, sizeof(uint16_t) * kPageSize * width);
    for (int place = 0; place < kPageSize; ++place)
      if (values[place]) std::memcpy(s.pageValues + place * width, values[place], sizeof(uint16_t) * width);
    return {s.pageWeights[0][0], kPageSize, kWeightForms * kPageSize, s.pageValues};
  }

  // --- sums

  template <int tile>
  void startSums(bool first, const float* sums) const {
    if (first)
      clearTile<tile>();
    else
      loadTile<tile>(sums, width * sizeof(float));
  }
  template <int tile>
  void storeSums(float* sums) const {
    storeTile<tile>(sums, width * sizeof(float));
  }
  /// Adds the products of a page's weights, in two forms, and values to a group's sums of 64 dimensions, or of 32.
  void addProducts(const WeightedPage& page, int form, int query, bool both) const {
    const uint32_t* const weights = page.weights + query * page.query + form * page.form;
    loadTile<kLeft>(weights, page.query * sizeof(uint32_t));
    loadTile<kLeft + 1>(weights + page.form, page.query * sizeof(uint32_t));
    multiplyTiles<0, kLeft, kRight>(), multiplyTiles<1, kLeft + 1, kRight>();
    if (both) multiplyTiles<2, kLeft, kRight + 1>(), multiplyTiles<3, kLeft + 1, kRight + 1>();
  }
  /// Adds pages to a group's sums, 64 dimensions at a time, or the last 32.
  void add(const WeightedPage* pages, int count, bool first, int query, float* sums) const {
    for (int d = 0; d < width; d += 2 * kTileDims) {
      const bool both = d + kTileDims < width;
      float* const to = sums + query * width + d;
      startSums<0>(first, to), startSums<1>(first, to + 16);
      if (both) startSums<2>(first, to + 32), startSums<3>(first, to + 48);
      for (const WeightedPage* page = pages; page < pages + count; ++page) {
        loadTile<kRight>(page->values + d, width * sizeof(uint16_t));
        if (both) loadTile<kRight + 1>(page->values + d + kTileDims, width * sizeof(uint16_t));
        for (int form = 0; form < kWeightForms; form += 2) addProducts(*page, form, query, both);
      }
      storeSums<0>(to), storeSums<1>(to + 16);
      if (both) storeSums<2>(to + 32), storeSums<3>(to + 48);
    }
  }

  const ItemView& v;
  AttentionScratch& s;
  const int headDim, width, group;
};

void attendByTiles(const AttentionJob& job, const AttentionItem& item, AttentionScratch& scratch) {
  if (job.kv.headDim % kTileDims != 0) return attend(job, item, scratch);
  attendBy<ByTiles>(job, item, scratch);
}

}  // namespace

const AttentionKernels kAttentionAmx = {writeRow, attendByTiles, merge};

}  // namespace foretoken
