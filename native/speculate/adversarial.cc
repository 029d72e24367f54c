#include "speculate/adversarial.h"

#include <algorithm>

namespace foretoken {
namespace {

/// True if `parent` already has a child `token` among the first `count` nodes.
bool hasChild(std::span<const DraftNode> nodes, int count, int32_t parent, int32_t token) {
  return std::any_of(nodes.begin(), nodes.begin() + count,
                     [&](const DraftNode& node) { return node.parent == parent && node.token == token; });
}

}  // namespace

AdversarialDrafter::AdversarialDrafter(SuffixDrafter* suffix, int32_t vocabulary, uint64_t seed)
    : suffix_(suffix), vocabulary_(vocabulary), state_(seed) {}

int AdversarialDrafter::draft(const DraftInput& input, std::span<DraftNode> out) {
  switch (round_++ % 4) {
    case 0: return nearMiss(input, out);
    case 1: return hiddenPath(input, out);
    case 2: return randomTree(input, out);
    default: return randomChain(input, out);
  }
}

/// splitmix64.
uint64_t AdversarialDrafter::next() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

int32_t AdversarialDrafter::token() { return static_cast<int32_t>(next() % static_cast<uint64_t>(vocabulary_)); }

int AdversarialDrafter::randomChain(const DraftInput& input, std::span<DraftNode> out) {
  const int most = std::min<int>(input.maxDepth, static_cast<int>(out.size()));
  for (int i = 0; i < most; ++i) out[i] = {token(), i - 1, i + 1, 0.5f};
  return most;
}

int AdversarialDrafter::randomTree(const DraftInput& input, std::span<DraftNode> out) {
  int count = 0;
  for (size_t attempt = 0; attempt < out.size(); ++attempt) {
    const auto parent = static_cast<int32_t>(next() % static_cast<uint64_t>(count + 1)) - 1;
    const int32_t depth = parent < 0 ? 1 : out[parent].depth + 1;
    const int32_t candidate = token();
    if (depth > input.maxDepth || hasChild(out, count, parent, candidate)) continue;
    out[count++] = {candidate, parent, depth, static_cast<float>(next() % 1000) / 1000.0f};
  }
  return count;
}

int AdversarialDrafter::nearMiss(const DraftInput& input, std::span<DraftNode> out) {
  const int count = suffix_->draft(input, out);
  if (count == 0) return randomChain(input, out);
  DraftNode& flipped = out[next() % static_cast<uint64_t>(count)];
  const int32_t wrong = token();
  if (!hasChild(out, count, flipped.parent, wrong)) flipped.token = wrong;
  return count;
}

/// Random siblings claim the higher confidence, so that the plausible path lies off the main chain.
int AdversarialDrafter::hiddenPath(const DraftInput& input, std::span<DraftNode> out) {
  const auto half = (out.size() + 1) / 2;
  const int plausible = suffix_->draft(input, out.first(half));
  int count = plausible;
  for (int i = 0; i < plausible; ++i) out[i].confidence *= 0.5f;
  for (int i = 0; i < plausible && count < static_cast<int>(out.size()); ++i) {
    const int32_t decoy = token();
    if (!hasChild(out, count, out[i].parent, decoy)) out[count++] = {decoy, out[i].parent, out[i].depth, 0.99f};
  }
  return count > 0 ? count : randomTree(input, out);
}

}  // namespace foretoken
