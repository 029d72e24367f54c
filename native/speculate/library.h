// Whose text is remembered: one shelf of text segments per tenant and per session of a tenant.
//
// Nothing ever leaves its tenant, and what a tenant remembers does not depend on what others do: each has a budget of
// bytes of its own. Within it the shelf that was used longest ago loses its oldest segment, but for the passages that
// were most useful to recall: those are written again at the end of the newest. Only when all tenants together exceed
// the library's budget does the tenant that was used longest ago give way with everything. For who keeps texts
// elsewhere, what has given way waits, beyond the budget and out of sight of drafters, until it is taken.
#pragma once
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <unordered_set>
#include <vector>

#include "speculate/memory.h"
#include "speculate/segment.h"

namespace foretoken {

/// Where the keys of a document lie: of position `first` + i of `text`, or, without one, as they are stored, side by
/// side; both null = it has none.
struct KeyedBy {
  const TextSegment* text = nullptr;
  int32_t first = 0;
  const uint8_t* stored = nullptr;  ///< [positions][kPackedKeyBytes]

  bool any() const { return text != nullptr || stored != nullptr; }
  Key key(size_t i) const {
    return text ? text->key(first + static_cast<int32_t>(i)) : unpackKey(stored + i * kPackedKeyBytes);
  }
};

/// The segments of one owner. Pointers from segments() stay valid until the library is next changed.
class TextShelf final : public TextSource {
 public:
  std::span<const TextSegment* const> segments() const override { return newestFirst_; }
  uint64_t version() const override { return version_; }
  size_t bytes() const { return bytes_; }

 private:
  friend class TextLibrary;
  /// A segment and the beginnings of documents it holds, as hashes.
  struct Volume {
    TextSegment text;
    std::unordered_set<uint64_t> beginnings;
    size_t bytes() const { return text.bytes(); }
  };
  using Volumes = std::list<Volume>;

  explicit TextShelf(std::string tenant, bool keys) : tenant_(std::move(tenant)), keys_(keys) {}
  void add(std::span<const int32_t> document, KeyedBy keys);
  size_t known(std::span<const int32_t> document) const;
  TextSegment& roomyText();
  Volumes takeOldest();
  Volumes takeAll();
  static void carryOver(const TextSegment& from, TextSegment& to);
  void relist();

  const std::string tenant_;
  const bool keys_;
  Volumes oldestFirst_;  ///< what leaves it is handed on without memory
  std::vector<const TextSegment*> newestFirst_;
  size_t bytes_ = 0;
  uint64_t version_ = 0, lastUse_ = 0;
};

class TextLibrary {
 public:
  /// `budgetBytes` for all tenants together, `tenantBytes` for each; `keys`: segments keep keys; `keepsDropped`: what a
  /// tenant's own shelf loses to others' text waits until it is taken, otherwise it is forgotten.
  TextLibrary(size_t budgetBytes, size_t tenantBytes, bool keys, bool keepsDropped = false)
      : budget_(budgetBytes), tenantBudget_(tenantBytes), keys_(keys), keepsDropped_(keepsDropped) {}

  /// The shelf of a tenant (session empty) or of one of its sessions; made empty if there is none.
  std::shared_ptr<TextShelf> shelf(const std::string& tenant, const std::string& session);
  /// Appends a document to a shelf, less a beginning that it holds already, then makes the budgets hold. Where there is
  /// no memory for all of it, some of it may be there.
  void add(TextShelf& shelf, std::span<const int32_t> document, KeyedBy keys);
  /// Bytes that texts of a tenant's running requests take count too: they push its older text out. Only to charge one
  /// of whom there is nothing takes memory.
  void charge(const std::string& tenant, int64_t bytes);
  /// Empties a shelf; who holds it may go on adding to it.
  void clear(TextShelf& shelf);
  /// Empties a tenant's shelves (session null) or one session's; `tenant` null = everything. Whoever holds a shelf that
  /// is emptied must not add to it any more.
  void forget(const std::string* tenant, const std::string* session);
  size_t bytes() const { return bytes_; }
  /// How often a tenant's text has given way to others'.
  int64_t dropped() const { return dropped_; }
  /// Tenants whose text has given way and waits.
  std::vector<std::string> waiting() const;
  /// What waits of a tenant and its own shelf, oldest text first; empty for one that is not known.
  MemoryImage image(const std::string& tenant) const;
  /// Whether texts of a tenant's running requests have pushed out what its budget has room for; only where
  /// `keepsDropped`.
  bool isCut(const std::string& tenant) const;
  /// What waits of a tenant has been taken. False: nothing did.
  bool take(const std::string& tenant);

 private:
  struct Tenant {
    std::map<std::string, std::shared_ptr<TextShelf>> shelves;  ///< by session
    TextShelf::Volumes waiting;                                 ///< oldest first
    size_t shelved = 0, charged = 0;                            ///< bytes
    bool cut = false;                                           ///< see isCut
    uint64_t lastUse = 0;
  };

  void dropOldest(Tenant& tenant, const TextShelf* spare, bool forOthers);
  void giveWay(Tenant& tenant);
  void keep(Tenant& tenant, const std::string& session, TextShelf::Volumes dropped) const;
  void enforceBudgets(Tenant& tenant, const TextShelf* spare);
  static void dropEmptyShelves(Tenant& tenant);
  void dropEmptyTenants();

  const size_t budget_, tenantBudget_;
  const bool keys_, keepsDropped_;
  size_t bytes_ = 0;
  int64_t dropped_ = 0;
  uint64_t clock_ = 0;
  std::map<std::string, Tenant> tenants_;
};

}  // namespace foretoken
