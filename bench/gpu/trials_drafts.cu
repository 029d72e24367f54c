// Drafts on the device: the nearest places and what they vote for, a head's tree, the walk down trees.
#include <cmath>

#include "bench/gpu/device_array.cuh"
#include "bench/gpu/random_codes.h"
#include "bench/gpu/trials.h"
#include "cuda/head/tree.cuh"
#include "cuda/recall/nearest.cuh"
#include "cuda/recall/vote.cuh"
#include "cuda/verify/walk.cuh"

namespace foretoken::bench {
namespace {

using namespace foretoken::cuda;

template <class T>
DeviceArray<T> onDevice(const std::vector<T>& values) {
  return DeviceArray<T>(values);
}

/// So many numbers below `below`, of no pattern.
std::vector<int32_t> numbersBelow(size_t count, uint32_t below, uint32_t seed) {
  std::vector<int32_t> numbers(count);
  uint32_t state = seed;
  for (int32_t& number : numbers)
    number = static_cast<int32_t>(((state = state * 1664525u + 1013904223u) >> 8) % below);
  return numbers;
}

/// Texts over few tokens; a query looks through all places where its last token stands, and their voters grow a tree.
std::vector<float> recalled() {
  constexpr int kText = 700, kQueries = 4, kNodes = 12;
  std::vector<int32_t> token = numbersBelow(kText, 6, 1), last, first{0}, place;
  for (size_t i = 0; i < token.size(); i += 97) token[i] = kBorder;
  token.push_back(kBorder);
  const std::vector<int32_t> numbers = numbersBelow(token.size() * kKeyWidth, 120, 2);
  std::vector<int8_t> key;
  for (const int32_t number : numbers) key.push_back(static_cast<int8_t>(number - 40));
  for (int q = 0; q < kQueries; ++q) {
    last.push_back(95 + 97 * q);
    for (int32_t i = 2; i < kText - 1; ++i)
      if (token[static_cast<size_t>(i)] == token[static_cast<size_t>(last.back())] &&
          token[static_cast<size_t>(i - 1)] >= 0)
        place.push_back(i);
    first.push_back(static_cast<int32_t>(place.size()));
  }
  const auto tokens = onDevice(token), lasts = onDevice(last), firsts = onDevice(first), places = onDevice(place);
  const auto keys = onDevice(key);
  const DeviceArray<int32_t> nearest(kQueries * kVoters), count(kQueries), depth(std::vector<int32_t>(kQueries, 6));
  const DeviceArray<float> score(kQueries * kVoters), weight(std::vector<float>(kQueries * kVoters, 0.4f));
  const DeviceArray<VoteNode> node(kQueries * kNodes);
  const TextPool pool{tokens.get(), keys.get()};
  FORETOKEN_CUDA_CHECK(launch(cuda::nearest, dim3(kQueries), dim3(kNearestThreads), 0, nullptr,
                              NearestArgs{pool, lasts.get(), firsts.get(), places.get(), nearest.get(), score.get()}));
  FORETOKEN_CUDA_CHECK(
      launch(vote, dim3(kQueries), dim3(kWarp), 0, nullptr,
             VoteArgs{pool, nearest.get(), weight.get(), depth.get(), kNodes, node.get(), count.get()}));
  std::vector<float> all = score.read();
  for (const int32_t each : nearest.read()) all.push_back(static_cast<float>(each));
  const std::vector<int32_t> counts = count.read();
  const std::vector<VoteNode> nodes = node.read();
  for (int q = 0; q < kQueries; ++q)
    for (int n = 0; n < counts[static_cast<size_t>(q)]; ++n) {
      const VoteNode& each = nodes[static_cast<size_t>(q * kNodes + n)];
      for (const int32_t number : {each.token, each.parent, each.depth}) all.push_back(static_cast<float>(number));
      all.push_back(each.confidence);
    }
  return all;
}

std::vector<float> headTrees() {
  constexpr int kAsks = 3, kSlots = 5, kRank = 24, kTokens = 90, kRows = kAsks * kSlots * kCandidates;
  std::vector<int32_t> candidate, draft;
  std::vector<float> logprob;
  for (int i = 0; i < kTokens; ++i) draft.push_back(1000 + 7 * i);
  for (int row = 0; row < kRows; ++row) {  // different ones in each slot, likeliest first
    candidate.push_back((row / kCandidates * 5 + row % kCandidates * 3) % kTokens);
    logprob.push_back(-0.7f - 0.31f * static_cast<float>(row % kCandidates) - 0.01f * static_cast<float>(row % 7));
  }
  const auto candidates = onDevice(candidate), drafts = onDevice(draft);
  const DeviceArray<float> logprobs(logprob), before(randomInputs((kTokens + 1) * kRank)),
      after(randomInputs(kTokens * kRank));
  const DeviceArray<int32_t> previous(std::vector<int32_t>{kTokens, 4, 17}), depth(std::vector<int32_t>{5, 3, 4}),
      most(std::vector<int32_t>{16, 16, 7}), count(kAsks);
  const DeviceArray<HeadChild> child(kRows * kChildren);
  const DeviceArray<HeadNode> node(kAsks * kHeadTreeNodes);
  const HeadTreeArgs args{kSlots,       candidates.get(), logprobs.get(), previous.get(), kRank,
                          before.get(), after.get(),      child.get(),    drafts.get(),   depth.get(),
                          most.get(),   node.get(),       count.get()};
  FORETOKEN_CUDA_CHECK(growHeadTrees(args, kAsks, nullptr));
  const std::vector<int32_t> counts = count.read();
  const std::vector<HeadNode> nodes = node.read();
  std::vector<float> all;
  for (int ask = 0; ask < kAsks; ++ask)
    for (int n = 0; n < counts[static_cast<size_t>(ask)]; ++n) {
      const HeadNode& each = nodes[static_cast<size_t>(ask * kHeadTreeNodes + n)];
      all.push_back(static_cast<float>(each.token - 1000) / 7), all.push_back(static_cast<float>(each.parent));
      all.push_back(each.confidence);
    }
  return all;
}

std::vector<float> walked() {
  constexpr int kTrees = 9, kSize = 40, kDepth = 12;
  std::vector<int32_t> first{0}, parent;
  const std::vector<int32_t> token = numbersBelow(kTrees * kSize, 3, 5), says = numbersBelow(kTrees * kSize, 3, 6);
  for (int t = 0; t < kTrees; ++t) {
    const std::vector<int32_t> above = numbersBelow(kSize, 1000, static_cast<uint32_t>(t));
    for (int i = 0; i < kSize; ++i) parent.push_back(i == 0 ? -1 : t * kSize + above[static_cast<size_t>(i)] % i);
    first.push_back((t + 1) * kSize);
  }
  const auto firsts = onDevice(first), parents = onDevice(parent), tokens = onDevice(token), drawn = onDevice(says);
  const DeviceArray<int32_t> count(kTrees), path(std::vector<int32_t>(kTrees * kDepth, -1)),
      row(std::vector<int32_t>(kTrees * kDepth, -1));
  FORETOKEN_CUDA_CHECK(
      launch(walk, dim3(kTrees), dim3(kWalkThreads), 0, nullptr, DraftTrees{firsts.get(), parents.get(), tokens.get()},
             static_cast<const int32_t*>(drawn.get()), Walked{count.get(), path.get(), row.get(), kDepth}));
  std::vector<float> all;
  for (const auto* array : {&count, &path, &row})
    for (const int32_t number : array->read()) all.push_back(static_cast<float>(number));
  return all;
}

}  // namespace

std::vector<Trial> draftTrials() {
  return {{"recall", MatrixUnit::none, 1e-6, recalled},
          {"headTree", MatrixUnit::none, 1e-5, headTrees},
          {"walk", MatrixUnit::none, 0, walked}};
}

}  // namespace foretoken::bench
