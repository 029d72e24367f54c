// Two drafts as one tree: random drafts against what the tree must be, node by node.
#include "speculate/blend.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "check.h"

namespace foretoken {
namespace {

struct Random {
  uint64_t state;
  int below(int bound) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<int>((state >> 33) % static_cast<uint64_t>(bound));
  }
};

using Path = std::vector<int32_t>;

Path pathOf(std::span<const DraftNode> draft, int32_t node) {
  Path path;
  for (; node >= 0; node = draft[node].parent) path.insert(path.begin(), draft[node].token);
  return path;
}

/// A tree of few different tokens, so that two of them agree often; no two siblings with one token.
std::vector<DraftNode> randomDraft(Random& random, int most) {
  std::vector<DraftNode> draft;
  std::map<Path, bool> taken;
  for (int n = 0, count = random.below(most + 1); n < count; ++n) {
    const int32_t parent = random.below(static_cast<int>(draft.size()) + 1) - 1;
    const int32_t depth = parent < 0 ? 1 : draft[parent].depth + 1;
    draft.push_back({random.below(3), parent, depth, static_cast<float>(1 + random.below(98)) / 100});
    if (!taken.emplace(pathOf(draft, static_cast<int32_t>(draft.size()) - 1), true).second) draft.pop_back();
  }
  return draft;
}

std::map<Path, float> saidIn(std::span<const DraftNode> draft) {
  std::map<Path, float> said;
  for (size_t n = 0; n < draft.size(); ++n) said[pathOf(draft, static_cast<int32_t>(n))] = draft[n].confidence;
  return said;
}

bool goesOn(const std::map<Path, float>& said, const Path& above) {
  return std::any_of(said.begin(), said.end(), [&](const auto& each) {
    return each.first.size() == above.size() + 1 && std::equal(above.begin(), above.end(), each.first.begin());
  });
}

void checkTree(std::span<const DraftNode> tree) {
  std::map<Path, bool> seen;
  for (size_t n = 0; n < tree.size(); ++n) {
    CHECK(tree[n].parent >= -1 && tree[n].parent < static_cast<int32_t>(n));
    CHECK(tree[n].depth == (tree[n].parent < 0 ? 1 : tree[tree[n].parent].depth + 1));
    CHECK(seen.emplace(pathOf(tree, static_cast<int32_t>(n)), true).second);
  }
}

void saysWhatBothSay(Random& random) {
  Blender blender(48);
  int both = 0, alone = 0, contradicted = 0;
  for (int round = 0; round < 3000; ++round) {
    const auto recall = randomDraft(random, 48), suffix = randomDraft(random, 48);
    std::array<DraftNode, 96> out;
    const int count = blender.blend(recall, suffix, out);
    if (recall.empty() || suffix.empty()) {
      CHECK(count == 0);
      continue;
    }
    const std::span<const DraftNode> tree(out.data(), count);
    checkTree(tree);
    const auto byRecall = saidIn(recall), bySuffix = saidIn(suffix), blended = saidIn(tree);
    for (const auto& said : {byRecall, bySuffix})
      for (const auto& [path, _] : said) CHECK(blended.contains(path));
    for (const auto& [path, confidence] : blended) {
      const Path above(path.begin(), path.end() - 1);
      const bool one = byRecall.contains(path), other = bySuffix.contains(path);
      CHECK(one || other);
      const float r = one ? byRecall.at(path) : 0, s = other ? bySuffix.at(path) : 0;
      if (goesOn(byRecall, above) && goesOn(bySuffix, above)) {
        CHECK(std::abs(confidence - (0.8f * r + 0.2f * s)) < 1e-5f);
        ++(one && other ? both : contradicted);
      } else {
        CHECK(std::abs(confidence - (r + s)) < 1e-5f);
        ++alone;
      }
    }
  }
  CHECK(both > 1000 && alone > 1000 && contradicted > 1000);
}

/// With less room it keeps the likeliest ones.
void keepsTheLikeliest(Random& random) {
  Blender blender(48);
  for (int round = 0; round < 1000; ++round) {
    const auto recall = randomDraft(random, 48), suffix = randomDraft(random, 48);
    std::array<DraftNode, 96> all;
    std::array<DraftNode, 12> few;
    const int count = blender.blend(recall, suffix, all);
    const int kept = blender.blend(recall, suffix, few);
    CHECK(kept == std::min(count, 12));
    checkTree({few.data(), static_cast<size_t>(kept)});
    for (int n = 0; n < kept; ++n)
      CHECK(few[n].token == all[n].token && few[n].parent == all[n].parent && few[n].confidence == all[n].confidence);
    std::vector<float> survival(count);
    for (int n = 0; n < count; ++n) {
      survival[n] = all[n].confidence * (all[n].parent < 0 ? 1 : survival[all[n].parent]);
      CHECK(n == 0 || survival[n] <= survival[n - 1] + 1e-6f);
    }
  }
}

}  // namespace
}  // namespace foretoken

int main() {
  foretoken::Random random{1};
  foretoken::saysWhatBothSay(random);
  foretoken::keepsTheLikeliest(random);
  return foretoken::test::finish("blend");
}
