// One stored text, found in two ways: by its letters (hash chains over n-grams, for the suffix drafter) and by what the
// target made of it (a key per position, for the recall drafter).
//
// A TextSegment is append-only and bounded. Its n-grams of a few lengths are chained as in LZ77 compressors: head[hash]
// = latest position, link[position] = the one before with the same hash. Lookups compare the stored tokens, so a hash
// collision finds nothing. The chain over single tokens is also recall's bucket: all places where a token was said,
// latest first. Oldest text is forgotten by the segment (see library.h).
#pragma once
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "backend.h"
#include "speculate/packed_key.h"
#include "speculate/votes.h"

namespace foretoken {

/// Lengths of the n-grams that are indexed; the first must be 1.
constexpr std::array<int, 5> kSuffixOrders = {1, 2, 3, 5, 8};
/// Matches are compared backwards up to this many tokens.
constexpr int kSuffixMaxMatch = 32;
/// Keys that one call compares.
constexpr int kDotsAtOnce = 64;

/// How a segment keeps the keys of its positions.
enum class KeyForm { none, whole, packed };

/// The places of one token, latest first, and what is before them, side by side.
struct Bucket {
  std::span<const int32_t> places;
  const uint8_t* keys;      ///< [places][kPackedKeyBytes]
  const uint64_t* letters;  ///< [places] lettersBefore()
};

/// A byte of each of the eight tokens before a place, the nearest lowest: how many tokens before two places are the
/// same can't be more than these let it be.
uint64_t lettersBefore(const int32_t* text, int32_t place);
inline int mostSameLetters(uint64_t a, uint64_t b) { return std::countr_zero(a ^ b) / 8; }

class TextSegment {
 public:
  /// Room for `capacity` tokens and their keys.
  explicit TextSegment(int32_t capacity, KeyForm keys = KeyForm::none);

  /// Appends a token. Beyond the capacity nothing is stored.
  void append(int32_t token);
  /// Marks a border that no match crosses: the end of a document.
  void endDocument();
  /// Stores the key [kKeyWidth] of a position, which may be one that is still to be appended. Only of KeyForm::whole.
  void setKey(int32_t position, const int8_t* key);
  /// The same of KeyForm::packed, with a key [kPackedKeyBytes].
  void setPackedKey(int32_t position, const uint8_t* key);
  /// Lays out the buckets of a text that is complete: nothing may be appended any more. Only of KeyForm::packed.
  void freeze();
  bool isFrozen() const { return !bucketBegin_.empty(); }
  /// Only where isFrozen().
  Bucket bucket(int32_t token) const;
  int32_t room() const { return capacity_ - size_; }
  int32_t size() const { return size_; }
  /// The stored text; voters point into it.
  const int32_t* data() const { return tokens_.data(); }
  bool hasKeys() const { return !praise_.empty(); }
  /// Key of a position; all zeros where none was set. Only where hasKeys().
  Key key(int32_t position) const { return keys_.empty() ? unpackKey(packed_[position].data()) : Key(keys_[position]); }
  /// Asks the cache for what dots() will read of a position.
  void prefetchKey(int32_t position) const {
    __builtin_prefetch(keys_.empty() ? static_cast<const void*>(&packed_[position]) : &keys_[position]);
  }
  /// out[i] = query · key(places[i] - 1), for at most kDotsAtOnce places.
  void dotsBefore(std::span<const int32_t> places, const int8_t* query, int32_t* out) const;
  size_t bytes() const;

  /// Counts that the text behind a place went on as the target did: what decides whether it outlives its segment. Kept
  /// by those who read, hence const, several at a time perhaps; up to 255. Only where hasKeys().
  void praise(int32_t place) const {
    const std::atomic_ref<uint8_t> count(praise_[place]);
    uint8_t seen = count.load(std::memory_order_relaxed);
    while (seen < 255 && !count.compare_exchange_weak(seen, seen + 1, std::memory_order_relaxed)) {
    }
  }
  int praiseOf(int32_t place) const { return praise_[place]; }

  /// Adds voters whose longest match with the end of `context` is at least kSuffixOrders[order] long and shorter than
  /// the next higher order, most recent first, at most `limit` of them; a voter's weight is the length of its match.
  void lookup(std::span<const int32_t> context, int order, int limit, Voters& out) const;

  /// The latest place where a token with the hash of `token` stands, and the one before `place`; -1 = none. Places of
  /// other tokens may be among them.
  int32_t latest(int32_t token) const;
  int32_t before(int32_t place) const { return links_[0][place] - 1; }

 private:
  struct alignas(64) WholeKey : Key {};
  using PackedKey = std::array<uint8_t, kPackedKeyBytes>;

  int32_t capacity_;
  uint32_t mask_;
  int32_t size_ = 0;
  int32_t documentLength_ = 0;  ///< tokens since the last border
  std::vector<int32_t> tokens_;
  std::array<std::vector<int32_t>, kSuffixOrders.size()> heads_;  ///< position + 1, 0 = none
  std::array<std::vector<int32_t>, kSuffixOrders.size()> links_;  ///< position + 1 of the previous one in the bucket
  std::vector<WholeKey> keys_;
  std::vector<PackedKey> packed_;
  std::vector<int32_t> bucketBegin_, bucketPlaces_;  ///< [tokens + 1], [places]; empty until frozen
  std::vector<PackedKey> bucketKeys_;
  std::vector<uint64_t> bucketLetters_;
  mutable std::vector<uint8_t> praise_;
};

/// The texts a sequence may draft from, dearest first. Spans stay valid during one draft call.
class TextSource {
 public:
  virtual ~TextSource() = default;
  /// Segments, most recent first.
  virtual std::span<const TextSegment* const> segments() const = 0;
  /// Another number as soon as a segment that was listed is gone.
  virtual uint64_t version() const = 0;
};

}  // namespace foretoken
