// Host side of attention: which instance of the kernels a shape takes, and how its splits are shared out.
#pragma once
#include "cuda/attention/append.cuh"
#include "cuda/attention/attend.cuh"

namespace foretoken::cuda {

/// What a launch covers; where it is recorded for later passes, the most that such a pass may have.
struct AttentionExtent {
  int rows, tiles, splits;
  bool tree;
  bool operator==(const AttentionExtent&) const = default;
};

template <class Codec>
cudaError_t launchAppend(const AppendArgs& args, int rows, cudaStream_t stream) {
  const dim3 grid(rows, ceilDiv(args.heads + 2 * args.kv.kvHeads, kAppendWarps));
  return launch(append<Codec>, grid, dim3(kAppendWarps * kWarp), 0, stream, args);
}

template <class Codec, class Mask, int kBlocks>
cudaError_t launchAttendOf(const AttendArgs& args, const AttentionExtent& extent, cudaStream_t stream) {
  const dim3 grid(args.partials ? extent.splits : 1, args.kv.kvHeads, extent.tiles);
  return launch(attend<Codec, Mask, kBlocks>, grid, dim3(kSplitStrips * kWarp), 0, stream, args);
}

template <class Codec, class Mask>
cudaError_t launchAttendMasked(const AttendArgs& args, const AttentionExtent& extent, cudaStream_t stream) {
  if (args.kv.headDim <= 64) return launchAttendOf<Codec, Mask, 4>(args, extent, stream);
  if (args.kv.headDim <= 128) return launchAttendOf<Codec, Mask, 8>(args, extent, stream);
  return launchAttendOf<Codec, Mask, 16>(args, extent, stream);
}

/// Attention of a pass whose queries, keys and values are in place.
template <class Codec>
cudaError_t launchAttend(const AttendArgs& args, const AttentionExtent& extent, cudaStream_t stream) {
  const cudaError_t error = extent.tree ? launchAttendMasked<Codec, TreeMask>(args, extent, stream)
                                        : launchAttendMasked<Codec, PagedMask>(args, extent, stream);
  if (error != cudaSuccess || !args.partials) return error;
  return launch(foldSplits, dim3(extent.rows, args.heads), dim3(128), 0, stream, args);
}

}  // namespace foretoken::cuda
