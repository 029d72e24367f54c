// Who owns which page of the KV pool, and the prefix cache over full pages.
//
// A page holds kPageSize consecutive positions. Pages are counted by reference: a running sequence holds one reference
// to every page of its table. A full page may be *enrolled* in the prefix cache under (tenant, chain of pages before
// it, its 16 tokens); later sequences of the tenant whose tokens match share it. Enrolled pages are read-only; without
// a reference they stay until memory is wanted, and then go in the order of their last use, the deepest of a chain
// first.
//
// The key names its predecessor by a serial number that is never given twice and the tokens themselves are compared,
// so neither a hash collision nor a recycled page can ever pass for a hit.
//
// One thread only. Nothing but tenants() allocates after construction.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace foretoken {

/// Names the chain of enrolled pages from position 0 up to a page; 0 is the empty chain.
using ChainSerial = uint64_t;

class PagePool {
 public:
  /// Manages pages `first` .. `first + count - 1`.
  PagePool(int32_t first, int32_t count);

  /// A free page with one reference, evicting an unreferenced cached page where nothing is free; -1 if all are
  /// referenced.
  int32_t take();
  /// Drops one reference. An enrolled page then waits in the cache, any other becomes free.
  void release(int32_t page);
  /// Drops one reference to each, last first, so that the end of a chain is evicted before its beginning.
  void release(std::span<const int32_t> pages);

  struct Match {
    int32_t page = -1;  ///< -1 = no hit; else referenced once more
    ChainSerial serial = 0;
  };
  /// Looks up the page that follows `parent` with these kPageSize tokens, and references it.
  Match match(int64_t tenant, ChainSerial parent, const int32_t* tokens);
  /// Enrols a full page that the caller holds. If an equal page is enrolled already, the caller's reference moves to
  /// that one and its own page is released: the result's page is what its table must name from now on.
  Match enroll(int64_t tenant, ChainSerial parent, const int32_t* tokens, int32_t page);
  /// Forgets every enrolled page of a tenant (-1 = of all). Pages in use stay with their sequences.
  void forget(int64_t tenant);

  /// The tenants whose pages are enrolled, in no order, once for each page.
  std::vector<int64_t> tenants() const;

  int32_t total() const { return static_cast<int32_t>(entries_.size()); }
  /// Pages that running sequences hold.
  int32_t used() const { return used_; }
  /// Unreferenced pages kept for their contents.
  int32_t cached() const { return cached_; }
  /// Pages that take() could hand out.
  int32_t available() const { return total() - used_; }

 private:
  struct Entry {
    int32_t references = 0;
    int64_t tenant = -1;
    ChainSerial serial = 0;  ///< 0 = not enrolled
    ChainSerial parent = 0;
    int32_t hashNext = -1;           ///< next entry of the same bucket
    int32_t older = -1, newer = -1;  ///< list of unreferenced cached pages
  };
  int32_t* bucket(int64_t tenant, ChainSerial parent, const int32_t* tokens);
  int32_t find(int64_t tenant, ChainSerial parent, const int32_t* tokens);
  void reference(int32_t index);
  void drop(int32_t index);
  void unlink(int32_t index);
  void unenroll(int32_t index);
  const int32_t* tokensOf(int32_t index) const;

  int32_t first_;
  std::vector<Entry> entries_;
  std::vector<int32_t> tokens_;   ///< [pages][kPageSize], of enrolled pages
  std::vector<int32_t> buckets_;  ///< heads of hash chains
  std::vector<int32_t> free_;     ///< stack
  int32_t oldest_ = -1, newest_ = -1;
  int32_t used_ = 0, cached_ = 0;
  ChainSerial lastSerial_ = 0;
};

/// The pages of one sequence, in order of positions.
class PageTable {
 public:
  /// Room for `capacity` positions; never grows beyond.
  explicit PageTable(int32_t capacity);

  /// Takes over cached pages of a common prefix of at most `limit` tokens; returns how many positions they hold.
  int32_t adoptPrefix(PagePool& pool, int64_t tenant, std::span<const int32_t> tokens, int32_t limit);
  /// Makes room for `positions` positions; false (with what it could get kept) if the pool is exhausted.
  bool reserve(PagePool& pool, int32_t positions);
  /// Enrols all full pages below `positions`, whose tokens are given.
  void enroll(PagePool& pool, int64_t tenant, std::span<const int32_t> tokens, int32_t positions);
  /// Gives back the pages beyond `positions`.
  void rollBack(PagePool& pool, int32_t positions);
  /// Gives back everything.
  void clear(PagePool& pool);

  int32_t slot(int32_t position) const;
  /// Positions there is room for.
  int32_t room() const;
  const int32_t* pages() const { return pages_.data(); }
  int32_t size() const { return static_cast<int32_t>(pages_.size()); }

 private:
  std::vector<int32_t> pages_;
  std::vector<ChainSerial> serials_;  ///< of the enrolled prefix of pages_
};

}  // namespace foretoken
