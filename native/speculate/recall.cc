#include "speculate/recall.h"

#include <algorithm>

#include "speculate/dot.h"
#include "speculate/recall_score.h"

namespace foretoken {
namespace {

static_assert(kSameTokens == sizeof(uint64_t));  // lettersBefore() has a byte of each
constexpr int kVotersAgain = 8;                  ///< asked by letters where a draft ran out of voters

/// Fits through 71,000 nodes drafted along 254 greedy answers of the default model to questions of eleven kinds, none
/// of them of Spec-Bench or the benches' streams, one after the other of each kind, with rejected drafts as the
/// controller makes them; 146 were asked twice, and nodes of the second time count three tenths. A token that places
/// and echoes both vote for is right much more often than its share says; one that echoes alone vote for, less; one
/// that the sequence's own text votes for, more; one behind a long match, most. Log loss of first and deeper tokens, on
/// quarters of the answers held back in turn: 0.358 and 0.339, where asked again 0.062 and 0.040; by votes and echoes
/// alone 0.365 and 0.352, 0.095 and 0.071.
constexpr VoteRules kRules = {
    .prior = kRecallRules.prior,
    .growth = kRecallRules.growth,
    .most = kRecallRules.most,
    .fitted = true,
    .first = {-0.271f, 0.606f, -0.238f, 0.237f, 0.228f, 0.0793f, 0.0633f, -0.0582f, -0.398f, 0.101f, 0, 1.23f, -1.12f,
              1.62f, 1.52f, -1.25f, -1.69f, 1.28f},
    .deeper = {-0.969f, 0.649f, -0.422f, 0.538f, 0.267f, -0.0315f, 0.0881f, 0.00696f, -0.0296f, -0.0652f, 0.0569f,
               0.615f, 0.618f, 1.73f, 1.92f, -1.16f, -1.54f, 1.93f}};

constexpr int kLongestMatch = 40;  ///< that is told from longer ones

/// Tokens before `place` that are those before the end of the context, at most `limit`.
int sameTokensBefore(const int32_t* text, int32_t place, std::span<const int32_t> context, int limit = kSameTokens) {
  const int32_t* tail = context.data() + context.size() - 1;
  const int most = std::min({limit, static_cast<int>(context.size()) - 1, static_cast<int>(place)});
  int same = 0;
  while (same < most && text[place - 1 - same] == tail[-1 - same]) ++same;
  return same;
}

/// Dots of a query with packed keys that lie side by side.
void packedDots(const int8_t* query, const uint8_t* keys, int count, int32_t* out) {
  static const KeyDots dots = keyDotsPaths().front();
  std::array<const uint8_t*, kDotsAtOnce> pointers;
  for (int i = 0; i < count; ++i) pointers[i] = keys + static_cast<size_t>(i) * kPackedKeyBytes;
  dots.packed(query, pointers.data(), count, out);
}

}  // namespace

int Neighbours::search(const TextSegment& segment, std::span<const int32_t> context, const int8_t* query, int scan,
                       float handicap) {
  if (segment.isFrozen()) return searchFrozen(segment, context, query, scan, handicap);
  std::array<int32_t, kDotsAtOnce> places, dots;
  const int32_t* text = segment.data();
  int looked = 0;
  for (int32_t place = segment.latest(context.back()); place >= 0 && looked < scan;) {
    int fetched = 0;  // all at once: one wait for memory instead of one a key
    for (; place >= 0 && fetched < kDotsAtOnce && looked < scan; place = segment.before(place), ++looked) {
      if (place == 0 || place + 1 >= segment.size()) continue;
      segment.prefetchKey(place - 1);
      __builtin_prefetch(text + place);
      places[fetched++] = place;
    }
    int count = 0;
    for (int i = 0; i < fetched; ++i) {
      if (text[places[i]] == context.back()) places[count++] = places[i];
    }
    segment.dotsBefore({places.data(), static_cast<size_t>(count)}, query, dots.data());
    for (int i = 0; i < count; ++i) {
      if (dots[i] <= 0) continue;
      const float likeness = recallScore(dots[i], sameTokensBefore(text, places[i], context));
      offer({&segment, places[i], likeness, likeness - handicap});
    }
  }
  return looked;
}

/// Reads on without a jump; text only of places that can still be among the best.
int Neighbours::searchFrozen(const TextSegment& segment, std::span<const int32_t> context, const int8_t* query,
                             int scan, float handicap) {
  const Bucket bucket = segment.bucket(context.back());
  const int looked = std::min(scan, static_cast<int>(bucket.places.size()));
  const uint64_t letters = lettersBefore(context.data(), static_cast<int32_t>(context.size()) - 1);
  std::array<int32_t, kDotsAtOnce> dots;
  for (int first = 0; first < looked; first += kDotsAtOnce) {
    const int count = std::min(kDotsAtOnce, looked - first);
    packedDots(query, bucket.keys + static_cast<size_t>(first) * kPackedKeyBytes, count, dots.data());
    // Two rounds, so that texts come while others are still looked for.
    int left = 0;
    std::array<int, kDotsAtOnce> kept;
    const auto best = [&](int i) {
      return recallScore(dots[i], mostSameLetters(letters, bucket.letters[first + i])) - handicap;
    };
    for (int i = 0; i < count; ++i) {
      if (dots[i] <= 0 || !admits(best(i))) continue;
      __builtin_prefetch(segment.data() + bucket.places[first + i]);
      kept[left++] = i;
    }
    for (const int i : std::span(kept).first(left)) {
      if (!admits(best(i))) continue;
      const int32_t place = bucket.places[first + i];
      const float likeness = recallScore(dots[i], sameTokensBefore(segment.data(), place, context));
      offer({&segment, place, likeness, likeness - handicap});
    }
  }
  return looked;
}

void Neighbours::search(const Echoes& echoes, int32_t token, const int8_t* query) {
  static const KeyDots dots = keyDotsPaths().front();
  for (const int32_t echo : echoes.instead()) offer({nullptr, echo, kInstead, kInstead});
  std::array<int32_t, kEchoScan> found, products;
  std::array<const int8_t*, kEchoScan> keys;
  int count = 0, looked = 0;
  for (int32_t echo = echoes.latest(token); echo >= echoes.oldest() && looked < kEchoScan; ++looked) {
    if (echoes.token(echo) == token) {
      found[count] = echo;
      keys[count++] = echoes.key(echo);
    }
    echo = echoes.before(echo);
  }
  dots.whole(query, keys.data(), count, products.data());
  for (int i = 0; i < count; ++i) {
    if (products[i] <= 0) continue;
    const float likeness = recallScore(products[i], 0);
    offer({nullptr, found[i], likeness, likeness + kEcho});
  }
}

void Neighbours::offer(const Neighbour& neighbour) {
  if (!admits(neighbour.score) || isRepeated(neighbour)) return;
  int at = count_ == kRecallVoters ? count_ - 1 : count_++;
  for (; at > 0 && best_[at - 1].score < neighbour.score; --at) best_[at] = best_[at - 1];
  best_[at] = neighbour;
}

/// The same text is often known twice, to the session and to the tenant: it votes once, where it was found first.
bool Neighbours::isRepeated(const Neighbour& neighbour) const {
  if (neighbour.segment == nullptr) return false;
  const auto keyOf = [](const Neighbour& n) { return n.segment->key(n.place - 1); };
  const int32_t next = neighbour.segment->data()[neighbour.place + 1];
  return std::any_of(best().begin(), best().end(), [&](const Neighbour& other) {
    return other.segment != nullptr && other.likeness == neighbour.likeness &&
           other.segment->data()[other.place + 1] == next && keyOf(other) == keyOf(neighbour);
  });
}

RecallDrafter::RecallDrafter(const TextSegment* own, const Echoes* echoes)
    : sources_{own}, echoes_(echoes), tree_(kRules) {}

int RecallDrafter::draft(const DraftInput& input, std::span<DraftNode> out) {
  const auto last = static_cast<int32_t>(input.tokens.size()) - 1;
  if (last < 1 || !sources_.own->hasKeys()) return 0;
  praise(input.tokens);
  sources_.promptLength = input.promptLength;
  search(input.tokens, sources_.own->key(last - 1).data());
  tree_.clear();
  Voters voters = tree_.room(kRecallVoters);
  for (const Neighbour& n : neighbours_.best()) voters.room[voters.count++] = voterOf(n, input.tokens);
  tree_.branch(-1, 1, 1, tree_.commit(voters));
  return tree_.grow(input.maxDepth, out, [&](std::span<const DraftNode> nodes) { return ask(input.tokens, nodes); });
}

Voter RecallDrafter::voterOf(const Neighbour& n, std::span<const int32_t> context) const {
  const float weight = kRecallWeights[recallWeightStep(n.score)];
  if (n.segment != nullptr) {
    const Origin origin = n.segment == sources_.own ? sources_.originOf(n.place + 1) : Origin::elsewhere;
    const int32_t* const text = n.segment->data();
    const int match = 1 + sameTokensBefore(text, n.place, context, kLongestMatch - 1);
    return {text + n.place + 1, text + n.segment->size(), weight, origin, match};
  }
  const std::span<const int32_t> answer = echoes_->answer(n.place);
  return {answer.data(), answer.data() + answer.size(), weight, Origin::echo};
}

/// Voters of the last draft that knew what the target then said have been useful. Those in text that is gone do not
/// matter any more.
void RecallDrafter::praise(std::span<const int32_t> tokens) {
  if (asked_ == 0 || tokens.size() <= asked_) return;
  const auto isThere = [&](size_t i) { return !sources_.shared[i] || sources_.shared[i]->version() == versions_[i]; };
  const bool all = isThere(0) && isThere(1);
  for (const Neighbour& n : neighbours_.best()) {
    if (n.segment == nullptr || (!all && n.segment != sources_.own)) continue;
    if (n.segment->data()[n.place + 1] == tokens[asked_]) n.segment->praise(n.place);
  }
}

void RecallDrafter::search(std::span<const int32_t> context, const int8_t* query) {
  neighbours_.clear();
  asked_ = context.size();
  for (size_t i = 0; i < versions_.size(); ++i) versions_[i] = sources_.shared[i] ? sources_.shared[i]->version() : 0;
  int left = kRecallScan - neighbours_.search(*sources_.own, context, query, kRecallScan);
  if (echoes_ != nullptr) neighbours_.search(*echoes_, context.back(), query);
  for (const TextSource* source : sources_.shared) {
    if (source == nullptr) continue;
    if (source == sources_.shared.back()) left = kFrozenScan;  // a tenant that has learned much does not crowd it out
    for (const TextSegment* segment : source->segments()) {
      if (segment->hasKeys()) left -= neighbours_.search(*segment, context, query, left, kElsewhere);
    }
  }
}

/// There is no hidden state of a drafted token, so behind the known text only letters can tell: a match of full length
/// weighs 1.
VoteTree::Range RecallDrafter::ask(std::span<const int32_t> context, std::span<const DraftNode> nodes) {
  Voters more = tree_.room(kVotersAgain);
  sources_.lookupBehind(context, nodes, kVotersAgain, more);
  for (Voter& voter : more.room.first(more.count)) voter.weight /= kSuffixMaxMatch;
  return tree_.commit(more);
}

}  // namespace foretoken
