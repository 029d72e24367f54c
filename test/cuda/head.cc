// A draft head's tree on the device, against the same tree grown in double.
#include <algorithm>
#include <cmath>

#include "cuda/head/tree.cuh"
#include "test/cuda/schedules.h"
#include "test/native/check.h"

namespace foretoken::test {
namespace {

using namespace foretoken::cuda;

size_t at(int64_t i) { return static_cast<size_t>(i); }

struct Blocks {
  Blocks(std::mt19937& random, int asks, int slots, int rank, int vocabulary) : asks(asks), slots(slots), rank(rank) {
    before = normalFloats(random, at((vocabulary + 1) * rank), 0.7f);
    after = normalFloats(random, at(vocabulary * rank), 0.7f);
    for (int v = 0; v < vocabulary; ++v) draft.push_back(1000 + 7 * v);
    std::vector<int32_t> all(at(vocabulary));
    for (int v = 0; v < vocabulary; ++v) all[at(v)] = v;
    for (int row = 0; row < asks * slots; ++row) {
      std::shuffle(all.begin(), all.end(), random);
      candidate.insert(candidate.end(), all.begin(), all.begin() + kCandidates);
      std::vector<float> logits = normalFloats(random, kCandidates, 2);
      std::sort(logits.rbegin(), logits.rend());
      double sum = 3;  // of what is no candidate
      for (const float x : logits) sum += std::exp(x);
      for (const float x : logits) logprob.push_back(x - static_cast<float>(std::log(sum)));
    }
    for (int a = 0; a < asks; ++a) {
      previous.push_back(a == 0 ? vocabulary : static_cast<int32_t>(random() % static_cast<unsigned>(vocabulary)));
      maxDepth.push_back(1 + static_cast<int32_t>(random() % static_cast<unsigned>(slots)));
      mostNodes.push_back(1 + static_cast<int32_t>(random() % kHeadTreeNodes));
    }
  }

  int asks, slots, rank;
  std::vector<float> before, after, logprob;
  std::vector<int32_t> draft, candidate, previous, maxDepth, mostNodes;
};

struct Grown {
  std::vector<HeadNode> node;
  std::vector<int32_t> count;
};

Grown growOnDevice(const Blocks& b) {
  Grown grown{std::vector<HeadNode>(at(b.asks * kHeadTreeNodes)), std::vector<int32_t>(at(b.asks), -1)};
  std::vector<HeadChild> child(at(b.asks * b.slots * kCandidates * kChildren), HeadChild{-1, NAN});
  growHeadTrees(
      {b.slots, b.candidate.data(), b.logprob.data(), b.previous.data(), b.rank, b.before.data(), b.after.data(),
       child.data(), b.draft.data(), b.maxDepth.data(), b.mostNodes.data(), grown.node.data(), grown.count.data()},
      b.asks, nullptr);
  return grown;
}

struct ExactNode {
  int token, parent, depth;
  double confidence, survival;
  int index;
};

/// Children of a node in slot `slot` after draft index `given`, best first.
std::vector<ExactNode> children(const Blocks& b, int ask, int slot, int given, int parent, double survival) {
  std::vector<ExactNode> all;
  double total = 1;
  for (int c = 0; c < kCandidates; ++c) {
    const auto row = at((ask * b.slots + slot) * kCandidates + c);
    double term = 0;
    for (int i = 0; i < b.rank; ++i)
      term += static_cast<double>(b.after[at(b.candidate[row] * b.rank + i)]) * b.before[at(given * b.rank + i)];
    const double p = std::exp(static_cast<double>(b.logprob[row])), w = p * std::exp(term);
    total += w - p;
    all.push_back({b.draft[at(b.candidate[row])], parent, slot + 1, w, survival, b.candidate[row]});
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& x, const auto& y) { return x.confidence > y.confidence; });
  all.resize(kChildren);
  for (ExactNode& n : all) n.confidence /= std::max(total, n.confidence), n.survival *= n.confidence;
  std::erase_if(all, [](const ExactNode& n) { return n.survival < kHeadHopeless; });
  return all;
}

void testTree() {
  std::mt19937 random(11);
  for (int round = 0; round < (longRun() ? 200 : 30); ++round) {
    const Blocks b(random, 1 + round % 5, 1 + round % 7, 1 + round * 5 % 40, 16 + round * 3);
    const Grown grown = growOnDevice(b);
    for (int a = 0; a < b.asks; ++a) {
      std::vector<ExactNode> open = children(b, a, 0, b.previous[at(a)], -1, 1), nodes;
      while (!open.empty() && static_cast<int>(nodes.size()) < b.mostNodes[at(a)]) {
        const auto best = std::max_element(open.begin(), open.end(),
                                           [](const auto& x, const auto& y) { return x.survival < y.survival; });
        nodes.push_back(*best);
        open.erase(best);
        const ExactNode chosen = nodes.back();
        if (chosen.depth >= b.maxDepth[at(a)]) continue;
        for (const ExactNode& n :
             children(b, a, chosen.depth, chosen.index, static_cast<int>(nodes.size()) - 1, chosen.survival))
          open.push_back(n);
      }
      CHECK(grown.count[at(a)] == static_cast<int>(nodes.size()));
      for (int n = 0; n < std::min(grown.count[at(a)], static_cast<int>(nodes.size())); ++n) {
        const HeadNode& got = grown.node[at(a * kHeadTreeNodes + n)];
        CHECK(got.token == nodes[at(n)].token && got.parent == nodes[at(n)].parent && got.depth == nodes[at(n)].depth);
        CHECK(std::abs(got.confidence - nodes[at(n)].confidence) < 1e-4);
      }
    }
    forEachSchedule(2, [&] {
      const Grown again = growOnDevice(b);
      CHECK(again.count == grown.count);
      for (int a = 0; a < b.asks; ++a)
        for (int n = 0; n < grown.count[at(a)]; ++n)
          CHECK(again.node[at(a * kHeadTreeNodes + n)].confidence == grown.node[at(a * kHeadTreeNodes + n)].confidence);
    });
  }
}

}  // namespace
}  // namespace foretoken::test

int main() {
  foretoken::test::testTree();
  return foretoken::test::finish("head");
}
