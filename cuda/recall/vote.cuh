// The text behind places votes on how a text goes on: VoteTree (native/speculate/votes.h), a warp a query, a lane a
// voter.
//
// A node's voters are a mask of lanes. Those who say the same token next are a group, and the heaviest groups become
// its children: the confidence of a child is its group's weight over that of all voters and the prior. A lane's text is
// a token further for each node that it agreed with, so that one position a lane is all there is to keep.
#pragma once
#include "cuda/common/reduce.cuh"
#include "cuda/recall/nearest.cuh"

namespace foretoken::cuda {

constexpr int kMostNodes = 64;  ///< of a draft
constexpr int kMostCandidates = 96;
constexpr int kMostChildren = 3;
constexpr float kVoteHopeless = 0.01f;

struct VoteNode {
  int32_t token;
  int32_t parent;  ///< a node, -1 = the text
  int32_t depth;   ///< from 1 on
  float confidence;
};

struct VoteArgs {
  TextPool pool;
  const int32_t* nearest;   ///< [queries][kVoters]
  const float* weight;      ///< [queries][kVoters]
  const int32_t* maxDepth;  ///< [queries]
  int32_t mostNodes;        ///< at most kMostNodes
  VoteNode* node;           ///< [queries][mostNodes]
  int32_t* count;           ///< [queries]
};

/// A node that may be drafted.
struct VoteCandidate {
  VoteNode node;
  float survival;
  uint32_t voters;
};

struct VoteTreeOnDevice {
  VoteCandidate candidate[kMostCandidates];
  int count;
};

/// The lane with the greatest value, the lowest of equals.
__device__ inline int greatestLane(float value) {
  int lane = static_cast<int>(threadIdx.x % kWarp);
#pragma unroll
  for (int lanes = 1; lanes < kWarp; lanes *= 2) {
    const float other = __shfl_xor_sync(kAllLanes, value, lanes);
    const int from = __shfl_xor_sync(kAllLanes, lane, lanes);
    if (other > value || (other == value && from < lane)) value = other, lane = from;
  }
  return lane;
}

/// Sum of the values of the lanes of `mask`, lowest first.
__device__ inline float sumOf(uint32_t mask, float value) {
  float sum = 0;
  for (int lane = 0; lane < kWarp; ++lane) {
    const float other = __shfl_sync(kAllLanes, value, lane);
    if (mask >> lane & 1) sum += other;
  }
  return sum;
}

/// Counts the votes of `voters` and makes the best tokens candidates below `parent`. `at`: the lane's next token.
__device__ inline void branch(VoteTreeOnDevice& tree, const VoteArgs& a, int parent, int depth, float survival,
                              uint32_t voters, float weight, int& at) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  const int32_t said = voters >> lane & 1 ? a.pool.token[at] : kBorder;
  const uint32_t alive = __ballot_sync(kAllLanes, said != kBorder);
  const float total = kRecallRules.prior + sumOf(alive, weight);
  const uint32_t group = __match_any_sync(kAllLanes, said) & alive;
  const float groupWeight = sumOf(group, weight);
  const bool leads = group != 0 && __ffs(static_cast<int>(group)) - 1 == lane;
  float open = leads ? groupWeight : -1.0f;
  for (int child = 0; child < kMostChildren && tree.count < kMostCandidates; ++child) {
    const int best = greatestLane(open);
    const float confidence = __shfl_sync(kAllLanes, open, best) / total;
    if (!(survival * confidence >= kVoteHopeless)) break;
    const uint32_t members = __shfl_sync(kAllLanes, group, best);
    if (lane == best) {
      tree.candidate[tree.count] = {{said, parent, depth, confidence}, survival * confidence, members};
      open = -1;
    }
    if (members >> lane & 1) ++at;
    __syncwarp();
    if (lane == 0) ++tree.count;
    __syncwarp();
  }
}

/// Takes the candidate that is likeliest out.
__device__ inline VoteCandidate takeBest(VoteTreeOnDevice& tree) {
  const int lane = static_cast<int>(threadIdx.x % kWarp);
  int mine = lane < tree.count ? lane : -1;
  for (int i = lane + kWarp; i < tree.count; i += kWarp)
    if (tree.candidate[i].survival > tree.candidate[mine].survival) mine = i;
  float most = mine >= 0 ? tree.candidate[mine].survival : -1.0f;
#pragma unroll
  for (int lanes = 1; lanes < kWarp; lanes *= 2) {
    const float other = __shfl_xor_sync(kAllLanes, most, lanes);
    const int from = __shfl_xor_sync(kAllLanes, mine, lanes);
    if (other > most || (other == most && other >= 0 && from < mine)) most = other, mine = from;
  }
  const VoteCandidate best = tree.candidate[mine];
  __syncwarp();
  if (lane == 0) tree.candidate[mine] = tree.candidate[--tree.count];
  __syncwarp();
  return best;
}

static __global__ void __launch_bounds__(kWarp) vote(VoteArgs a) {
  __shared__ VoteTreeOnDevice tree;
  const int query = blockIdx.x, lane = static_cast<int>(threadIdx.x);
  const int place = a.nearest[query * kVoters + lane];
  const float weight = place >= 0 ? a.weight[query * kVoters + lane] : 0;
  int at = place + 1, count = 0;
  if (lane == 0) tree.count = 0;
  __syncwarp();
  branch(tree, a, -1, 1, 1, __ballot_sync(kAllLanes, place >= 0), weight, at);
  while (tree.count > 0 && count < a.mostNodes) {
    const VoteCandidate best = takeBest(tree);
    if (lane == 0) a.node[query * a.mostNodes + count] = best.node;
    ++count;
    if (best.node.depth < a.maxDepth[query])
      branch(tree, a, count - 1, best.node.depth + 1, best.survival, best.voters, weight, at);
  }
  if (lane == 0) a.count[query] = count;
}

}  // namespace foretoken::cuda
