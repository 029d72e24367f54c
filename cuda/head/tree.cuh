// What a draft head's block proposes, as a tree (HeadDrafter::grow of native/head): the likeliest tokens of each slot,
// corrected by the Markov term for the token before, and the likeliest paths through them.
//
// The Markov term of the token pair (a, c) is before[a] after[c], of low rank. Only candidates are corrected: with p_c
// the probability of candidate c, w_c = p_c exp(before[a] after[c]), and what is no candidate as it was, c has
//
//     confidence = w_c / (1 + sum over candidates (w - p))
//
// A slot's tokens before are the candidates of the slot before it, so all pairs are known at once: findChildren gives
// every candidate its three best children, all slots at a time, and growTree only takes the likeliest path on, again
// and again.
#pragma once
#include "cuda/common/exp2.cuh"

namespace foretoken::cuda {

constexpr int kCandidates = 16;  ///< of a slot
constexpr int kChildren = 3;     ///< of a node, at most
constexpr int kHeadTreeNodes = 16;
constexpr float kHeadHopeless = 0.01f;
constexpr int kChildrenThreads = kCandidates * kCandidates;

struct HeadChild {
  int32_t candidate;  ///< of its slot
  float confidence;
};
struct HeadNode {
  int32_t token, parent, depth;
  float confidence;
};

/// Draft indices are those of the head's own vocabulary.
struct HeadTreeArgs {
  int32_t slots;             ///< of a block, at most
  const int32_t* candidate;  ///< [asks][slots][kCandidates] draft indices, likeliest first
  const float* logprob;      ///< [asks][slots][kCandidates]
  const int32_t* previous;   ///< [asks] draft index of the last token; the vocabulary's size where it has none
  int32_t rank;
  const float* before;   ///< [vocabulary + 1][rank]
  const float* after;    ///< [vocabulary][rank]
  HeadChild* child;      ///< [asks][slots][kCandidates][kChildren] best first, after each candidate of the slot before
  const int32_t* draft;  ///< the token of each draft index
  const int32_t* maxDepth;   ///< [asks] at most `slots`
  const int32_t* mostNodes;  ///< [asks] at most kHeadTreeNodes
  HeadNode* node;            ///< [asks][kHeadTreeNodes]
  int32_t* count;            ///< [asks]
};

/// Of one slot (blockIdx.x) of one block (blockIdx.y): half a warp for each token before, a lane a candidate.
static __global__ void __launch_bounds__(kChildrenThreads) findChildren(HeadTreeArgs a) {
  const int slot = blockIdx.x, ask = blockIdx.y;
  const int lane = static_cast<int>(threadIdx.x) % kCandidates, parent = static_cast<int>(threadIdx.x) / kCandidates;
  const int64_t row = (static_cast<int64_t>(ask) * a.slots + slot) * kCandidates;
  // The first slot has one token before, whom all halves take for theirs.
  const int32_t given = slot == 0 ? a.previous[ask] : a.candidate[row - kCandidates + parent];
  const float* const before = a.before + static_cast<int64_t>(given) * a.rank;
  const float* const after = a.after + static_cast<int64_t>(a.candidate[row + lane]) * a.rank;
  float term = 0;
  for (int i = 0; i < a.rank; ++i) term += after[i] * before[i];
  const float probability = exp2(a.logprob[row + lane] * 1.44269504f);
  const float weight = probability * exp2(fminf(term * 1.44269504f, 100.0f));
  float total = 1;
  for (int c = 0; c < kCandidates; ++c) total += __shfl_sync(kAllLanes, weight - probability, c, kCandidates);
  float open = weight;
  for (int n = 0; n < kChildren; ++n) {
    float most = open;
    int best = lane;
#pragma unroll
    for (int lanes = 1; lanes < kCandidates; lanes *= 2) {
      const float other = __shfl_xor_sync(kAllLanes, most, lanes);
      const int from = __shfl_xor_sync(kAllLanes, best, lanes);
      if (other > most || (other == most && from < best)) most = other, best = from;
    }
    const float confidence = most / (total > most ? total : most);
    if (lane != best) continue;
    a.child[(row + parent) * kChildren + n] = {best, confidence > 0 ? confidence : 0.0f};
    open = -1;
  }
}

/// A node that may be drafted.
struct HeadCandidate {
  HeadNode node;
  float survival;
  int32_t candidate;
};

/// A thread an ask: there are few nodes, each after the one before.
static __global__ void growTree(HeadTreeArgs a) {
  __shared__ HeadCandidate open[kHeadTreeNodes * kChildren + kChildren];
  const int ask = static_cast<int>(blockIdx.x);
  int count = 0, candidates = 0;
  const auto branch = [&](int parentNode, int depth, int parent, float survival) {
    const int64_t row = (static_cast<int64_t>(ask) * a.slots + depth - 1) * kCandidates;
    for (int n = 0; n < kChildren; ++n) {
      const HeadChild child = a.child[(row + parent) * kChildren + n];
      if (!(survival * child.confidence >= kHeadHopeless)) break;
      const int32_t token = a.draft[a.candidate[row + child.candidate]];
      open[candidates++] = {{token, parentNode, depth, child.confidence}, survival * child.confidence, child.candidate};
    }
  };
  branch(-1, 1, 0, 1);
  while (candidates > 0 && count < a.mostNodes[ask]) {
    int best = 0;
    for (int i = 1; i < candidates; ++i)
      if (open[i].survival > open[best].survival) best = i;
    const HeadCandidate chosen = open[best];
    open[best] = open[--candidates];
    a.node[ask * kHeadTreeNodes + count] = chosen.node;
    if (chosen.node.depth < a.maxDepth[ask]) branch(count, chosen.node.depth + 1, chosen.candidate, chosen.survival);
    ++count;
  }
  a.count[ask] = count;
}

inline cudaError_t growHeadTrees(const HeadTreeArgs& a, int asks, cudaStream_t stream) {
  if (asks == 0) return cudaSuccess;
  const dim3 grid(static_cast<unsigned>(a.slots), static_cast<unsigned>(asks));
  const cudaError_t error = launch(findChildren, grid, dim3(kChildrenThreads), 0, stream, a);
  return error != cudaSuccess ? error : launch(growTree, dim3(static_cast<unsigned>(asks)), dim3(1), 0, stream, a);
}

}  // namespace foretoken::cuda
