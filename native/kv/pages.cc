#include "kv/pages.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "backend.h"

namespace foretoken {
namespace {

uint64_t mix(uint64_t hash, uint64_t value) {
  hash ^= value + 0x9e3779b97f4a7c15ull + (hash << 6) + (hash >> 2);
  return hash * 0xff51afd7ed558ccdull;
}

}  // namespace

PagePool::PagePool(int32_t first, int32_t count)
    : first_(first),
      entries_(count),
      tokens_(static_cast<size_t>(count) * kPageSize),
      buckets_(std::bit_ceil(static_cast<uint32_t>(std::max(count, 1))), -1) {
  free_.reserve(count);
  for (int32_t i = count; i-- > 0;) free_.push_back(i);
}

int32_t PagePool::take() {
  if (free_.empty()) {
    if (oldest_ < 0) return -1;
    const int32_t victim = oldest_;
    unlink(victim);
    unenroll(victim);
    free_.push_back(victim);
  }
  const int32_t index = free_.back();
  free_.pop_back();
  entries_[index].references = 1;
  ++used_;
  return first_ + index;
}

void PagePool::release(int32_t page) { drop(page - first_); }

void PagePool::release(std::span<const int32_t> pages) {
  for (size_t i = pages.size(); i-- > 0;) release(pages[i]);
}

PagePool::Match PagePool::match(int64_t tenant, ChainSerial parent, const int32_t* tokens) {
  const int32_t index = find(tenant, parent, tokens);
  if (index < 0) return {};
  reference(index);
  return {first_ + index, entries_[index].serial};
}

PagePool::Match PagePool::enroll(int64_t tenant, ChainSerial parent, const int32_t* tokens, int32_t page) {
  if (const int32_t known = find(tenant, parent, tokens); known >= 0) {
    if (known != page - first_) {
      reference(known);
      release(page);
    }
    return {first_ + known, entries_[known].serial};
  }
  const int32_t index = page - first_;
  Entry& entry = entries_[index];
  entry.tenant = tenant;
  entry.parent = parent;
  entry.serial = ++lastSerial_;
  std::memcpy(&tokens_[static_cast<size_t>(index) * kPageSize], tokens, kPageSize * sizeof(int32_t));
  int32_t* head = bucket(tenant, parent, tokens);
  entry.hashNext = *head;
  *head = index;
  return {page, entry.serial};
}

void PagePool::forget(int64_t tenant) {
  for (int32_t i = 0; i < total(); ++i) {
    Entry& entry = entries_[i];
    if (entry.serial == 0 || (tenant >= 0 && entry.tenant != tenant)) continue;
    unenroll(i);
    if (entry.references > 0) continue;
    unlink(i);
    free_.push_back(i);
  }
}

std::vector<int64_t> PagePool::tenants() const {
  std::vector<int64_t> enrolled;
  for (const Entry& entry : entries_)
    if (entry.serial != 0) enrolled.push_back(entry.tenant);
  return enrolled;
}

int32_t* PagePool::bucket(int64_t tenant, ChainSerial parent, const int32_t* tokens) {
  uint64_t hash = mix(static_cast<uint64_t>(tenant), parent);
  for (int i = 0; i < kPageSize; ++i) hash = mix(hash, static_cast<uint32_t>(tokens[i]));
  return &buckets_[(hash >> 32) & (buckets_.size() - 1)];
}

int32_t PagePool::find(int64_t tenant, ChainSerial parent, const int32_t* tokens) {
  for (int32_t i = *bucket(tenant, parent, tokens); i >= 0; i = entries_[i].hashNext) {
    const Entry& entry = entries_[i];
    if (entry.tenant == tenant && entry.parent == parent &&
        std::memcmp(tokensOf(i), tokens, kPageSize * sizeof(int32_t)) == 0) {
      return i;
    }
  }
  return -1;
}

void PagePool::reference(int32_t index) {
  if (entries_[index].references++ > 0) return;
  unlink(index);
  ++used_;
}

void PagePool::drop(int32_t index) {
  Entry& entry = entries_[index];
  if (--entry.references > 0) return;
  --used_;
  if (entry.serial == 0) {
    free_.push_back(index);
    return;
  }
  entry.older = newest_;
  entry.newer = -1;
  (newest_ >= 0 ? entries_[newest_].newer : oldest_) = index;
  newest_ = index;
  ++cached_;
}

void PagePool::unlink(int32_t index) {
  const Entry& entry = entries_[index];
  (entry.older >= 0 ? entries_[entry.older].newer : oldest_) = entry.newer;
  (entry.newer >= 0 ? entries_[entry.newer].older : newest_) = entry.older;
  --cached_;
}

void PagePool::unenroll(int32_t index) {
  Entry& entry = entries_[index];
  int32_t* link = bucket(entry.tenant, entry.parent, tokensOf(index));
  while (*link != index) link = &entries_[*link].hashNext;
  *link = entry.hashNext;
  entry.serial = 0;
}

const int32_t* PagePool::tokensOf(int32_t index) const { return &tokens_[static_cast<size_t>(index) * kPageSize]; }

PageTable::PageTable(int32_t capacity) {
  const int32_t pages = (capacity + kPageSize - 1) / kPageSize;
  pages_.reserve(pages);
  serials_.reserve(pages);
}

int32_t PageTable::adoptPrefix(PagePool& pool, int64_t tenant, std::span<const int32_t> tokens, int32_t limit) {
  while ((size() + 1) * kPageSize <= limit) {
    const ChainSerial parent = serials_.empty() ? 0 : serials_.back();
    const PagePool::Match hit = pool.match(tenant, parent, tokens.data() + size() * kPageSize);
    if (hit.page < 0) break;
    pages_.push_back(hit.page);
    serials_.push_back(hit.serial);
  }
  return room();
}

bool PageTable::reserve(PagePool& pool, int32_t positions) {
  while (room() < positions) {
    const int32_t page = pool.take();
    if (page < 0) return false;
    pages_.push_back(page);
  }
  return true;
}

void PageTable::enroll(PagePool& pool, int64_t tenant, std::span<const int32_t> tokens, int32_t positions) {
  for (auto i = static_cast<int32_t>(serials_.size()); (i + 1) * kPageSize <= positions; ++i) {
    const ChainSerial parent = i == 0 ? 0 : serials_[i - 1];
    const PagePool::Match own = pool.enroll(tenant, parent, tokens.data() + i * kPageSize, pages_[i]);
    pages_[i] = own.page;
    serials_.push_back(own.serial);
  }
}

void PageTable::rollBack(PagePool& pool, int32_t positions) {
  const int32_t kept = (positions + kPageSize - 1) / kPageSize;
  if (kept >= size()) return;
  pool.release(std::span<const int32_t>(pages_).subspan(kept));
  pages_.resize(kept);
  if (static_cast<int32_t>(serials_.size()) > kept) serials_.resize(kept);
}

void PageTable::clear(PagePool& pool) { rollBack(pool, 0); }

int32_t PageTable::slot(int32_t position) const {
  return pages_[position / kPageSize] * kPageSize + position % kPageSize;
}

int32_t PageTable::room() const { return size() * kPageSize; }

}  // namespace foretoken
