#include "speculate/library.h"

#include <algorithm>
#include <utility>

namespace foretoken {
namespace {

constexpr int32_t kFirstSegment = 4096, kLargestSegment = 32768;
constexpr size_t kMostSegments = 8;   ///< of one shelf: bounds the time of a lookup
constexpr size_t kChunk = 16;         ///< beginnings of documents are known by multiples of this
constexpr size_t kContextBefore = 8;  ///< the first new tokens are found by what stands before them
constexpr int32_t kPassageBefore = 8, kPassageBehind = 16;  ///< what is kept around a useful place
constexpr int32_t kMostCarried = 4;                         ///< a quarter of a segment's text at most outlives it

/// f(length, hash) for the beginnings of a document whose length is a multiple of kChunk, and for all of it, shortest
/// first.
template <typename F>
void overBeginnings(std::span<const int32_t> document, F f) {
  uint64_t hash = 0;
  for (size_t i = 0; i < document.size(); ++i) {
    hash = (hash ^ static_cast<uint32_t>(document[i])) * 0x9e3779b97f4a7c15ull;
    hash ^= hash >> 29;
    if ((i + 1) % kChunk == 0 || i + 1 == document.size()) f(i + 1, hash);
  }
}

/// f(begin, end) for the stretches of text around places with so much praise, in order; none crosses a border.
template <typename F>
void overPassages(const TextSegment& text, int praise, F f) {
  int32_t begin = 0, end = 0;  // of the passage that is growing
  for (int32_t place = 0; place < text.size(); ++place) {
    if (text.praiseOf(place) < praise) continue;
    int32_t from = place;
    while (from > end && from > place - kPassageBefore && text.data()[from - 1] != kBorder) --from;
    if (from > end || end == 0) {
      if (end > begin) f(begin, end);
      begin = from;
    }
    end = std::max(end, place + 1);
    while (end < text.size() && end < place + kPassageBehind && text.data()[end] != kBorder) ++end;
  }
  if (end > begin) f(begin, end);
}

void addTo(MemoryImage& image, const TextSegment& text) {
  if (!text.hasKeys()) return;
  image.tokens.insert(image.tokens.end(), text.data(), text.data() + text.size());
  const size_t begin = image.keys.size();
  image.keys.resize(image.tokens.size() * kPackedKeyBytes);
  for (int32_t i = 0; i < text.size(); ++i)
    packKey(text.key(i).data(), image.keys.data() + begin + static_cast<size_t>(i) * kPackedKeyBytes);
}

}  // namespace

/// Tokens of the longest beginning that was shelved before and is still held.
size_t TextShelf::known(std::span<const int32_t> document) const {
  size_t longest = 0;
  overBeginnings(document, [&](size_t length, uint64_t hash) {
    const auto holds = [&](const auto& volume) { return volume.beginnings.contains(hash); };
    if (std::any_of(oldestFirst_.begin(), oldestFirst_.end(), holds)) longest = length;
  });
  return longest;
}

void TextShelf::add(std::span<const int32_t> document, KeyedBy keys) {
  const size_t old = known(document);
  if (old == document.size()) return;
  for (size_t at = old > kContextBefore ? old - kContextBefore : 0; at < document.size();) {
    TextSegment& text = roomyText();
    const size_t part = std::min<size_t>(document.size() - at, text.room() - 1);
    for (const size_t end = at + part; at < end; ++at) {
      if (keys.any() && keys_) text.setKey(text.size(), keys.key(at).data());
      text.append(document[at]);
    }
    text.endDocument();
  }
  auto& beginnings = oldestFirst_.back().beginnings;
  overBeginnings(document, [&](size_t length, uint64_t hash) {
    if (length > old) beginnings.insert(hash);
  });
}

/// The newest segment, which has room for a token and a border; a new one if need be.
TextSegment& TextShelf::roomyText() {
  if (oldestFirst_.empty() || oldestFirst_.back().text.room() < 2) {
    const int32_t last = oldestFirst_.empty() ? kFirstSegment / 2 : oldestFirst_.back().text.size();
    const int32_t capacity = std::clamp(2 * last, kFirstSegment, kLargestSegment);
    newestFirst_.reserve(oldestFirst_.size() + 1);  // to list them again never fails
    oldestFirst_.push_back({TextSegment(capacity, keys_ ? KeyForm::whole : KeyForm::none), {}});
    bytes_ += oldestFirst_.back().bytes();
    if (oldestFirst_.size() > kMostSegments) takeOldest();
    relist();
  }
  return oldestFirst_.back().text;
}

/// The oldest segment leaves, but for its most praised passages.
TextShelf::Volumes TextShelf::takeOldest() {
  if (oldestFirst_.size() > 1) carryOver(oldestFirst_.front().text, oldestFirst_.back().text);
  Volumes taken;
  taken.splice(taken.end(), oldestFirst_, oldestFirst_.begin());
  bytes_ -= taken.front().bytes();
  ++version_;
  relist();
  return taken;
}

TextShelf::Volumes TextShelf::takeAll() {
  newestFirst_.clear();
  ++version_;
  bytes_ = 0;
  return std::exchange(oldestFirst_, {});
}

/// Writes the most praised passages again, where they have to earn their praise anew; at most a part of the text, and
/// never more than there is room for, so that making room always makes room.
void TextShelf::carryOver(const TextSegment& from, TextSegment& to) {
  if (!from.hasKeys() || !to.hasKeys()) return;
  const int32_t room = std::min(to.room(), from.size() / kMostCarried);
  for (int praise = 1; praise <= 128; praise *= 2) {
    int32_t needed = 0;
    overPassages(from, praise, [&](int32_t begin, int32_t end) { needed += end - begin + 1; });
    if (needed > room) continue;
    overPassages(from, praise, [&](int32_t begin, int32_t end) {
      for (int32_t at = begin; at < end; ++at) {
        to.setKey(to.size(), from.key(at).data());
        to.append(from.data()[at]);
      }
      to.endDocument();
    });
    return;
  }
}

void TextShelf::relist() {
  newestFirst_.clear();
  for (auto volume = oldestFirst_.rbegin(); volume != oldestFirst_.rend(); ++volume)
    newestFirst_.push_back(&volume->text);
}

std::shared_ptr<TextShelf> TextLibrary::shelf(const std::string& tenant, const std::string& session) {
  if (!tenants_.contains(tenant)) dropEmptyTenants();
  Tenant& owner = tenants_[tenant];
  auto known = owner.shelves.find(session);
  if (known == owner.shelves.end())
    known = owner.shelves.emplace(session, std::shared_ptr<TextShelf>(new TextShelf(tenant, keys_))).first;
  const std::shared_ptr<TextShelf>& found = known->second;
  found->lastUse_ = owner.lastUse = ++clock_;
  return found;
}

void TextLibrary::add(TextShelf& shelf, std::span<const int32_t> document, KeyedBy keys) {
  Tenant& tenant = tenants_[shelf.tenant_];
  const size_t before = shelf.bytes();
  const auto count = [&] {
    tenant.shelved += shelf.bytes() - before;
    bytes_ += shelf.bytes() - before;
  };
  try {
    shelf.add(document, keys);
  } catch (...) {
    count();  // what has been shelved stays
    throw;
  }
  count();
  shelf.lastUse_ = tenant.lastUse = ++clock_;
  enforceBudgets(tenant, &shelf);
}

void TextLibrary::charge(const std::string& name, int64_t bytes) {
  if (bytes == 0) return;
  Tenant& tenant = tenants_[name];
  tenant.charged += bytes;
  bytes_ += bytes;
  enforceBudgets(tenant, nullptr);
}

void TextLibrary::clear(TextShelf& shelf) {
  tenants_.find(shelf.tenant_)->second.shelved -= shelf.bytes();
  bytes_ -= shelf.bytes();
  shelf.takeAll();
}

void TextLibrary::forget(const std::string* tenant, const std::string* session) {
  for (auto& [name, owner] : tenants_) {
    if (tenant != nullptr && name != *tenant) continue;
    if (session == nullptr) owner.waiting.clear(), owner.cut = false;
    std::erase_if(owner.shelves, [&](auto& entry) {
      if (session != nullptr && entry.first != *session) return false;
      owner.shelved -= entry.second->bytes();
      bytes_ -= entry.second->bytes();
      entry.second->takeAll();
      return true;
    });
  }
}

std::vector<std::string> TextLibrary::waiting() const {
  std::vector<std::string> names;
  for (const auto& [name, tenant] : tenants_)
    if (!tenant.waiting.empty()) names.push_back(name);
  return names;
}

MemoryImage TextLibrary::image(const std::string& tenant) const {
  MemoryImage image;
  const auto owner = tenants_.find(tenant);
  if (owner == tenants_.end()) return image;
  for (const auto& volume : owner->second.waiting) addTo(image, volume.text);
  if (const auto shelf = owner->second.shelves.find(""); shelf != owner->second.shelves.end())
    for (const auto& volume : shelf->second->oldestFirst_) addTo(image, volume.text);
  return image;
}

bool TextLibrary::isCut(const std::string& tenant) const {
  const auto owner = tenants_.find(tenant);
  return owner != tenants_.end() && owner->second.cut;
}

bool TextLibrary::take(const std::string& tenant) {
  const auto owner = tenants_.find(tenant);
  return owner != tenants_.end() && !std::exchange(owner->second.waiting, {}).empty();
}

/// Drops the oldest segment of the shelf that was used longest ago; `spare`, which has just been written, comes last.
void TextLibrary::dropOldest(Tenant& tenant, const TextShelf* spare, bool forOthers) {
  TextShelf* victim = nullptr;
  const std::string* session = nullptr;
  const auto rank = [&](const TextShelf& shelf) { return std::pair(&shelf == spare, shelf.lastUse_); };
  for (auto& [name, shelf] : tenant.shelves) {
    if (shelf->bytes() > 0 && (victim == nullptr || rank(*shelf) < rank(*victim)))
      victim = shelf.get(), session = &name;
  }
  const size_t before = victim->bytes();
  TextShelf::Volumes taken = victim->takeOldest();
  tenant.shelved -= before - victim->bytes();
  bytes_ -= before - victim->bytes();
  if (forOthers) keep(tenant, *session, std::move(taken));
}

/// All that a tenant has shelved makes room for others.
void TextLibrary::giveWay(Tenant& tenant) {
  ++dropped_;
  for (auto& [session, shelf] : tenant.shelves) keep(tenant, session, shelf->takeAll());
  bytes_ -= std::exchange(tenant.shelved, 0);
}

/// What a session's shelf holds, the tenant's own one holds as well.
void TextLibrary::keep(Tenant& tenant, const std::string& session, TextShelf::Volumes dropped) const {
  if (keepsDropped_ && session.empty()) tenant.waiting.splice(tenant.waiting.end(), dropped);
}

void TextLibrary::enforceBudgets(Tenant& tenant, const TextShelf* spare) {
  while (tenant.shelved > 0 && tenant.shelved + tenant.charged > tenantBudget_) {
    tenant.cut |= keepsDropped_ && tenant.shelved <= tenantBudget_;
    dropOldest(tenant, spare, /*forOthers=*/false);
  }
  while (bytes_ > budget_) {
    Tenant* victim = nullptr;
    for (auto& [name, other] : tenants_) {
      if (&other == &tenant || other.shelved == 0) continue;
      if (victim == nullptr || other.lastUse < victim->lastUse) victim = &other;
    }
    if (victim == nullptr) break;
    giveWay(*victim);
  }
  if (tenant.shelved > 0 && bytes_ > budget_) ++dropped_;
  while (tenant.shelved > 0 && bytes_ > budget_) dropOldest(tenant, spare, /*forOthers=*/true);
  dropEmptyShelves(tenant);
}

/// Lets go of shelves that are empty and that no request holds.
void TextLibrary::dropEmptyShelves(Tenant& tenant) {
  std::erase_if(tenant.shelves,
                [](const auto& entry) { return entry.second->bytes() == 0 && entry.second.use_count() == 1; });
}

void TextLibrary::dropEmptyTenants() {
  for (auto& [name, tenant] : tenants_) dropEmptyShelves(tenant);
  std::erase_if(tenants_, [](const auto& entry) {
    const Tenant& tenant = entry.second;
    return tenant.shelves.empty() && tenant.waiting.empty() && tenant.charged == 0 && !tenant.cut;
  });
}

}  // namespace foretoken
