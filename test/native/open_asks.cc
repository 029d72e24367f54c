// What plans with the head and without it would have brought, against what the whole text says at once.
#include "speculate/open_asks.h"

#include <algorithm>
#include <array>
#include <map>
#include <random>

#include "check.h"

namespace foretoken {
namespace {

constexpr int kDepth = 6, kNodes = 24, kLength = 300, kVocabulary = 3;

using Random = std::mt19937;
int below(Random& random, int bound) { return static_cast<int>(random() % static_cast<unsigned>(bound)); }

struct Draft {
  std::vector<DraftNode> nodes;
  std::vector<uint8_t> selected;  // no child without its parent
};

Draft randomDraft(Random& random) {
  Draft draft;
  for (int n = below(random, kNodes + 1); n > 0; --n) {
    const int32_t parent = below(random, static_cast<int>(draft.nodes.size()) + 1) - 1;
    const int32_t depth = parent < 0 ? 1 : draft.nodes[parent].depth + 1;
    if (depth > kDepth) break;
    draft.nodes.push_back({below(random, kVocabulary), parent, depth, 0.5f});
    draft.selected.push_back((parent < 0 || draft.selected[parent] != 0) && below(random, 4) > 0);
  }
  return draft;
}

/// Tokens that a round with this plan would have emitted.
int32_t emits(const Draft& draft, const std::vector<int32_t>& text, int32_t start) {
  const auto length = static_cast<int32_t>(text.size());
  int32_t most = 0;
  for (size_t n = 0; n < draft.nodes.size(); ++n) {
    bool right = draft.selected[n] != 0;
    for (int32_t at = static_cast<int32_t>(n); at >= 0 && right; at = draft.nodes[at].parent) {
      const int32_t place = start + draft.nodes[at].depth - 1;
      right = place < length && text[place] == draft.nodes[at].token;
    }
    if (right) most = std::max(most, draft.nodes[n].depth);
  }
  return std::min(most + 1, length - start);
}

OpenAsks::Plan planOf(const Draft& draft) { return {draft.nodes, draft.selected.data()}; }

/// Rounds of any length: every ask is reported once, and as the whole text decides it.
void saysWhatTheTextSays() {
  Random random(11);
  int reported = 0, gained = 0;
  for (int run = 0; run < 50; ++run) {
    std::vector<int32_t> text(kLength);
    for (int32_t& token : text) token = below(random, kVocabulary);
    OpenAsks open(kDepth, 2 * kNodes);
    std::map<int32_t, int32_t> expected, got;  // by the bucket, which numbers the rounds here
    for (int32_t length = 1; length < kLength;) {
      const Draft with = randomDraft(random), without = below(random, 3) == 0 ? with : randomDraft(random);
      open.add({length, 0.5, 0.25}, length, planOf(with), planOf(without));
      expected[length] = emits(with, text, length) - emits(without, text, length);
      length = std::min(kLength, length + 1 + below(random, kDepth));
      open.settle(std::span(text).first(length), length == kLength, [&](const OpenAsks::Ask& ask, int32_t tokens) {
        CHECK(ask.promised == 0.5 && ask.passes == 0.25 && !got.contains(ask.bucket));
        got[ask.bucket] = tokens;
        ++reported;
        gained += tokens != 0;
      });
    }
    CHECK(got == expected);
  }
  CHECK(reported > 2000 && gained > 500);
}

/// A plan that another one was preferred to is not judged by the tokens of the round alone.
void waitsForTheText() {
  const std::array<DraftNode, 3> chain = {{{7, -1, 1, 1}, {8, 0, 2, 1}, {9, 1, 3, 1}}};
  const std::array<uint8_t, 3> all = {1, 1, 1}, none = {0, 0, 0};
  const std::array<int32_t, 5> text = {1, 7, 8, 9, 4};
  OpenAsks open(kDepth, 6);
  open.add({2, 0, 0}, 1, {chain, none.data()}, {chain, all.data()});
  int calls = 0;
  const auto expectGain = [&](const OpenAsks::Ask& ask, int32_t tokens) {
    CHECK(ask.bucket == 2 && tokens == -3);
    ++calls;
  };
  open.settle(std::span(text).first(2), false, expectGain);
  CHECK(calls == 0);
  open.settle(text, false, expectGain);
  CHECK(calls == 1);
  open.settle(text, true, expectGain);
  CHECK(calls == 1);
}

}  // namespace
}  // namespace foretoken

int main() {
  foretoken::saysWhatTheTextSays();
  foretoken::waitsForTheText();
  return foretoken::test::finish("open_asks");
}
