// The drafters on their own: what they find, what they must not find, what they cost.
#include "speculate/suffix.h"

#include <chrono>

#include "check.h"
#include "speculate/adversarial.h"
#include "speculate/library.h"
#include "speculate/prediction.h"

namespace foretoken {
namespace {

std::vector<int32_t> repeated(std::vector<int32_t> unit, int times) {
  std::vector<int32_t> result;
  for (int i = 0; i < times; ++i) result.insert(result.end(), unit.begin(), unit.end());
  return result;
}

TextSegment segmentOf(std::span<const int32_t> tokens, int capacity = 4096) {
  TextSegment segment(capacity);
  for (const int32_t token : tokens) segment.append(token);
  return segment;
}

/// The likeliest chain of a draft: always the best child.
std::vector<int32_t> mainChain(std::span<const DraftNode> nodes) {
  std::vector<int32_t> chain;
  for (int32_t parent = -1;;) {
    int32_t best = -1;
    for (int32_t n = 0; n < static_cast<int32_t>(nodes.size()); ++n) {
      if (nodes[n].parent == parent && (best < 0 || nodes[n].confidence > nodes[best].confidence)) best = n;
    }
    if (best < 0) return chain;
    chain.push_back(nodes[best].token);
    parent = best;
  }
}

void checkTree(std::span<const DraftNode> nodes, int maxDepth) {
  for (size_t n = 0; n < nodes.size(); ++n) {
    const DraftNode& node = nodes[n];
    CHECK(node.parent >= -1 && node.parent < static_cast<int32_t>(n));
    CHECK(node.depth == (node.parent < 0 ? 1 : nodes[node.parent].depth + 1) && node.depth <= maxDepth);
    CHECK(node.token >= 0 && node.confidence >= 0 && node.confidence <= 1);
    for (size_t m = 0; m < n; ++m) CHECK(nodes[m].parent != node.parent || nodes[m].token != node.token);
  }
}

void findsTheContinuation() {
  const auto tokens = std::vector<int32_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 50, 2, 3, 4};
  const TextSegment own = segmentOf(tokens);
  SuffixDrafter drafter(&own);
  std::array<DraftNode, 16> nodes;
  const int count = drafter.draft({tokens, 0, 5}, nodes);
  checkTree(std::span(nodes).first(count), 5);
  CHECK((mainChain(std::span(nodes).first(count)) == std::vector<int32_t>{5, 6, 7, 8, 9}));
}

/// A loop shorter than the draft: the drafter goes round it.
void goesRoundALoop() {
  const auto tokens = repeated({7, 8, 9}, 6);
  const TextSegment own = segmentOf(tokens);
  SuffixDrafter drafter(&own);
  std::array<DraftNode, 24> nodes;
  const int count = drafter.draft({tokens, 0, 12}, nodes);
  CHECK(mainChain(std::span(nodes).first(count)) == repeated({7, 8, 9}, 4));
}

void knowsNothingOfTheUnseen() {
  const auto tokens = std::vector<int32_t>{1, 2, 3, 4, 5};
  const TextSegment own = segmentOf(tokens);
  SuffixDrafter drafter(&own);
  std::array<DraftNode, 8> nodes;
  CHECK(drafter.draft({tokens, 0, 8}, nodes) == 0);
}

/// The same place, known by longer and longer matches: confidence may only grow.
void longerMatchesAreMoreConfident() {
  float last = 0;
  for (int length = 1; length <= 24; ++length) {
    std::vector<int32_t> tokens;
    for (int i = 0; i < length; ++i) tokens.push_back(100 + i);
    tokens.push_back(7);
    tokens.push_back(999);
    for (int i = 0; i < length; ++i) tokens.push_back(100 + i);
    const TextSegment own = segmentOf(tokens);
    SuffixDrafter drafter(&own);
    std::array<DraftNode, 1> nodes;
    CHECK(drafter.draft({tokens, 0, 1}, nodes) == 1 && nodes[0].token == 7);
    CHECK(nodes[0].confidence > last);
    last = nodes[0].confidence;
  }
  CHECK(last > 0.9f);
}

void branchesWhereVotesSplit() {
  const std::vector<int32_t> tokens = {1, 2, 3, 10, 41, 1, 2, 3, 20, 42, 1, 2, 3, 10, 43, 1, 2, 3};
  const TextSegment own = segmentOf(tokens);
  SuffixDrafter drafter(&own);
  std::array<DraftNode, 16> nodes;
  const int count = drafter.draft({tokens, 0, 2}, nodes);
  checkTree(std::span(nodes).first(count), 2);
  float ten = 0, twenty = 0;
  for (int n = 0; n < count; ++n) {
    if (nodes[n].depth == 1 && nodes[n].token == 10) ten = nodes[n].confidence;
    if (nodes[n].depth == 1 && nodes[n].token == 20) twenty = nodes[n].confidence;
  }
  CHECK(ten > twenty && twenty > 0);
}

void documentsDoNotTouch() {
  TextSegment text(64);
  for (const int32_t token : {1, 2, 3}) text.append(token);
  text.endDocument();
  for (const int32_t token : {4, 5, 6}) text.append(token);
  text.endDocument();
  std::array<Voter, 8> room;
  for (int order = 0; order < static_cast<int>(kSuffixOrders.size()); ++order) {
    Voters voters{room};
    text.lookup(std::vector<int32_t>{1, 2, 3}, order, 8, voters);  // ends at the border: nothing follows
    text.lookup(std::vector<int32_t>{3, 4}, order, 8, voters);
    for (int i = 0; i < voters.count; ++i) CHECK(*voters.room[i].next == 5 && voters.room[i].weight == 1);
  }
}

/// Every voter's tokens really are the end of the context, however the hashes fall.
void votersAreVerified() {
  uint32_t state = 7;
  std::vector<int32_t> tokens;
  for (int i = 0; i < 3000; ++i) {
    state = state * 1664525u + 1013904223u;
    tokens.push_back(static_cast<int32_t>(state >> 29));
  }
  const TextSegment text = segmentOf(tokens, 3000);
  std::array<Voter, 64> room;
  for (int end = 1; end < 3000; end += 37) {
    const auto context = std::span<const int32_t>(tokens).first(end);
    for (int order = 0; order < static_cast<int>(kSuffixOrders.size()); ++order) {
      Voters voters{room};
      text.lookup(context, order, 64, voters);
      for (int i = 0; i < voters.count; ++i) {
        const int64_t at = voters.room[i].next - text.data();
        const auto length = static_cast<int64_t>(voters.room[i].weight);
        CHECK(length >= kSuffixOrders[order]);
        CHECK(std::equal(context.end() - length, context.end(), text.data() + at - length));
      }
    }
  }
}

void fullSegmentsStopGrowing() {
  TextSegment text(10);
  for (int i = 0; i < 100; ++i) text.append(i % 5);
  CHECK(text.size() == 10 && text.room() == 0);
  text.endDocument();
  CHECK(text.size() == 10);
}

void tenantsAndSessionsAreApart() {
  TextLibrary library(64 << 20, 16 << 20, /*keys=*/false);
  const auto secret = repeated({11, 22, 33, 44, 55}, 3);
  library.add(*library.shelf("a", ""), secret, {});
  const auto drafted = [&](const std::string& tenant) {
    const auto context = std::vector<int32_t>{11, 22, 33};
    const TextSegment own = segmentOf(context);
    SuffixDrafter drafter(&own);
    const auto shelf = library.shelf(tenant, "");
    drafter.share(nullptr, shelf.get());
    std::array<DraftNode, 8> nodes;
    return drafter.draft({context, 0, 4}, nodes);
  };
  CHECK(drafted("a") > 0);
  CHECK(drafted("b") == 0);
  const std::string tenant = "a";
  library.forget(&tenant, nullptr);
  CHECK(drafted("a") == 0);
  CHECK(library.bytes() == 0);
}

/// The same match is trusted more in the sequence's own text than elsewhere; places of its prompt are told from its
/// answer.
void ownTextIsTrustedMore() {
  const std::vector<int32_t> text = {1, 2, 3, 7, 50}, context = {1, 2, 3};
  const auto confidence = [&](bool isOwn, int32_t promptLength) {
    TextLibrary library(64 << 20, 16 << 20, /*keys=*/false);
    const auto shelf = library.shelf("", "");
    if (!isOwn) library.add(*shelf, text, {});
    std::vector<int32_t> tokens = isOwn ? text : std::vector<int32_t>{60, 61, 62, 63, 50};
    tokens.insert(tokens.end(), context.begin(), context.end());
    const TextSegment own = segmentOf(tokens);
    SuffixDrafter drafter(&own);
    drafter.share(nullptr, shelf.get());
    std::array<DraftNode, 1> nodes;
    CHECK(drafter.draft({tokens, promptLength, 1}, nodes) == 1 && nodes[0].token == 7);
    return nodes[0].confidence;
  };
  const float elsewhere = confidence(false, 0), prompt = confidence(true, 5), answer = confidence(true, 0);
  CHECK(prompt > elsewhere && answer > elsewhere && prompt != answer);
  CHECK(confidence(true, 4) == prompt && confidence(true, 3) == answer);
}

std::vector<int32_t> manyTokens(int round) {
  std::vector<int32_t> document(5000);
  for (size_t i = 0; i < document.size(); ++i) document[i] = static_cast<int32_t>((i * 31 + round * 7919) % 5000);
  return document;
}

void libraryKeepsItsBudgets() {
  constexpr size_t kBudget = 6 << 20, kTenant = 2 << 20;
  TextLibrary library(kBudget, kTenant, /*keys=*/true);
  for (int round = 0; round < 200; ++round) {
    const std::string tenant = "t" + std::to_string(round % 7);
    library.add(*library.shelf(tenant, round % 3 ? "s" : ""), manyTokens(round), {});
    CHECK(library.bytes() <= kBudget);
    CHECK(library.shelf(tenant, "")->bytes() + library.shelf(tenant, "s")->bytes() <= kTenant);
  }
  CHECK(library.bytes() > kBudget / 2);
  library.charge("t1", kBudget);  // running requests come first
  CHECK(library.bytes() == kBudget);
  library.charge("t1", -static_cast<int64_t>(kBudget));
  CHECK(library.bytes() == 0);
}

size_t textsIn(const MemoryImage& image) { return std::count(image.tokens.begin(), image.tokens.end(), kBorder); }

/// For who keeps texts elsewhere none is lost to others': what gives way waits, and is taken once.
void whatGivesWayWaits() {
  TextLibrary library(2 << 20, 2 << 20, true, /*keepsDropped=*/true), forgetful(2 << 20, 2 << 20, true);
  const std::string a = "a";
  for (TextLibrary* each : {&library, &forgetful}) {
    const auto text = manyTokens(0);
    each->add(*each->shelf(a, ""), std::span(text).first(100), {});
    each->add(*each->shelf(a, "s"), std::span(text).first(100), {});
    for (int other = 0; other < 8; ++other) each->add(*each->shelf("b" + std::to_string(other), ""), text, {});
    CHECK(each->dropped() > 0 && each->shelf(a, "")->bytes() == 0 && each->bytes() <= 2 << 20);
  }
  CHECK(forgetful.waiting().empty() && forgetful.image(a).tokens.empty() && !forgetful.take(a));
  const auto names = library.waiting();
  CHECK(std::find(names.begin(), names.end(), a) != names.end());
  const auto other = manyTokens(1);
  library.add(*library.shelf(a, ""), std::span(other).first(50), {});
  const MemoryImage all = library.image(a);
  CHECK(all.tokens.size() == 152 && textsIn(all) == 2 && all.tokens[1] == manyTokens(0)[1]);
  CHECK(library.take(a) && !library.take(a) && library.image(a).tokens.size() == 51);
  const std::string b = library.waiting().front();
  library.forget(&b, nullptr);
  CHECK(library.image(b).tokens.empty() && library.waiting().size() == names.size() - 2);
}

/// A tenant's own running requests take the room of its older text: it is known that there was more.
void whatRunningRequestsPushOutIsKnown() {
  TextLibrary library(8 << 20, 2 << 20, true, /*keepsDropped=*/true);
  const std::string a = "a";
  for (int round = 0; round < 40; ++round) library.add(*library.shelf(a, ""), manyTokens(round), {});
  CHECK(library.dropped() == 0 && !library.isCut(a));  // within its own bound that is what becomes of old text
  library.charge(a, 2 << 20);
  CHECK(library.image(a).tokens.empty() && library.isCut(a));
  library.charge(a, -(2 << 20));
  library.shelf("b", "");
  CHECK(library.isCut(a));
  library.forget(&a, nullptr);
  CHECK(!library.isCut(a));
}

/// What a tenant holds, and in which order it loses it, has nothing to do with the others as long as all fit.
void tenantsDoNotPushEachOtherOut() {
  TextLibrary alone(64 << 20, 1 << 20, true), crowded(64 << 20, 1 << 20, true);
  for (int round = 0; round < 60; ++round) {
    const std::string session = round % 3 ? "s" + std::to_string(round % 5) : "";
    alone.add(*alone.shelf("a", session), manyTokens(round), {});
    for (int other = 0; other < round % 4; ++other)
      crowded.add(*crowded.shelf("b" + std::to_string(other), session), manyTokens(round + other), {});
    crowded.add(*crowded.shelf("a", session), manyTokens(round), {});
    for (const char* name : {"", "s1", "s2", "s3", "s4", "s0"}) {
      const auto one = alone.shelf("a", name), two = crowded.shelf("a", name);
      CHECK(one->bytes() == two->bytes() && one->segments().size() == two->segments().size());
      for (size_t i = 0; i < one->segments().size(); ++i) {
        const TextSegment &x = *one->segments()[i], &y = *two->segments()[i];
        CHECK(x.size() == y.size() && std::equal(x.data(), x.data() + x.size(), y.data()));
      }
    }
  }
}

/// A conversation that grows is shelved once, turn by turn.
void knownBeginningsAreNotShelvedAgain() {
  TextLibrary library(64 << 20, 64 << 20, false);
  const auto shelf = library.shelf("a", "");
  const auto document = manyTokens(1);
  library.add(*shelf, std::span(document).first(1600), {});
  library.add(*shelf, std::span(document).first(1600), {});
  CHECK(shelf->segments().size() == 1 && shelf->segments()[0]->size() == 1601);
  library.add(*shelf, std::span(document).first(1700), {});
  CHECK(shelf->segments()[0]->size() == 1601 + 8 + 100 + 1);
  for (int again = 0; again < 3; ++again) library.add(*shelf, std::span(document).subspan(1800, 37), {});
  CHECK(shelf->segments()[0]->size() == 1710 + 37 + 1);
}

void predictionFollowsAndFindsBack() {
  std::vector<int32_t> prediction;
  for (int i = 0; i < 60; ++i) prediction.push_back(100 + i);
  PredictionDrafter drafter(prediction);
  std::array<DraftNode, 8> nodes;
  std::vector<int32_t> tokens = {1, 2, 3};
  CHECK(drafter.draft({tokens, 3, 4}, nodes) == 4 && nodes[0].token == 100 && nodes[3].token == 103);
  const float unsure = nodes[0].confidence;
  for (int i = 0; i < 10; ++i) tokens.push_back(100 + i);
  CHECK(drafter.draft({tokens, 3, 4}, nodes) == 4 && nodes[0].token == 110);
  CHECK(nodes[0].confidence > unsure);
  tokens.push_back(7);  // something else was said instead of 110 ..
  CHECK(drafter.draft({tokens, 3, 4}, nodes) == 0);
  for (int i = 20; i < 23; ++i) tokens.push_back(100 + i);  // .. and from 120 on it goes on as predicted
  CHECK(drafter.draft({tokens, 3, 4}, nodes) == 4 && nodes[0].token == 123);
  for (int i = 23; i < 60; ++i) tokens.push_back(100 + i);
  CHECK(drafter.draft({tokens, 3, 4}, nodes) == 0);  // at its end
}

/// After an edit in a text of like lines it goes on with the next line, not with one far below.
void predictionKeepsItsPlace() {
  enum : int32_t { key, equals, one, semicolon, newline, nine, seven, number };
  const auto line = [](int i) { return std::vector<int32_t>{key, number + i, equals, one, semicolon, newline}; };
  std::array<DraftNode, 6> nodes;
  // The drafts for the tokens after `edit`, which comes in line 2 instead of the value.
  const auto draftAfter = [&](const std::vector<int32_t>& prediction, const std::vector<int32_t>& edit) {
    PredictionDrafter drafter(prediction);
    std::vector<int32_t> tokens(prediction.begin(), prediction.begin() + 9);
    drafter.draft({tokens, 0, 6}, nodes);
    for (const int32_t token : edit) {
      tokens.push_back(token);
      std::fill(nodes.begin(), nodes.end(), DraftNode{});
      drafter.draft({tokens, 0, 6}, nodes);
    }
    std::vector<int32_t> drafted;
    for (const DraftNode& node : nodes) drafted.push_back(node.token);
    return drafted;
  };
  std::vector<int32_t> many, few;
  for (int i = 1; i <= 40; ++i) {
    const auto next = line(i);
    many.insert(many.end(), next.begin(), next.end());
    if (i > 12) continue;
    few.insert(few.end(), next.begin(), next.end());
    if (i == 8) few.insert(few.end() - 3, {nine, seven});
  }
  CHECK(draftAfter(many, {nine, semicolon, newline}) == line(3));
  // Line 8 is tried, and is wrong.
  CHECK(draftAfter(few, {nine, semicolon, newline}) == line(3));
  CHECK(draftAfter(few, {nine, seven, semicolon, newline}) == line(3));
  // Behind the anchor too: line 1 comes again.
  CHECK((draftAfter(many, {one, semicolon, newline, key, number + 1}) ==
         std::vector<int32_t>{equals, one, semicolon, newline, key, number + 2}));
}

void adversaryMakesValidTrees() {
  const auto tokens = repeated({1, 2, 3, 4, 5, 6}, 8);
  const TextSegment own = segmentOf(tokens);
  SuffixDrafter suffix(&own);
  AdversarialDrafter adversary(&suffix, 50, 1);
  std::array<DraftNode, 20> nodes;
  for (int round = 0; round < 400; ++round) {
    const int depth = 1 + round % 9;
    const int count = adversary.draft({tokens, 0, depth}, std::span(nodes).first(1 + round % 20));
    CHECK(count <= 1 + round % 20);
    checkTree(std::span<const DraftNode>(nodes).first(count), depth);
  }
}

void printsItsCost() {
  std::vector<int32_t> tokens;
  uint32_t state = 3;
  for (int i = 0; i < 20000; ++i) {
    state = state * 1664525u + 1013904223u;
    tokens.push_back(static_cast<int32_t>(((state >> 16) * (state >> 24)) % 2000));
  }
  const auto begin = std::chrono::steady_clock::now();
  const TextSegment own = segmentOf(tokens, 20000);
  const auto filled = std::chrono::steady_clock::now();
  SuffixDrafter drafter(&own);
  std::array<DraftNode, 16> nodes;
  int total = 0;
  for (int end = 1000; end < 20000; end += 10)
    total += drafter.draft({std::span<const int32_t>(tokens).first(end), 0, 8}, nodes);
  const auto done = std::chrono::steady_clock::now();
  const auto micros = [](auto duration) { return std::chrono::duration<double, std::micro>(duration).count(); };
  std::printf("append %.3f us a token, draft %.2f us a call (%.1f nodes)\n", micros(filled - begin) / 20000,
              micros(done - filled) / 1900, total / 1900.0);
}

}  // namespace
}  // namespace foretoken

int main() {
  using namespace foretoken;
  findsTheContinuation();
  goesRoundALoop();
  knowsNothingOfTheUnseen();
  longerMatchesAreMoreConfident();
  branchesWhereVotesSplit();
  documentsDoNotTouch();
  votersAreVerified();
  fullSegmentsStopGrowing();
  tenantsAndSessionsAreApart();
  ownTextIsTrustedMore();
  libraryKeepsItsBudgets();
  whatGivesWayWaits();
  whatRunningRequestsPushOutIsKnown();
  tenantsDoNotPushEachOtherOut();
  knownBeginningsAreNotShelvedAgain();
  predictionFollowsAndFindsBack();
  predictionKeepsItsPlace();
  adversaryMakesValidTrees();
  printsItsCost();
  return test::finish("suffix");
}
