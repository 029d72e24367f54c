// The recall drafter on its own: what is near, who votes, whose memory it is, what a lookup costs at a million entries.
#include "speculate/recall.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <numeric>
#include <random>

#include "check.h"
#include "speculate/dot.h"
#include "speculate/library.h"
#include "speculate/memory.h"
#include "speculate/recall_score.h"

namespace foretoken {
namespace {

struct Random {
  std::mt19937 engine;
  int below(int bound) { return static_cast<int>(engine() % static_cast<uint32_t>(bound)); }
  Key key(int scale = 60) {
    Key result;
    for (int8_t& number : result) number = static_cast<int8_t>(below(scale) - scale / 2);
    return result;
  }
};

Key near(const Key& key, Random& random, int blur) {
  Key result = key;
  for (int8_t& number : result) number = static_cast<int8_t>(number + random.below(2 * blur + 1) - blur);
  return result;
}

using PackedKey = std::array<uint8_t, kPackedKeyBytes>;

PackedKey packed(const Key& key) {
  PackedKey result;
  packKey(key.data(), result.data());
  return result;
}

void append(TextSegment& text, int32_t token, const Key& key) {
  text.setKey(text.size(), key.data());
  text.setPackedKey(text.size(), packed(key).data());
  text.append(token);
}

/// All of a fixed list, as a shelf would give them.
struct Shelf final : TextSource {
  std::span<const TextSegment* const> segments() const override { return list; }
  uint64_t version() const override { return 0; }
  std::vector<const TextSegment*> list;
};

int32_t dotOf(const int8_t* a, const int8_t* b) {
  int32_t sum = 0;
  for (int j = 0; j < kKeyWidth; ++j) sum += a[j] * b[j];
  return sum;
}

void pathsAgree() {
  Random random{std::mt19937(1)};
  std::vector<Key> keys(300);
  std::vector<const int8_t*> pointers;
  for (Key& key : keys) {
    for (int8_t& number : key) number = static_cast<int8_t>(random.below(255) - 127);
    pointers.push_back(key.data());
  }
  keys[0].fill(-127);
  keys[1].fill(127);
  std::vector<PackedKey> packedKeys(keys.size());
  std::vector<const uint8_t*> packedPointers;
  for (PackedKey& key : packedKeys) {
    for (uint8_t& byte : key) byte = static_cast<uint8_t>(random.below(256));
    packedPointers.push_back(key.data());
  }
  packedKeys[0].fill(0);
  packedKeys[1].fill(0xaa);
  const auto count = static_cast<int>(keys.size());
  for (const KeyDots& path : keyDotsPaths()) {
    for (int q = 0; q < 20; ++q) {
      std::vector<int32_t> dots(keys.size());
      path.whole(keys[q].data(), pointers.data(), count, dots.data());
      for (int i = 0; i < count; ++i) CHECK(dots[i] == dotOf(keys[q].data(), keys[i].data()));
      path.packed(keys[q].data(), packedPointers.data(), count, dots.data());
      for (int i = 0; i < count; ++i) CHECK(dots[i] == dotOf(keys[q].data(), unpackKey(packedKeys[i].data()).data()));
    }
  }
}

/// The best places, against a look at every place there is.
void findsTheNearest(KeyForm form) {
  Random random{std::mt19937(2)};
  TextSegment text(4000, form);
  for (int i = 0; i < 4000; ++i) append(text, random.below(40), random.key());
  for (int round = 0; round < 50; ++round) {
    const Key query = random.key();
    const std::vector<int32_t> context = {random.below(40), random.below(40), random.below(40)};
    std::vector<float> expected;
    for (int place = 1; place + 1 < text.size(); ++place) {
      if (text.data()[place] != context.back()) continue;
      const int32_t dot = dotOf(query.data(), text.key(place - 1).data());
      int same = 0;
      while (same < 2 && same < place && text.data()[place - 1 - same] == context[1 - same]) ++same;
      if (dot > 0) expected.push_back(static_cast<float>(dot) / (127.0f * 127.0f) + 0.04f * static_cast<float>(same));
    }
    std::sort(expected.rbegin(), expected.rend());
    Neighbours neighbours;
    const int looked = neighbours.search(text, context, query.data(), kRecallScan);
    CHECK(looked < kRecallScan);
    CHECK(neighbours.best().size() == std::min<size_t>(expected.size(), kRecallVoters));
    for (size_t i = 0; i < neighbours.best().size(); ++i) CHECK(neighbours.best()[i].score == expected[i]);
  }
}

/// One token, said in two states of mind: what is drafted depends on the state, not on the letters.
void meaningDecides() {
  Random random{std::mt19937(3)};
  const Key one = random.key(), other = random.key();
  TextSegment own(200, KeyForm::whole);
  for (int i = 0; i < 6; ++i) {
    const bool first = i % 2 == 0;
    append(own, 100 + i, near(first ? one : other, random, 3));
    append(own, 7, random.key());
    for (int k = 0; k < 4; ++k) append(own, (first ? 20 : 30) + k, random.key());
  }
  for (const bool first : {true, false}) {
    std::vector<int32_t> tokens(own.data(), own.data() + own.size());
    TextSegment text = own;
    append(text, 99, near(first ? one : other, random, 3));
    append(text, 7, Key{});
    tokens.insert(tokens.end(), {99, 7});
    RecallDrafter drafter(&text);
    std::array<DraftNode, 4> nodes;
    CHECK(drafter.draft({tokens, 0, 4}, nodes) == 4);
    for (int k = 0; k < 4; ++k) CHECK(nodes[k].token == (first ? 20 : 30) + k && nodes[k].depth == k + 1);
    CHECK(nodes[0].confidence > 0.8f);
  }
}

/// Where neighbours differ the draft branches, the nearer ones louder.
void votesAreCounted() {
  Random random{std::mt19937(4)};
  const Key query = random.key();
  TextSegment own(200, KeyForm::whole);
  for (int i = 0; i < 8; ++i) {
    append(own, 50 + i, near(query, random, i < 5 ? 2 : 14));
    append(own, 7, random.key());
    append(own, i < 5 ? 11 : 12, random.key());
  }
  append(own, 60, query);
  append(own, 7, Key{});
  const std::vector<int32_t> tokens(own.data(), own.data() + own.size());
  RecallDrafter drafter(&own);
  std::array<DraftNode, 16> nodes;
  const int count = drafter.draft({tokens, 0, 1}, nodes);
  CHECK(count == 2 && nodes[0].token == 11 && nodes[1].token == 12);
  CHECK(nodes[0].confidence > 2 * nodes[1].confidence && nodes[0].confidence + nodes[1].confidence <= 1);
}

/// A loop of one's own: behind the end of the known text letters go on.
void goesRoundALoop() {
  Random random{std::mt19937(5)};
  std::array<Key, 3> states = {random.key(), random.key(), random.key()};
  TextSegment own(100, KeyForm::whole);
  std::vector<int32_t> tokens;
  for (int i = 0; i < 18; ++i) {
    append(own, 7 + i % 3, near(states[i % 3], random, 1));
    tokens.push_back(7 + i % 3);
  }
  RecallDrafter drafter(&own);
  std::array<DraftNode, 12> nodes;
  CHECK(drafter.draft({tokens, 0, 12}, nodes) == 12);
  for (int k = 0; k < 12; ++k) CHECK(nodes[k].token == 7 + k % 3);
}

void knowsNothingWithoutKeys() {
  TextSegment own(20, KeyForm::whole), keyless(20);
  std::vector<int32_t> tokens = {1, 2, 3, 1, 2, 3, 1, 2};
  for (const int32_t token : tokens) own.append(token), keyless.append(token);
  std::array<DraftNode, 4> nodes;
  CHECK(RecallDrafter(&own).draft({tokens, 0, 4}, nodes) == 0);
  CHECK(RecallDrafter(&keyless).draft({tokens, 0, 4}, nodes) == 0);
  CHECK(RecallDrafter(&own).draft({std::span<const int32_t>(tokens).first(1), 0, 4}, nodes) == 0);
}

/// Text that the session and the tenant both hold votes once.
void knownTwiceVotesOnce() {
  Random random{std::mt19937(6)};
  TextSegment text(20, KeyForm::whole);
  for (const int32_t token : {5, 7, 8, 9}) append(text, token, random.key());
  Neighbours once, twice;
  const std::vector<int32_t> context = {5, 7};
  once.search(text, context, text.key(0).data(), 100);
  const TextSegment copy = text;
  twice.search(text, context, text.key(0).data(), 100);
  twice.search(copy, context, text.key(0).data(), 100);
  CHECK(once.best().size() == 1 && twice.best().size() == 1);
  twice.clear();
  twice.search(text, context, text.key(0).data(), 100);
  twice.search(copy, context, text.key(0).data(), 100, kElsewhere);
  CHECK(twice.best().size() == 1 && twice.best()[0].segment == &text);
}

/// Of two texts that are equally like the present one, the own one has the say; one that is more alike outvotes it.
void theOwnTextCountsMore() {
  Random random{std::mt19937(9)};
  const Key state = random.key(50);  // products below 1, where weights are not at their most
  const auto text = [&](std::initializer_list<int32_t> before, int32_t next) {
    TextSegment segment(20, KeyForm::whole);
    for (const int32_t token : before) append(segment, token, state);
    for (const int32_t token : {7, next, kBorder}) append(segment, token, random.key());
    return segment;
  };
  const TextSegment own = text({1}, 20), other = text({2}, 30), alike = text({3, 4, 5}, 40);
  const std::vector<int32_t> context = {3, 4, 5, 7};
  const auto next = [&](const TextSegment& elsewhere, float handicap) {
    Neighbours neighbours;
    neighbours.search(elsewhere, context, state.data(), 100, handicap);
    neighbours.search(own, context, state.data(), 100);
    const Neighbour& best = neighbours.best()[0];
    return best.segment->data()[best.place + 1];
  };
  CHECK(next(other, kElsewhere) == 20);
  CHECK(next(other, 0) == 30);
  CHECK(next(alike, kElsewhere) == 40);

  TextSegment now(20, KeyForm::whole), twice(20, KeyForm::whole);
  for (const int32_t token : {1, 7, 20, 4}) append(now, token, state);
  for (const int32_t token : {2, 7, 30, kBorder, 6, 7, 30, kBorder}) append(twice, token, near(state, random, 1));
  append(now, 7, Key{});
  const std::vector<int32_t> tokens(now.data(), now.data() + now.size());
  Shelf shelf;
  shelf.list = {&twice};
  RecallDrafter drafter(&now);
  drafter.share(&shelf, nullptr);
  std::array<DraftNode, 16> nodes;
  CHECK(drafter.draft({tokens, 0, 1}, nodes) == 2 && nodes[0].token == 20 && nodes[1].token == 30);
}

/// Beyond the letters that weights know of, a longer match still makes surer.
void longMatchesAreTrustedMore() {
  Random random{std::mt19937(10)};
  const Key state = random.key();
  float last = 0;
  for (const int length : {kSameTokens, 16, 32}) {
    TextSegment now(64, KeyForm::whole), other(64, KeyForm::whole);
    append(now, 98, state), append(other, 99, state);
    for (int i = 0; i < length; ++i) append(now, 100 + i, state), append(other, 100 + i, state);
    for (const int32_t token : {7, 20, kBorder}) append(other, token, random.key());
    append(now, 7, Key{});
    Shelf shelf;
    shelf.list = {&other};
    RecallDrafter drafter(&now);
    drafter.share(&shelf, nullptr);
    std::array<DraftNode, 1> nodes;
    const std::vector<int32_t> tokens(now.data(), now.data() + now.size());
    CHECK(drafter.draft({tokens, 0, 1}, nodes) == 1 && nodes[0].token == 20 && nodes[0].confidence > last);
    last = nodes[0].confidence;
  }
}

/// Laid out side by side, a text is found as it is along its chains: the same places, scores and order.
void findsTheSameInAFrozenText() {
  Random random{std::mt19937(13)};
  constexpr int kTokens = 9;
  const std::vector<Key> states = {random.key(), random.key(), random.key(), random.key()};
  const auto anyToken = [&] { return random.below(kTokens); };
  TextSegment chained(4000, KeyForm::packed), frozen(4000, KeyForm::packed);
  while (chained.room() > 1) {
    const PackedKey key = packed(near(states[random.below(4)], random, 20));
    const bool ends = random.below(20) == 0;
    const int32_t token = anyToken();
    for (TextSegment* text : {&chained, &frozen}) {
      if (ends) {
        text->endDocument();
      } else {
        text->setPackedKey(text->size(), key.data());
        text->append(token);
      }
    }
  }
  frozen.freeze();
  CHECK(frozen.isFrozen() && !chained.isFrozen());
  int found = 0;
  for (int i = 0; i < 300; ++i) {
    std::vector<int32_t> context(1 + random.below(12));
    for (int32_t& token : context) token = anyToken();
    if (i % 3 == 0) {  // as a stretch of the text goes
      const int32_t at = random.below(3900);
      context.assign(chained.data() + at, chained.data() + at + 10);
      if (std::count(context.begin(), context.end(), kBorder) > 0) context = {0};
    }
    const Key query = near(states[random.below(4)], random, 20);
    Neighbours ofChains, ofBuckets;
    ofChains.search(chained, context, query.data(), 4000, kElsewhere);
    ofBuckets.search(frozen, context, query.data(), 4000, kElsewhere);
    CHECK(ofChains.best().size() == ofBuckets.best().size());
    for (size_t n = 0; n < ofChains.best().size(); ++n) {
      const Neighbour &a = ofChains.best()[n], &b = ofBuckets.best()[n];
      CHECK(a.place == b.place && a.likeness == b.likeness && a.score == b.score);
      ++found;
    }
  }
  CHECK(found > 5000);
  Neighbours latest;
  CHECK(latest.search(frozen, std::vector<int32_t>{1, 2}, states[0].data(), 50) == 50);
  const auto places = frozen.bucket(2).places;
  for (const Neighbour& n : latest.best()) CHECK(n.place >= places[49]);
  CHECK(std::is_sorted(places.rbegin(), places.rend()) && !latest.best().empty());
  Neighbours none;
  CHECK(none.search(frozen, std::vector<int32_t>{1, kTokens}, states[0].data(), 100) == 0 && none.best().empty());
  TextSegment empty(4, KeyForm::packed);
  empty.freeze();
  CHECK(empty.isFrozen() && none.search(empty, std::vector<int32_t>{1, 2}, states[0].data(), 100) == 0);
}

void scansTheLatestFirst() {
  Random random{std::mt19937(7)};
  TextSegment text(3 * kRecallScan, KeyForm::whole);
  while (text.room() > 0) append(text, 7, random.key());
  Neighbours neighbours;
  const std::vector<int32_t> context = {1, 7};
  const Key query = random.key();
  CHECK(neighbours.search(text, context, query.data(), 500) == 500);
  for (const Neighbour& n : neighbours.best()) CHECK(n.place >= text.size() - 500);
}

/// However much a tenant says, what ships is looked through as well.
void tenantsDoNotCrowdOutWhatShips() {
  Random random{std::mt19937(12)};
  TextLibrary library(64 << 20, 16 << 20, true);
  const Key state = random.key();
  MemoryImage image;
  for (const int32_t token : {5, 7, 42, 43, kBorder}) image.tokens.push_back(token);
  const PackedKey key = packed(state);
  for (int i = 0; i < 5; ++i) image.keys.insert(image.keys.end(), key.begin(), key.end());
  const StaticMemory shipped(image, 100);
  TextSegment said(4 * kRecallScan, KeyForm::whole);
  while (said.room() > 0) append(said, 7, random.key());
  library.add(*library.shelf("a", ""), std::vector<int32_t>(said.data(), said.data() + said.size()), {&said});
  TextSegment own(4, KeyForm::whole);
  own.setKey(0, state.data());
  own.append(5);
  own.append(7);
  RecallDrafter drafter(&own);
  const auto ofTenant = library.shelf("a", "");
  drafter.share(nullptr, ofTenant.get(), &shipped);
  std::array<DraftNode, 8> nodes;
  const std::vector<int32_t> asked = {5, 7};
  const int count = drafter.draft({asked, 0, 4}, nodes);
  CHECK(std::any_of(nodes.begin(), nodes.begin() + count,
                    [](const DraftNode& node) { return node.depth == 1 && node.token == 42; }));
}

void tenantsAreApart() {
  Random random{std::mt19937(8)};
  TextLibrary library(64 << 20, 16 << 20, true);
  TextSegment said(20, KeyForm::whole);
  for (const int32_t token : {5, 7, 11, 12, 13, 14}) append(said, token, random.key());
  const std::vector<int32_t> document(said.data(), said.data() + said.size()), asked = {5, 7};
  library.add(*library.shelf("a", "s"), document, {&said});
  const auto drafted = [&](const char* tenant, const char* session) {
    TextSegment own(4, KeyForm::whole);
    own.setKey(0, said.key(0).data());
    own.append(5);
    own.append(7);
    RecallDrafter drafter(&own);
    const auto ofSession = library.shelf(tenant, session), ofTenant = library.shelf(tenant, "");
    drafter.share(ofSession.get(), ofTenant.get());
    std::array<DraftNode, 8> nodes;
    return drafter.draft({asked, 0, 4}, nodes);
  };
  CHECK(drafted("a", "s") == 4);
  CHECK(drafted("a", "t") == 0 && drafted("b", "s") == 0);
  const std::string tenant = "a", session = "s";
  library.forget(&tenant, &session);
  CHECK(drafted("a", "s") == 0 && library.bytes() == 0);
}

/// What served well outlives its segment; what never did goes with it.
void usefulTextStays() {
  Random random{std::mt19937(10)};
  constexpr size_t kTenant = 1200 << 10;
  TextLibrary library(64 << 20, kTenant, true);
  const auto shelf = library.shelf("a", "");
  std::map<int32_t, Key> states;
  const auto shelve = [&](std::vector<int32_t> document) {
    TextSegment keys(static_cast<int32_t>(document.size()), KeyForm::whole);
    for (const int32_t token : document) append(keys, token, states.try_emplace(token, random.key()).first->second);
    library.add(*shelf, document, {&keys});
  };
  const auto drafted = [&](int32_t first) {
    TextSegment own(8, KeyForm::whole);
    std::vector<int32_t> tokens = {first, first + 1};
    append(own, first, states.at(first));
    append(own, first + 1, states.at(first + 1));
    RecallDrafter drafter(&own);
    drafter.share(nullptr, shelf.get());
    std::array<DraftNode, 4> nodes;
    const int count = drafter.draft({tokens, 0, 4}, nodes);
    tokens.push_back(first + 2);  // the target said what the memory had said, and the drafter is asked again
    append(own, first + 2, states.at(first + 2));
    drafter.draft({tokens, 0, 4}, nodes);
    return count;
  };
  const auto countUp = [](int32_t from, int32_t count) {
    std::vector<int32_t> document(count);
    std::iota(document.begin(), document.end(), from);
    return document;
  };
  shelve(countUp(1000, 40));
  shelve(countUp(2000, 40));
  CHECK(drafted(1010) == 4);
  const TextSegment* first = shelf->segments().back();
  for (int32_t i = 0; shelf->segments().back() == first; ++i) shelve(countUp(10000 + 500 * i, 500));
  CHECK(shelf->segments().size() == 1 && shelf->bytes() <= kTenant);
  CHECK(drafted(1010) == 4);
  CHECK(drafted(2010) == 0);
  CHECK(shelf->segments()[0]->size() < 1100);
}

/// 32 segments of 32 k entries, tokens as frequent as words are: printed, not asserted.
void printsItsCost(KeyForm form) {
  Random random{std::mt19937(9)};
  Shelf shelf;
  std::vector<std::unique_ptr<TextSegment>> segments;
  const auto word = [&] {
    const double u = (random.below(1 << 20) + 1.0) / (1 << 20);
    return static_cast<int32_t>(std::min(40000.0, 1 / u) + random.below(1 + static_cast<int>(0.1 / u)));
  };
  Key key = random.key();
  for (int s = 0; s < 32; ++s) {
    segments.push_back(std::make_unique<TextSegment>(32768, form));
    while (segments.back()->room() > 0) {
      key[random.below(kKeyWidth)] = static_cast<int8_t>(random.below(60) - 30);
      append(*segments.back(), word(), key);
    }
    shelf.list.push_back(segments.back().get());
  }
  std::vector<double> micros;
  std::array<DraftNode, 48> nodes;
  TextSegment own(2002, KeyForm::whole);
  std::vector<int32_t> tokens;
  for (int i = 0; i < 2000; ++i) {
    tokens.push_back(word());
    append(own, tokens.back(), random.key());
    RecallDrafter drafter(&own);
    drafter.share(nullptr, &shelf);
    const auto begin = std::chrono::steady_clock::now();
    drafter.draft({tokens, 0, 16}, nodes);
    micros.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
  }
  std::sort(micros.begin(), micros.end());
  std::printf("a draft over 1,048,576 entries, keys %s: median %.1f us, 90 %% %.1f us, 99 %% %.1f us\n",
              form == KeyForm::packed ? "packed" : "whole", micros[1000], micros[1800], micros[1980]);
}

}  // namespace
}  // namespace foretoken

int main() {
  using namespace foretoken;
  pathsAgree();
  findsTheNearest(KeyForm::whole);
  findsTheNearest(KeyForm::packed);
  meaningDecides();
  votesAreCounted();
  goesRoundALoop();
  knowsNothingWithoutKeys();
  knownTwiceVotesOnce();
  theOwnTextCountsMore();
  longMatchesAreTrustedMore();
  findsTheSameInAFrozenText();
  scansTheLatestFirst();
  tenantsDoNotCrowdOutWhatShips();
  tenantsAreApart();
  usefulTextStays();
  printsItsCost(KeyForm::whole);
  printsItsCost(KeyForm::packed);
  return test::finish("recall");
}
