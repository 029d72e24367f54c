#include "speculate/library.h"

#include <algorithm>

namespace foretoken {
namespace {
constexpr int32_t kFirstSegment = 4096, kLargestSegment = 32768;
constexpr size_t kMostSegments = 8;  ///< of one shelf: bounds the time of a lookup
}  // namespace

void SuffixShelf::add(std::span<const int32_t> document) {
  while (!document.empty()) {
    if (oldestFirst_.empty() || oldestFirst_.back()->room() < 2) {
      const int32_t last = oldestFirst_.empty() ? kFirstSegment / 2 : oldestFirst_.back()->size();
      const int32_t capacity = std::clamp(2 * last, kFirstSegment, kLargestSegment);
      oldestFirst_.push_back(std::make_unique<SuffixSegment>(capacity));
      bytes_ += oldestFirst_.back()->bytes();
      if (oldestFirst_.size() > kMostSegments) dropOldest();
      relist();
    }
    SuffixSegment& segment = *oldestFirst_.back();
    const size_t part = std::min<size_t>(document.size(), segment.room() - 1);
    for (const int32_t token : document.first(part)) segment.append(token);
    segment.endDocument();
    document = document.subspan(part);
  }
}

void SuffixShelf::dropOldest() {
  bytes_ -= oldestFirst_.front()->bytes();
  oldestFirst_.erase(oldestFirst_.begin());
  relist();
}

void SuffixShelf::relist() {
  newestFirst_.clear();
  for (auto segment = oldestFirst_.rbegin(); segment != oldestFirst_.rend(); ++segment)
    newestFirst_.push_back(segment->get());
}

std::shared_ptr<SuffixShelf> SuffixLibrary::shelf(const std::string& tenant, const std::string& session) {
  auto& found = shelves_[{tenant, session}];
  if (!found) found = std::make_shared<SuffixShelf>();
  found->lastUse_ = ++clock_;
  return found;
}

void SuffixLibrary::add(SuffixShelf& shelf, std::span<const int32_t> document) {
  const size_t before = shelf.bytes();
  shelf.add(document);
  bytes_ += shelf.bytes() - before;
  shelf.lastUse_ = ++clock_;
  enforceBudget(&shelf);
}

void SuffixLibrary::charge(int64_t bytes) {
  bytes_ += bytes;
  enforceBudget(nullptr);
}

void SuffixLibrary::forget(const std::string* tenant, const std::string* session) {
  std::erase_if(shelves_, [&](auto& entry) {
    if (tenant != nullptr && entry.first.first != *tenant) return false;
    if (session != nullptr && entry.first.second != *session) return false;
    bytes_ -= entry.second->bytes();
    entry.second->oldestFirst_.clear();
    entry.second->newestFirst_.clear();
    entry.second->bytes_ = 0;
    return true;
  });
}

/// `spare` is emptied last: it has just been written.
void SuffixLibrary::enforceBudget(const SuffixShelf* spare) {
  while (bytes_ > budget_) {
    SuffixShelf* victim = nullptr;
    const auto rank = [&](const SuffixShelf& shelf) { return std::pair(&shelf == spare, shelf.lastUse_); };
    for (auto& [key, shelf] : shelves_) {
      if (shelf->bytes() > 0 && (victim == nullptr || rank(*shelf) < rank(*victim))) victim = shelf.get();
    }
    if (victim == nullptr) return;
    const size_t before = victim->bytes();
    victim->dropOldest();
    bytes_ -= before - victim->bytes();
  }
  std::erase_if(shelves_,
                [](const auto& entry) { return entry.second->bytes() == 0 && entry.second.use_count() == 1; });
}

}  // namespace foretoken
