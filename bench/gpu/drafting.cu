#include "bench/gpu/drafting.h"

#include <string>

#include "bench/gpu/device.cuh"
#include "bench/gpu/random_codes.h"
#include "bench/gpu/sequence_rows.h"
#include "cuda/head/tree.cuh"
#include "cuda/recall/recall.cuh"
#include "cuda/step/pass_words.h"
#include "cuda/verify/verify.cuh"

namespace foretoken::bench {
namespace {

using namespace foretoken::cuda;

template <class Launch>
void add(Report& report, const std::string& name, const Launch& launch) {
  report.add("drafting." + name + ".us", 1e6 * medianSeconds([&](int) { FORETOKEN_CUDA_CHECK(launch()); }));
}

/// 0, step, 2 step, …, each modulo `below`.
std::vector<int32_t> counted(size_t count, int step, int below) {
  std::vector<int32_t> numbers(count);
  for (size_t i = 0; i < count; ++i)
    numbers[i] = static_cast<int32_t>(i * static_cast<size_t>(step) % static_cast<size_t>(below));
  return numbers;
}

void keys(Report& report) {
  constexpr int kWidth = 4096, kMost = 64;
  const DeviceArray<float> hidden(randomInputs(size_t{kMost} * kWidth)), centre(std::vector<float>(kKeyWidth, 0.01f));
  const DeviceArray<uint32_t> signs(std::vector<uint32_t>(kWidth / 32 * kKeyWidth, 0x5a3c9669u));
  const DeviceArray<uint8_t> sides(size_t{kMost} * kKeyWidth);
  for (const int rows : {1, 8, kMost}) {
    SequenceRows all(kMost / kPageSize);
    for (int r = 0; r < rows; ++r) all.add(r, all.slotOf(r), r + 1, {});
    const Pass pass = all.pass(false);
    PassWords words;
    words.begin(pass);
    const DeviceArray<int32_t> uploaded(std::vector<int32_t>(words.words().begin(), words.words().end()));
    add(report, "project.r" + std::to_string(rows), [&] {
      return projectRows({uploaded.get(), hidden.get(), kWidth, signs.get(), centre.get(), {sides.get(), kKeyWidth}},
                         rows, nullptr);
    });
  }
}

void recall(Report& report) {
  constexpr int kText = 1 << 16, kMost = 64, kNodes = 16;
  std::vector<int32_t> token = counted(kText, 7, 1000);
  token.front() = token.back() = kBorder;
  const DeviceArray<int32_t> tokens(token), last(std::vector<int32_t>(kMost, kText / 2)),
      first(counted(kMost + 1, kMostPlaces, 1 << 30)), place([&] {
        std::vector<int32_t> places = counted(size_t{kMost} * kMostPlaces, 37, kText - 64);
        for (int32_t& each : places) each += 32;
        return places;
      }()),
      nearest(kMost * kVoters), depth(std::vector<int32_t>(kMost, 8)), count(kMost);
  const std::vector<uint8_t> codes = randomCodes(size_t{kText} * kKeyWidth);
  const DeviceArray<int8_t> key(std::vector<int8_t>(codes.begin(), codes.end()));
  const DeviceArray<float> score(kMost * kVoters);
  const DeviceArray<VoteNode> node(kMost * kNodes);
  const TextPool pool{tokens.get(), key.get()};
  for (const int queries : {1, 8, kMost}) {
    add(report, "nearest.q" + std::to_string(queries), [&] {
      return findNearest({pool, last.get(), first.get(), place.get(), nearest.get(), score.get()}, queries, nullptr);
    });
    add(report, "votes.q" + std::to_string(queries), [&] {
      return growVotes({pool, nearest.get(), score.get(), depth.get(), kNodes, node.get(), count.get()}, queries,
                       nullptr);
    });
  }
}

void headTrees(Report& report) {
  constexpr int kMost = 64, kSlots = 7, kRank = 32, kTokens = 32000;
  constexpr size_t kRows = size_t{kMost} * kSlots * kCandidates;
  std::vector<float> logprobs(kRows);
  for (size_t i = 0; i < kRows; ++i) logprobs[i] = -0.5f - 0.4f * static_cast<float>(i % kCandidates);
  const DeviceArray<int32_t> candidate(counted(kRows, 19, kTokens)), previous(counted(kMost, 3, kTokens)),
      draft(counted(kTokens, 1, kTokens)), depth(std::vector<int32_t>(kMost, kSlots)),
      most(std::vector<int32_t>(kMost, kHeadTreeNodes)), count(kMost);
  const DeviceArray<float> logprob(logprobs), before(std::vector<float>(size_t{kTokens + 1} * kRank, 0.1f)),
      after(randomInputs(size_t{kTokens} * kRank));
  const DeviceArray<HeadChild> child(kRows * kChildren);
  const DeviceArray<HeadNode> node(kMost * kHeadTreeNodes);
  const HeadTreeArgs args{kSlots,       candidate.get(), logprob.get(), previous.get(), kRank,
                          before.get(), after.get(),     child.get(),   draft.get(),    depth.get(),
                          most.get(),   node.get(),      count.get()};
  for (const int asks : {1, 8, kMost})
    add(report, "headTree.a" + std::to_string(asks), [&] { return growHeadTrees(args, asks, nullptr); });
}

/// Trees in which every node has two children, one of which the target says.
void walks(Report& report) {
  constexpr int kMost = 64, kNodes = 64, kDepth = 8;
  std::vector<int32_t> first{0}, parent, token;
  for (int t = 0; t < kMost; ++t) {
    for (int n = 0; n < kNodes; ++n) parent.push_back(n == 0 ? -1 : t * kNodes + (n - 1) / 2), token.push_back(n % 2);
    first.push_back((t + 1) * kNodes);
  }
  const DeviceArray<int32_t> firsts(first), parents(parent), tokens(token),
      drawn(std::vector<int32_t>(parent.size(), 1)), count(kMost), said(kMost * kDepth), row(kMost * kDepth);
  for (const int trees : {1, 8, kMost})
    add(report, "walk.t" + std::to_string(trees), [&] {
      return walkTrees({firsts.get(), parents.get(), tokens.get()}, trees, drawn.get(),
                       {count.get(), said.get(), row.get(), kDepth}, nullptr);
    });
}

}  // namespace

void drafting(Report& report) {
  keys(report);
  recall(report);
  headTrees(report);
  walks(report);
}

}  // namespace foretoken::bench
