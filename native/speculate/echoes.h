// What the target has answered behind drafted tokens that did not come true.
//
// A pass answers behind every token that it verifies, also where the text takes another way: "if you had said that, I
// would go on so". Such an answer was given to nearly the same words. It is worth hearing twice: at once, behind the
// token that came instead, as texts often differ in one token and go on alike; and whenever the token that was wrong
// here is right in a like state of mind.
//
// Relatives: token recycling (arXiv 2408.08696) and lookahead decoding (arXiv 2402.02057), which keep such answers by
// their letters.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "speculate/drafter.h"
#include "speculate/packed_key.h"

namespace foretoken {

constexpr int kEchoTokens = 8;  ///< of one answer at most
constexpr int32_t kUnheard = -1;

/// The latest echoes of one sequence. An echo has a number, counted from 0 on.
class Echoes {
 public:
  /// Room for `capacity` echoes, rounded up to a power of two; hear() allocates nothing.
  explicit Echoes(int32_t capacity);

  /// Takes what a pass has answered behind those nodes of a draft that the text does not take. `last`: the deepest one
  /// that it takes, -1 = none. answerOf(node) is the token behind it, kUnheard where it is not in the pass;
  /// childOf(node, token) the node of that token below it, -1 where none is in the pass; keyOf(node) its key
  /// [kKeyWidth], of -1 that of the token above the draft.
  template <typename AnswerOf, typename ChildOf, typename KeyOf>
  void hear(std::span<const DraftNode> draft, int32_t last, AnswerOf answerOf, ChildOf childOf, KeyOf keyOf);

  /// The text's last token came of a pass that verified nothing.
  void hearNothing() { insteadCount_ = 0; }

  /// Those of the latest pass in whose place the text's last token came, at most kMostInstead.
  std::span<const int32_t> instead() const { return std::span(instead_).first(insteadCount_); }
  /// The latest echo behind a token with the hash of `token`, and the one before; below oldest() = none any more.
  int32_t latest(int32_t token) const { return heads_[bucketOf(token)]; }
  int32_t before(int32_t echo) const { return at(echo).link; }
  int32_t oldest() const { return count_ > capacity() ? count_ - capacity() : 0; }

  int32_t token(int32_t echo) const { return at(echo).token; }
  const int8_t* key(int32_t echo) const { return keys_[echo & (capacity() - 1)].data(); }
  /// Valid until capacity() more have been added.
  std::span<const int32_t> answer(int32_t echo) const { return std::span(at(echo).answer).first(at(echo).length); }
  int32_t capacity() const { return static_cast<int32_t>(echoes_.size()); }
  size_t bytes() const;

 private:
  struct Echo {
    int32_t token, link, length;
    std::array<int32_t, kEchoTokens> answer;
  };
  struct alignas(64) AlignedKey : Key {};
  static constexpr int kMostInstead = 4;

  void add(const int8_t* before, int32_t token, std::span<const int32_t> answer, bool instead);
  const Echo& at(int32_t echo) const { return echoes_[echo & (capacity() - 1)]; }
  size_t bucketOf(int32_t token) const { return static_cast<uint32_t>(token) & (heads_.size() - 1); }

  std::vector<Echo> echoes_;      ///< a ring
  std::vector<AlignedKey> keys_;  ///< of the same
  std::vector<int32_t> heads_;
  int32_t count_ = 0;
  std::array<int32_t, kMostInstead> instead_;
  int insteadCount_ = 0;
};

/// An answer goes on where the pass holds a node for it.
template <typename AnswerOf, typename ChildOf, typename KeyOf>
void Echoes::hear(std::span<const DraftNode> draft, int32_t last, AnswerOf answerOf, ChildOf childOf, KeyOf keyOf) {
  hearNothing();
  const auto isTaken = [&](int32_t node) {
    int32_t taken = last;
    while (taken > node) taken = draft[taken].parent;
    return taken == node;
  };
  for (int32_t n = 0; n < static_cast<int32_t>(draft.size()); ++n) {
    if (answerOf(n) == kUnheard || isTaken(n)) continue;
    std::array<int32_t, kEchoTokens> answer;
    size_t length = 0;
    for (int32_t at = n; at >= 0 && length < answer.size(); at = childOf(at, answer[length - 1]))
      answer[length++] = answerOf(at);
    add(keyOf(draft[n].parent), draft[n].token, std::span(answer).first(length), draft[n].parent == last);
  }
}

}  // namespace foretoken
