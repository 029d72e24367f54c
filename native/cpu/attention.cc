#include "cpu/attention.h"

#include <algorithm>
#include <cmath>

namespace foretoken {
namespace {

/// Work items a thread should find at least, so that the last one to finish is not waited for long.
constexpr int kItemsPerThread = 3;
/// Rows whose preparation is shorter than waking the other threads.
constexpr int kSerialRows = 2;
/// Rows that are cut into several tiles to go round: fewer share too little of what they read.
constexpr int kLeastRows = 4;
/// Rows of a tile differ in base by at most this.
constexpr int kTileSpread = 2 * kPageSize;
/// Bytes of partial results at most; beyond them long rows are no longer cut across threads.
constexpr int64_t kPartialBytes = int64_t{32} << 20;

int divideUp(int a, int b) { return (a + b - 1) / b; }

/// Calls visit(begin, count) for everything of a pass that its plan and rotary table depend on.
template <class Visit>
void visitPass(const Pass& pass, Visit&& visit) {
  for (const int32_t* rows : {pass.position, pass.sequence, pass.base}) visit(rows, pass.rows);
  visit(pass.ancestorBegin, pass.rows + 1);
  visit(pass.ancestors, pass.ancestorBegin[pass.rows]);
}

}  // namespace

const AttentionKernels& attentionKernels(Isa isa) {
#if defined(__x86_64__)
#if defined(FORETOKEN_AVX512FP16)
  if (isa == Isa::amx) return kAttentionAmx;
#endif
  if (isAvx512(isa)) return kAttentionAvx512;
  if (isa == Isa::avx2) return kAttentionAvx2;
#elif defined(__aarch64__)
  if (isa == Isa::neon) return kAttentionNeon;
#endif
  (void)isa;
  return kAttentionPortable;
}

Attention::Attention(const AttentionKernels& kernels, const KvShape& shape, ThreadPool& threads)
    : kernels_(kernels), threads_(threads), headDim_(shape.headDim), valueStride_((shape.headDim + 31) / 32 * 32) {
  scratch_.resize(threads_.size());
  const int64_t splits = divideUp(shape.pages * kPageSize, kSplit) + 1;
  partialCapacity_ = std::min(splits * shape.kvHeads * kTileQueries,
                              kPartialBytes / static_cast<int64_t>(sizeof(float) * (valueStride_ + 2)));
  partialMost_.resize(partialCapacity_ + kQueryLanes);
  partialTotal_.resize(partialCapacity_ + kQueryLanes);
  partialSums_.resize(valueStride_ * partialCapacity_);
  mergeCapacity_ = kItemsPerThread * threads_.size();
  finished_ = std::make_unique<std::atomic<int>[]>(mergeCapacity_);
  constexpr int kUsualRows = 512;
  rotary_.reserve(static_cast<size_t>(kUsualRows) * 2 * headDim_);
  plannedPass_.reserve(8 * kUsualRows);
  plannedFrequency_.reserve(headDim_ / 2);
  tiles_.reserve(kUsualRows);
  sides_.reserve(kUsualRows);
  items_.reserve(static_cast<size_t>(kUsualRows) * shape.kvHeads);
  cut_.reserve(mergeCapacity_);
}

bool Attention::planned(const Pass& pass, int heads, const Rope& rope) const {
  bool same =
      plannedHeads_ == heads && plannedInterleaved_ == rope.interleaved &&
      std::equal(plannedFrequency_.begin(), plannedFrequency_.end(), rope.frequency.begin(), rope.frequency.end());
  size_t at = 0;
  visitPass(pass, [&](const int32_t* begin, int count) {
    same = same && at + count <= plannedPass_.size() && std::equal(begin, begin + count, plannedPass_.begin() + at);
    at += count;
  });
  return same && at == plannedPass_.size();
}

/// Tiles, items and rotary table of a pass, for all its layers. Where memory is lacking, none is planned.
void Attention::plan(const Pass& pass, int heads, int kvHeads, const Rope& rope) {
  plannedHeads_ = 0;
  plannedPass_.clear();
  visitPass(pass,
            [&](const int32_t* begin, int count) { plannedPass_.insert(plannedPass_.end(), begin, begin + count); });
  plannedFrequency_.assign(rope.frequency.begin(), rope.frequency.end());
  plannedInterleaved_ = rope.interleaved;
  computeRotary(pass, rope);
  planTiles(pass, heads / kvHeads, kvHeads);
  planItems(heads, kvHeads);
  plannedHeads_ = heads;
}

void Attention::rotaryRow(const Rope& rope, int row, int position) {
  float* cosine = rotary_.data() + static_cast<size_t>(row) * 2 * headDim_;
  float* sine = cosine + headDim_;
  const int half = headDim_ / 2;
  for (int i = 0; i < half; ++i) {
    const double angle = static_cast<double>(position) * static_cast<double>(rope.frequency[i]);
    const int first = rope.interleaved ? 2 * i : i, second = rope.interleaved ? 2 * i + 1 : i + half;
    cosine[first] = cosine[second] = static_cast<float>(std::cos(angle));
    sine[second] = static_cast<float>(std::sin(angle));
    sine[first] = -sine[second];
  }
}

void Attention::computeRotary(const Pass& pass, const Rope& rope) {
  rotary_.resize(static_cast<size_t>(pass.rows) * 2 * headDim_);
  const auto share = [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) rotaryRow(rope, static_cast<int>(row), pass.position[row]);
  };
  if (pass.rows <= kSerialRows) return share(0, pass.rows);
  threads_.run(pass.rows, [&](int64_t begin, int64_t end, int) { share(begin, end); });
}

void Attention::planTiles(const Pass& pass, int group, int kvHeads) {
  const int tiles = divideUp(kItemsPerThread * threads_.size(), kvHeads * divideUp(group, kItemHeads));
  const int most = std::max(1, kTileQueries / std::min(group, kItemHeads));
  const int limit = threads_.size() == 1 ? most : std::min(most, std::max(kLeastRows, divideUp(pass.rows, tiles)));
  tiles_.clear();
  sides_.clear();
  for (int row = 0; row < pass.rows; ++row) {
    const int base = pass.base[row], ancestors = pass.ancestorBegin[row + 1] - pass.ancestorBegin[row];
    AttentionTile alone = {row, row + 1, base, base, base + ancestors, static_cast<int>(sides_.size()), 0};
    if (!tiles_.empty()) {
      AttentionTile& tile = tiles_.back();
      const int shared = std::min(tile.shared, base), paged = std::max(tile.paged, base);
      if (row - tile.rowBegin < limit && pass.sequence[row] == pass.sequence[tile.rowBegin] &&
          paged - shared <= kTileSpread && tile.sideEnd - tile.sideBegin + ancestors <= kTileSides) {
        alone = {tile.rowBegin, row + 1, shared, paged, std::max(tile.longest, alone.longest), tile.sideBegin, 0};
        tiles_.pop_back();
      }
    }
    tiles_.push_back(alone);
    addSides(pass, row);
  }
}

/// Makes the row's ancestors side slots of the last tile.
void Attention::addSides(const Pass& pass, int row) {
  AttentionTile& tile = tiles_.back();
  const uint32_t bit = 1u << (row - tile.rowBegin);
  for (int i = pass.ancestorBegin[row]; i < pass.ancestorBegin[row + 1]; ++i) {
    const auto slot = std::find_if(sides_.begin() + tile.sideBegin, sides_.end(),
                                   [&](const AttentionSide& side) { return side.slot == pass.ancestors[i]; });
    if (slot != sides_.end()) {
      slot->rows |= bit;
    } else {
      sides_.push_back({pass.ancestors[i], pass.base[row] + i - pass.ancestorBegin[row], bit});
    }
  }
  tile.sideEnd = static_cast<int>(sides_.size());
}

/// Each tile's heads, whole. What does not go round among too few threads is cut: that never changes a bit.
void Attention::planItems(int heads, int kvHeads) {
  const int group = heads / kvHeads, threads = threads_.size();
  items_.clear();
  for (int t = static_cast<int>(tiles_.size()) - 1; t >= 0; --t)
    for (int kvHead = 0; kvHead < kvHeads; ++kvHead)
      for (int head = 0; head < group; head += kItemHeads)
        items_.push_back(
            {t, kvHead, head, std::min(group, head + kItemHeads), 0, divideUp(tiles_[t].longest, kSplit), -1, -1, 1});
  // Long items first: the short ones fill the gaps at the end.
  const auto cost = [this](const AttentionItem& item) {
    const AttentionTile& tile = tiles_[item.tile];
    return static_cast<int64_t>(tile.longest) * (tile.rowEnd - tile.rowBegin) * (item.headEnd - item.headBegin);
  };
  std::sort(items_.begin(), items_.end(),
            [&](const AttentionItem& a, const AttentionItem& b) { return cost(a) > cost(b); });
  const int whole = static_cast<int>(items_.size());
  if (threads > 1 && whole < kItemsPerThread * threads) cutItems(whole < threads ? 0 : whole - whole % threads);
}

/// Cuts items from `first` on into pieces for all threads.
void Attention::cutItems(size_t first) {
  const std::vector<AttentionItem>::iterator begin = items_.begin() + first;
  int pieces = 0;
  for (auto item = begin; item != items_.end(); ++item) pieces += item->splitEnd;
  const int chunk = std::max(1, pieces / (kItemsPerThread * threads_.size()));
  cut_.assign(begin, items_.end());
  items_.erase(begin, items_.end());
  int64_t entries = 0;
  int merges = 0;
  for (AttentionItem item : cut_) {
    const int splits = item.splitEnd, rows = tiles_[item.tile].rowEnd - tiles_[item.tile].rowBegin;
    const int64_t needed = static_cast<int64_t>(splits) * rows * (item.headEnd - item.headBegin);
    if (splits > chunk && entries + needed <= partialCapacity_) {
      item.partials = entries, item.merge = merges, item.parts = divideUp(splits, chunk);
      entries += needed;
      finished_[merges++].store(0, std::memory_order_relaxed);
    }
    for (int split = 0; split < splits; split += item.merge < 0 ? splits : chunk) {
      item.splitBegin = split;
      item.splitEnd = item.merge < 0 ? splits : std::min(splits, split + chunk);
      items_.push_back(item);
    }
  }
}

void Attention::writeRows(const AttentionJob& job) {
  const int rows = job.pass->rows, heads = 2 * job.kvHeads;
  if (rows <= kSerialRows) {
    for (int row = 0; row < rows; ++row) kernels_.write(job, row, 0, heads);
    return;
  }
  // A head's keys of neighbouring positions share cache lines: one thread writes them.
  threads_.run(int64_t{divideUp(rows, kPageSize)} * heads, [&](int64_t first, int64_t last, int) {
    for (int64_t i = first; i < last; ++i) {
      const int head = static_cast<int>(i % heads), begin = static_cast<int>(i / heads) * kPageSize;
      for (int row = begin; row < std::min(rows, begin + kPageSize); ++row) kernels_.write(job, row, head, head + 1);
    }
  });
}

void Attention::attendItems(const AttentionJob& job, int thread) {
  const int count = static_cast<int>(items_.size());
  for (int i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < count;) {
    const AttentionItem& item = items_[i];
    kernels_.attend(job, item, scratch_[thread]);
    if (item.merge < 0) continue;
    // Whoever finishes last folds the parts; acquire and release make the others' parts visible to it.
    if (finished_[item.merge].fetch_add(1, std::memory_order_acq_rel) == item.parts - 1) {
      kernels_.merge(job, item, scratch_[thread]);
      finished_[item.merge].store(0, std::memory_order_relaxed);
    }
  }
}

AttentionJob Attention::job(const Pass& pass, KvPool& pool, int layer, int heads, const Rope& rope, const float* qkv,
                            float* out) {
  const int kvHeads = pool.shape().kvHeads;
  const float scale = static_cast<float>(1.4426950408889634 / std::sqrt(static_cast<double>(headDim_)));
  return {&pass,
          pool.layer(layer),
          heads,
          kvHeads,
          heads / kvHeads,
          qkv,
          out,
          rotary_.data(),
          rope.interleaved,
          scale,
          tiles_.data(),
          sides_.data(),
          partialMost_.data(),
          partialTotal_.data(),
          partialSums_.data()};
}

void Attention::run(const Pass& pass, KvPool& pool, int layer, int heads, const Rope& rope, const float* qkv,
                    float* out) {
  if (pass.rows == 0) return;
  if (!planned(pass, heads, rope)) plan(pass, heads, pool.shape().kvHeads, rope);
  const AttentionJob work = job(pass, pool, layer, heads, rope, qkv, out);
  next_.store(0, std::memory_order_relaxed);
  writeRows(work);
  // Items differ in length: each thread that comes takes what is next, until none is left.
  threads_.run(threads_.size(), [&](int64_t, int64_t, int thread) { attendItems(work, thread); });
}

void Attention::writeKeys(const Pass& pass, KvPool& pool, int layer, const Rope& rope, const float* kv) {
  if (pass.rows == 0) return;
  const int kvHeads = pool.shape().kvHeads;
  if (!planned(pass, kvHeads, rope)) plan(pass, kvHeads, kvHeads, rope);
  writeRows(job(pass, pool, layer, 0, rope, kv, nullptr));
}

}  // namespace foretoken
