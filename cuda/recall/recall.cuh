// Recall on the device: keys of a pass's rows, the nearest places of each query, and the draft that they vote for.
#pragma once
#include "cuda/recall/nearest.cuh"
#include "cuda/recall/project.cuh"
#include "cuda/recall/vote.cuh"

namespace foretoken::cuda {

inline cudaError_t projectRows(const ProjectArgs& a, int rows, cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  return launch(project, dim3(static_cast<unsigned>(rows)), dim3(kProjectThreads), 0, stream, a);
}

inline cudaError_t findNearest(const NearestArgs& a, int queries, cudaStream_t stream) {
  if (queries == 0) return cudaSuccess;
  return launch(nearest, dim3(static_cast<unsigned>(queries)), dim3(kNearestThreads), 0, stream, a);
}

inline cudaError_t growVotes(const VoteArgs& a, int queries, cudaStream_t stream) {
  if (queries == 0) return cudaSuccess;
  return launch(vote, dim3(static_cast<unsigned>(queries)), dim3(kWarp), 0, stream, a);
}

}  // namespace foretoken::cuda
