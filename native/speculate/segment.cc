#include "speculate/segment.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "speculate/dot.h"

namespace foretoken {
namespace {

constexpr int kWalk = 24;  ///< links followed per n-gram length and segment

uint32_t mix(uint32_t hash, int32_t token) {
  hash = (hash ^ static_cast<uint32_t>(token)) * 0x9e3779b1u;
  return hash ^ (hash >> 15);
}

}  // namespace

TextSegment::TextSegment(int32_t capacity, KeyForm keys)
    : capacity_(capacity),
      mask_(std::bit_ceil(static_cast<uint32_t>(std::max(capacity, 16))) - 1),
      tokens_(capacity),
      keys_(keys == KeyForm::whole ? capacity : 0),
      packed_(keys == KeyForm::packed ? capacity : 0),
      praise_(keys == KeyForm::none ? 0 : capacity) {
  for (auto& heads : heads_) heads.resize(mask_ + 1);
  for (auto& links : links_) links.resize(capacity);
}

size_t TextSegment::bytes() const {
  return sizeof(int32_t) * (capacity_ + kSuffixOrders.size() * (capacity_ + mask_ + size_t{1})) +
         sizeof(WholeKey) * keys_.size() + sizeof(PackedKey) * (packed_.size() + bucketKeys_.size()) + praise_.size() +
         sizeof(int32_t) * (bucketBegin_.size() + bucketPlaces_.size()) + sizeof(uint64_t) * bucketLetters_.size();
}

uint64_t lettersBefore(const int32_t* text, int32_t place) {
  uint64_t letters = 0;
  for (int32_t i = 0; i < std::min(place, 8); ++i)
    letters |= static_cast<uint64_t>(static_cast<uint32_t>(text[place - 1 - i]) * 0x9e3779b1u >> 24) << 8 * i;
  return letters;
}

void TextSegment::append(int32_t token) {
  if (size_ == capacity_) return;
  tokens_[size_] = token;
  ++documentLength_;
  uint32_t hash = 0;
  int length = 0;
  for (size_t order = 0; order < kSuffixOrders.size() && kSuffixOrders[order] <= documentLength_; ++order) {
    for (; length < kSuffixOrders[order]; ++length) hash = mix(hash, tokens_[size_ - length]);
    int32_t& head = heads_[order][hash & mask_];
    links_[order][size_] = head;
    head = size_ + 1;
  }
  ++size_;
}

void TextSegment::endDocument() {
  if (size_ == capacity_ || documentLength_ == 0) return;
  tokens_[size_++] = kBorder;
  documentLength_ = 0;
}

void TextSegment::setKey(int32_t position, const int8_t* key) {
  if (position < static_cast<int32_t>(keys_.size())) std::copy_n(key, kKeyWidth, keys_[position].begin());
}

void TextSegment::setPackedKey(int32_t position, const uint8_t* key) {
  if (position < static_cast<int32_t>(packed_.size())) std::copy_n(key, kPackedKeyBytes, packed_[position].begin());
}

void TextSegment::freeze() {
  // A place needs a key before it and text behind it.
  const auto overPlaces = [&](auto&& visit) {
    for (int32_t place = size_ - 2; place > 0; --place)
      if (tokens_[place] != kBorder) visit(place, tokens_[place]);
  };
  const int32_t tokens = size_ == 0 ? 0 : *std::max_element(tokens_.begin(), tokens_.begin() + size_) + 1;
  bucketBegin_.assign(static_cast<size_t>(tokens) + 1, 0);
  overPlaces([&](int32_t, int32_t token) { ++bucketBegin_[token + 1]; });
  std::partial_sum(bucketBegin_.begin(), bucketBegin_.end(), bucketBegin_.begin());
  bucketPlaces_.resize(bucketBegin_.back());
  bucketKeys_.resize(bucketBegin_.back());
  bucketLetters_.resize(bucketBegin_.back());
  std::vector<int32_t> next(bucketBegin_);
  overPlaces([&](int32_t place, int32_t token) {
    const int32_t at = next[token]++;
    bucketPlaces_[at] = place;
    bucketKeys_[at] = packed_[place - 1];
    bucketLetters_[at] = lettersBefore(tokens_.data(), place);
  });
}

Bucket TextSegment::bucket(int32_t token) const {
  if (token < 0 || token + 1 >= static_cast<int32_t>(bucketBegin_.size())) return {};
  const int32_t begin = bucketBegin_[token], end = bucketBegin_[token + 1];
  return {std::span(bucketPlaces_).subspan(begin, end - begin),
          reinterpret_cast<const uint8_t*>(bucketKeys_.data() + begin), bucketLetters_.data() + begin};
}

void TextSegment::dotsBefore(std::span<const int32_t> places, const int8_t* query, int32_t* out) const {
  static const KeyDots dots = keyDotsPaths().front();
  const auto over = [&](const auto& keys, auto dot) {
    std::array<decltype(keys[0].data()), kDotsAtOnce> pointers;
    for (size_t i = 0; i < places.size(); ++i) pointers[i] = keys[places[i] - 1].data();
    dot(query, pointers.data(), static_cast<int>(places.size()), out);
  };
  keys_.empty() ? over(packed_, dots.packed) : over(keys_, dots.whole);
}

int32_t TextSegment::latest(int32_t token) const { return heads_[0][mix(0, token) & mask_] - 1; }

void TextSegment::lookup(std::span<const int32_t> context, int order, int limit, Voters& out) const {
  const int atLeast = kSuffixOrders[order];
  if (static_cast<int>(context.size()) < atLeast || size_ == 0) return;
  const int below = order + 1 < static_cast<int>(kSuffixOrders.size()) ? kSuffixOrders[order + 1] : kSuffixMaxMatch + 1;
  const int32_t* tail = context.data() + context.size() - 1;
  const int longest = std::min<int>(kSuffixMaxMatch, static_cast<int>(context.size()));
  uint32_t hash = 0;
  for (int i = 0; i < atLeast; ++i) hash = mix(hash, tail[-i]);
  int32_t at = heads_[order][hash & mask_];
  for (int step = 0; at > 0 && step < kWalk && limit > 0 && !out.full(); ++step, at = links_[order][at - 1]) {
    const int32_t last = at - 1;  // position where the match ends
    if (at >= size_ || tokens_[at] == kBorder) continue;
    const int reach = std::min<int>(longest, at);
    int length = 0;
    while (length < reach && tokens_[last - length] == tail[-length]) ++length;
    if (length < atLeast || length >= below) continue;
    const auto weight = static_cast<float>(length);
    out.room[out.count++] = {&tokens_[at], tokens_.data() + size_, weight, Origin::elsewhere, length};
    --limit;
  }
}

}  // namespace foretoken
