// What the target answered behind rejected drafts: random trees against what must be heard of them, node by node, and
// what recall makes of it.
#include "speculate/echoes.h"

#include <algorithm>
#include <deque>
#include <random>

#include "check.h"
#include "speculate/recall.h"

namespace foretoken {
namespace {

struct Random {
  std::mt19937 engine;
  int below(int bound) { return static_cast<int>(engine() % static_cast<uint32_t>(bound)); }
  Key key() {
    Key result;
    for (int8_t& number : result) number = static_cast<int8_t>(below(50) - 25);
    return result;
  }
};

/// A draft in a pass: its nodes, and of each the answer and the key.
struct Verified {
  std::vector<DraftNode> nodes;
  std::vector<int32_t> answers;
  std::vector<Key> keys;
  Key root;

  int32_t childOf(int32_t node, int32_t token) const {
    for (size_t n = 0; n < nodes.size(); ++n)
      if (nodes[n].parent == node && nodes[n].token == token && answers[n] != kUnheard) return static_cast<int32_t>(n);
    return -1;
  }
  void hear(Echoes& echoes, int32_t last) const {
    echoes.hear(
        nodes, last, [&](int32_t n) { return answers[n]; }, [&](int32_t n, int32_t token) { return childOf(n, token); },
        [&](int32_t n) { return n < 0 ? root.data() : keys[n].data(); });
  }
};

/// Of few different tokens, so that answers go on along the tree; a node is in the pass only where its parent is.
Verified randomTree(Random& random) {
  Verified tree{{}, {}, {}, random.key()};
  for (int n = 0, count = random.below(14); n < count; ++n) {
    const int32_t parent = random.below(n + 1) - 1;
    const int32_t token = random.below(5);
    const bool known = std::any_of(tree.nodes.begin(), tree.nodes.end(),
                                   [&](const DraftNode& node) { return node.parent == parent && node.token == token; });
    const bool above = parent < 0 || tree.answers[parent] != kUnheard;
    tree.nodes.push_back({known ? 100 + n : token, parent, parent < 0 ? 1 : tree.nodes[parent].depth + 1, 0.5f});
    tree.answers.push_back(above && random.below(6) > 0 ? random.below(5) : kUnheard);
    tree.keys.push_back(random.key());
  }
  return tree;
}

struct Heard {
  int32_t token;
  Key before;
  std::vector<int32_t> answer;
};

bool isAbove(const Verified& tree, int32_t node, int32_t below) {
  return below >= 0 && (below == node || isAbove(tree, node, tree.nodes[below].parent));
}

/// By its definition: from node to node along the answers.
Heard heardBehind(const Verified& tree, int32_t node) {
  const int32_t parent = tree.nodes[node].parent;
  Heard heard{tree.nodes[node].token, parent < 0 ? tree.root : tree.keys[parent], {}};
  for (bool goesOn = true; goesOn && heard.answer.size() < kEchoTokens;) {
    heard.answer.push_back(tree.answers[node]);
    goesOn = false;
    for (int32_t n = 0; n < static_cast<int32_t>(tree.nodes.size()) && !goesOn; ++n) {
      if (tree.nodes[n].parent != node || tree.nodes[n].token != heard.answer.back() || tree.answers[n] == kUnheard)
        continue;
      node = n;
      goesOn = true;
    }
  }
  return heard;
}

void checkEcho(const Echoes& echoes, int32_t echo, const Heard& heard) {
  CHECK(echoes.token(echo) == heard.token);
  CHECK(std::equal(heard.before.begin(), heard.before.end(), echoes.key(echo)));
  const std::span<const int32_t> answer = echoes.answer(echo);
  CHECK(std::equal(answer.begin(), answer.end(), heard.answer.begin(), heard.answer.end()));
}

void hearsWhatTheTextDoesNotTake() {
  Random random{std::mt19937(1)};
  Echoes echoes(64);
  std::deque<Heard> all;  // latest first
  int32_t count = 0, longest = 0;
  for (int pass = 0; pass < 2000; ++pass) {
    const Verified tree = randomTree(random);
    const auto nodes = static_cast<int32_t>(tree.nodes.size());
    int32_t last = random.below(nodes + 1) - 1;
    while (last >= 0 && tree.answers[last] == kUnheard) last = tree.nodes[last].parent;
    tree.hear(echoes, last);
    std::vector<int32_t> instead;
    for (int32_t n = 0; n < nodes; ++n) {
      if (tree.answers[n] == kUnheard || isAbove(tree, n, last)) continue;
      if (tree.nodes[n].parent == last && instead.size() < 4) instead.push_back(count);
      all.push_front(heardBehind(tree, n));
      longest = std::max(longest, static_cast<int32_t>(all.front().answer.size()));
      ++count;
    }
    CHECK(std::equal(instead.begin(), instead.end(), echoes.instead().begin(), echoes.instead().end()));
    all.resize(std::min<size_t>(all.size(), 64));
    CHECK(echoes.oldest() == std::max(0, count - 64));
    for (int32_t echo = echoes.oldest(); echo < count; ++echo) checkEcho(echoes, echo, all[count - 1 - echo]);
  }
  CHECK(count > 5000 && longest >= 4);
}

/// Those behind one token, latest first, and no others that are still there.
void findsThemByToken() {
  Random random{std::mt19937(2)};
  Echoes echoes(32);
  std::vector<int32_t> tokens;
  for (int i = 0; i < 500; ++i) {
    const Verified one{{{random.below(200), -1, 1, 0.5f}}, {random.below(9)}, {random.key()}, random.key()};
    one.hear(echoes, -1);
    tokens.push_back(one.nodes[0].token);
    const int32_t wanted = tokens[random.below(i + 1)];
    std::vector<int32_t> expected, found;
    for (int32_t echo = i; echo >= echoes.oldest(); --echo)
      if (tokens[echo] == wanted) expected.push_back(echo);
    for (int32_t echo = echoes.latest(wanted); echo >= echoes.oldest(); echo = echoes.before(echo))
      if (echoes.token(echo) == wanted) found.push_back(echo);
    CHECK(expected == found);
  }
}

/// A text of tokens that are said once each, with keys, whose last token is 7.
TextSegment noted(Random& random, const Key& state) {
  TextSegment text(20, KeyForm::whole);
  for (int32_t i = 0; i < 4; ++i) {
    text.setKey(i, (i == 3 ? state : random.key()).data());
    text.append(50 + i);
  }
  text.append(7);
  return text;
}

/// What was said behind another token is heard behind the one that came instead, but only then.
void hearsItBehindTheTokenThatCameInstead() {
  Random random{std::mt19937(3)};
  const TextSegment text = noted(random, random.key());
  const std::vector<int32_t> tokens(text.data(), text.data() + text.size());
  Echoes echoes(16);
  RecallDrafter drafter(&text, &echoes);
  std::array<DraftNode, 8> nodes;
  CHECK(drafter.draft({tokens, 0, 8}, nodes) == 0);
  const Verified wrong{{{8, -1, 1, 0.5f}, {20, 0, 2, 0.5f}, {9, -1, 1, 0.5f}},
                       {20, 21, kUnheard},
                       {random.key(), random.key(), random.key()},
                       random.key()};
  wrong.hear(echoes, -1);
  CHECK(drafter.draft({tokens, 0, 8}, nodes) == 2);
  CHECK(nodes[0].token == 20 && nodes[1].token == 21 && nodes[1].parent == 0);
  CHECK(drafter.draft({tokens, 0, 1}, nodes) == 1);
  Verified{{}, {}, {}, random.key()}.hear(echoes, -1);
  CHECK(drafter.draft({tokens, 0, 8}, nodes) == 0);
}

/// What was said behind a token where that was wrong is heard where it comes in a like state of mind.
void hearsItWhereTheTokenComesTrue() {
  Random random{std::mt19937(4)};
  const Key state = random.key(), other = random.key();
  const TextSegment text = noted(random, state);
  const std::vector<int32_t> tokens(text.data(), text.data() + text.size());
  const auto drafted = [&](const Key& before, int32_t token) {
    Echoes echoes(16);
    const Verified wrong{{{1, -1, 1, 0.5f}, {token, 0, 2, 0.5f}}, {3, 30}, {before, random.key()}, random.key()};
    wrong.hear(echoes, -1);
    Verified{{}, {}, {}, random.key()}.hear(echoes, -1);
    std::array<DraftNode, 8> nodes;
    const int count = RecallDrafter(&text, &echoes).draft({tokens, 0, 8}, nodes);
    return count > 0 ? std::pair(nodes[0].token, nodes[0].confidence) : std::pair(-1, 0.0f);
  };
  CHECK(drafted(state, 7).first == 30 && drafted(state, 7).second > 0.5f);
  CHECK(drafted(state, 6).first == -1);
  CHECK(drafted(other, 7).second < drafted(state, 7).second / 2);
}

}  // namespace
}  // namespace foretoken

int main() {
  using namespace foretoken;
  hearsWhatTheTextDoesNotTake();
  findsThemByToken();
  hearsItBehindTheTokenThatCameInstead();
  hearsItWhereTheTokenComesTrue();
  return test::finish("echoes");
}
