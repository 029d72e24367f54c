// The skinny product as its callers see it: packed weights, prepared inputs, the plan. skinny.cuh computes it.
#pragma once
#include "cuda/gemm/activations.cuh"
#include "cuda/gemm/epilogue.cuh"

namespace foretoken::cuda {

constexpr int kSkinnyWarps = 8;
constexpr int kSkinnyThreads = kSkinnyWarps * kWarp;

/// A packed matrix (layout.h) in device memory.
struct SkinnyWeights {
  const unsigned char* packed;
  int rows, cols;
  bool operator==(const SkinnyWeights&) const = default;
};

/// How a product is cut. Splits are part of what is computed and depend on the matrix alone; tiles are not.
struct SkinnyPlan {
  int tiles, tokenTiles, splits;
  bool wide;
  bool operator==(const SkinnyPlan&) const = default;

  /// How many fp32 numbers SkinnyOutput::sums must have room for.
  size_t sums(int rows, int tokens) const {
    return wide || splits > 1 ? size_t(splits) * (wide ? kSkinnyWarps : 1) * rows * tokens : 0;
  }
};

/// So many blocks fill a device.
constexpr int kBlocksWanted = 96;
constexpr int kNarrowTokens = 16;

/// As many as fill the device with one tile of rows a block, as long as each warp has two steps.
inline int skinnySplits(SkinnyFormat format, int rows, int cols) {
  const SkinnyLayout layout{format, rows, cols};
  int splits = 1;
  while (splits < 8 && layout.tiles() * splits < kBlocksWanted && layout.steps() >= 4 * kSkinnyWarps * splits)
    splits *= 2;
  return splits;
}

/// Few tokens: as many rows a block as leave enough blocks, because every block reads all inputs of its columns.
inline SkinnyPlan skinnyPlan(SkinnyFormat format, int rows, int cols, int tokens) {
  const int splits = skinnySplits(format, rows, cols);
  if (tokens > kNarrowTokens) return {2, 4, splits, true};
  int tiles = 4;
  while (tiles > 1 && SkinnyLayout{format, rows, cols}.tiles() * splits < int64_t{tiles} * kBlocksWanted) tiles /= 2;
  return {tiles, ceilDiv(tokens, kTokenTile), splits, false};
}

/// What inputs of weights of `format` meet.
constexpr WeightCode weightCode(SkinnyFormat format) { return isFp4(format) ? WeightCode::e2m1 : WeightCode::e4m3; }

/// Prepares in [x.tokens][x.cols] for weights of `format`.
cudaError_t prepareSkinny(SkinnyFormat format, const float* in, const Activations& x, cudaStream_t stream);

/// out = x W^T, by a plan of skinnyPlan for these sizes.
cudaError_t multiplySkinny(SkinnyFormat format, const SkinnyPlan& plan, const SkinnyWeights& weights,
                           const Activations& x, const SkinnyOutput& out, cudaStream_t stream);

}  // namespace foretoken::cuda
