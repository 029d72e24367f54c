// Labels of drafted tokens that no pass verified, against labels read off the whole text at once.
#include "speculate/open_drafts.h"

#include <algorithm>
#include <map>
#include <random>
#include <tuple>

#include "check.h"

namespace foretoken {
namespace {

constexpr int kDepth = 6, kNodes = 24, kLength = 400, kVocabulary = 3;

using Random = std::mt19937;

int below(Random& random, int bound) { return static_cast<int>(random() % static_cast<unsigned>(bound)); }

/// start, depth, confidence, right
using Labelled = std::tuple<int32_t, int32_t, float, bool>;

std::vector<DraftNode> randomTree(Random& random) {
  std::vector<DraftNode> nodes;
  const int count = below(random, kNodes + 1);
  for (int n = 0; n < count; ++n) {
    const int32_t parent = below(random, n + 1) - 1;
    const int32_t depth = parent < 0 ? 1 : nodes[parent].depth + 1;
    if (depth > kDepth) break;
    nodes.push_back({below(random, kVocabulary), parent, depth, static_cast<float>(below(random, 1000))});
  }
  return nodes;
}

void readOff(const std::vector<int32_t>& text, const std::vector<DraftNode>& nodes, int32_t start,
             std::vector<Labelled>& out) {
  std::vector<bool> right(nodes.size());
  for (size_t n = 0; n < nodes.size(); ++n) {
    const DraftNode& node = nodes[n];
    const int32_t place = start + node.depth - 1;
    if ((node.parent >= 0 && !right[node.parent]) || place >= static_cast<int32_t>(text.size())) continue;
    right[n] = text[place] == node.token;
    out.emplace_back(start, node.depth, node.confidence, right[n]);
  }
}

/// Rounds of any length: the labels are those of text and drafts alone.
void labelsWhatTheTextSays() {
  Random random(5);
  for (int run = 0; run < 50; ++run) {
    std::vector<int32_t> text(kLength);
    for (int32_t& token : text) token = below(random, kVocabulary);
    OpenDrafts open(kDepth, kNodes);
    std::vector<Labelled> expected, got;
    int most = 0;
    for (int32_t length = 1; length < kLength;) {
      const auto nodes = randomTree(random);
      std::vector<int32_t> number;
      for (const DraftNode& node : nodes)
        number.push_back(open.add(DrafterId::recall, node, length, node.parent < 0 ? -1 : number[node.parent]));
      readOff(text, nodes, length, expected);
      most = std::max(most, open.size());
      length = std::min(kLength, length + 1 + (below(random, 3) == 0 ? below(random, 4) : 0));
      open.settle(std::span<const int32_t>(text).first(length), [&](const OpenDrafts::Label& label) {
        CHECK(label.drafter == DrafterId::recall);
        CHECK(label.start + label.depth <= length);
        got.emplace_back(label.start, label.depth, label.confidence, label.right);
      });
    }
    std::sort(expected.begin(), expected.end());
    std::sort(got.begin(), got.end());
    CHECK(got == expected && got.size() > 1000);
    CHECK(most > kNodes && most <= kDepth * kNodes);
  }
}

/// Nothing of a draft is kept once the text has gone another way.
void letsGoOfWhatCannotCome() {
  OpenDrafts open(8, 8);
  int32_t parent = -1;
  for (int32_t depth = 1; depth <= 8; ++depth) parent = open.add(DrafterId::head, {7, parent, depth, 0.5f}, 1, parent);
  const std::vector<int32_t> text = {1, 7, 7, 8, 7};
  int right = 0, wrong = 0;
  const auto count = [&](const OpenDrafts::Label& label) { ++(label.right ? right : wrong); };
  open.settle(std::span(text).first(3), count);
  CHECK(right == 2 && wrong == 0 && open.size() == 6);
  open.settle(std::span(text).first(4), count);
  CHECK(right == 2 && wrong == 1 && open.size() == 0);
}

}  // namespace
}  // namespace foretoken

int main() {
  foretoken::labelsWhatTheTextSays();
  foretoken::letsGoOfWhatCannotCome();
  return foretoken::test::finish("open_drafts");
}
