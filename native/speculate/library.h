// Whose text is remembered: one shelf of suffix segments per tenant and per session of a tenant, all within one budget
// of bytes. Nothing ever leaves its tenant. When the budget is exceeded, the shelf that was used longest ago loses its
// oldest segment.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "speculate/suffix.h"

namespace foretoken {

/// The segments of one owner. Pointers from segments() stay valid until the library is next changed.
class SuffixShelf final : public SuffixSource {
 public:
  std::span<const SuffixSegment* const> segments() const override { return newestFirst_; }
  size_t bytes() const { return bytes_; }

 private:
  friend class SuffixLibrary;
  void add(std::span<const int32_t> document);
  void dropOldest();
  void relist();

  std::vector<std::unique_ptr<SuffixSegment>> oldestFirst_;
  std::vector<const SuffixSegment*> newestFirst_;
  size_t bytes_ = 0;
  uint64_t lastUse_ = 0;
};

class SuffixLibrary {
 public:
  explicit SuffixLibrary(size_t budgetBytes) : budget_(budgetBytes) {}

  /// The shelf of a tenant (session empty) or of one of its sessions; made empty if there is none.
  std::shared_ptr<SuffixShelf> shelf(const std::string& tenant, const std::string& session);
  /// Appends a document to a shelf, then makes the budget hold.
  void add(SuffixShelf& shelf, std::span<const int32_t> document);
  /// Bytes that indexes of running requests take count too: they push older text out.
  void charge(int64_t bytes);
  /// Empties a tenant's shelves (session empty) or one session's; `tenant` null = everything.
  void forget(const std::string* tenant, const std::string* session);
  size_t bytes() const { return bytes_; }

 private:
  void enforceBudget(const SuffixShelf* spare);

  size_t budget_;
  size_t bytes_ = 0;
  uint64_t clock_ = 0;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<SuffixShelf>> shelves_;
};

}  // namespace foretoken
