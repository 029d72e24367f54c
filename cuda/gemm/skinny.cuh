// The skinny product: out [tokens][rows] = x [tokens][cols] W^T for few tokens, where reading W is all that takes time.
//
// Weights are the tensor core's row operand, tokens its columns, so that a token's sums do not depend on who stands
// beside it. The columns of W are cut into splits and these into eight slices, by (rows, cols) alone, and sums are
// added in one order. So the bits of a token's output are the same for any number of tokens:
//
//   out[m][n] = (S_0 + S_1 + ...) * codec factor * row factor[n] * token factor[m]
//   S_i       = s_0 + s_1 + ... + s_7, the slices of split i
//   s_j       = sum over the slice's columns, mma by mma, ascending
//
// Who computes which slice is free. For up to 16 tokens the eight warps of a block share rows, each has a slice, and
// the block adds them up (skinnyNarrow). For more, inputs are what is read most: the warps share a slice, so that its
// inputs come through L1, each has rows of its own, and slices are added afterwards (skinnyWide, addSums).
//
// A warp keeps kTiles x kTokenTiles tiles of 16 x 8 sums. Weights go from memory straight to registers, 16 bytes a
// lane (layout.h), a step of four chunks ahead of what is computed; the first to be evicted from L2.
#pragma once
#include "cuda/common/mma.cuh"
#include "cuda/gemm/codecs.cuh"
#include "cuda/gemm/skinny.h"

namespace foretoken::cuda {

/// The steps [begin, end) of one slice.
struct Slice {
  int begin, end;
};
__host__ __device__ inline Slice sliceOf(int number, int slices, int steps) {
  return {static_cast<int>(int64_t{steps} * number / slices), static_cast<int>(int64_t{steps} * (number + 1) / slices)};
}

/// The sums of one warp and what it needs to add to them.
template <class Codec, int kTiles, int kTokenTiles>
struct SkinnyWarp {
  using Sums = float[kTiles][kTokenTiles][4];

  const SkinnyWeights& weights;
  const Activations& x;
  const int tile, tokenTile;  ///< the first of each
  EvictFirst evict;
  uint4 chunk[kTiles][kStepChunks];
  typename Codec::Scales scales[kTiles], nextScales[kTiles];

  __device__ SkinnyWarp(const SkinnyWeights& weights, const Activations& x, int tile, int tokenTile)
      : weights(weights), x(x), tile(tile), tokenTile(tokenTile) {}

  __device__ SkinnyLayout layout() const { return {Codec::kFormat, weights.rows, weights.cols}; }

  /// Tiles behind the last one do its work again; nobody stores it.
  __device__ int tileAt(int r) const { return min(tile + r, static_cast<int>(layout().tiles()) - 1); }

  __device__ __forceinline__ void loadChunk(int r, int number, int step) {
    const size_t at = (size_t(tileAt(r)) * layout().steps() + step) * kStepBytes;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    chunk[r][number] = loadStreaming(weights.packed + at + chunkPlace(Codec::kFormat, number, lane), evict);
  }
  __device__ __forceinline__ void loadScales(int step) {
#pragma unroll
    for (int r = 0; r < kTiles; ++r)
      nextScales[r] = Codec::loadScales(weights.packed + layout().scaleOffset(), tileAt(r), step,
                                        static_cast<int>(layout().steps()), evict);
  }
  __device__ __forceinline__ void loadTokens(int group, uint4 (&b)[kTokenTiles]) const {
#pragma unroll
    for (int t = 0; t < kTokenTiles; ++t) {
      const int at = min(tokenTile + t, x.tokenTiles() - 1);
      b[t] = __ldg(x.fragments + (size_t(group) * x.tokenTiles() + at) * kWarp + threadIdx.x % kWarp);
    }
  }

  /// sums += one group of 32 columns of every tile.
  __device__ __forceinline__ void multiplyGroup(int group, const uint4 (&b)[kTokenTiles], Sums& sums) {
#pragma unroll
    for (int r = 0; r < kTiles; ++r) {
      GroupOperand a;
      Codec::decode(chunk[r], group, scales[r], a);
#pragma unroll
      for (int t = 0; t < kTokenTiles; ++t) {
        mma(F16{}, sums[r][t], a[0], {b[t].x, b[t].y});
        mma(F16{}, sums[r][t], a[1], {b[t].z, b[t].w});
      }
    }
  }

  /// total += part * scale, part = 0.
  __device__ __forceinline__ void promote(int group, Sums& part, Sums& total) const {
#pragma unroll
    for (int r = 0; r < kTiles; ++r) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const float scale = Codec::promotion(scales[r], group, i / 2);
#pragma unroll
        for (int t = 0; t < kTokenTiles; ++t) {
          total[r][t][i] = fmaf(part[r][t][i], scale, total[r][t][i]);
          part[r][t][i] = 0;
        }
      }
    }
  }

  /// total += all columns of a slice.
  __device__ __forceinline__ void multiply(const Slice& slice, Sums& total) {
    constexpr int kStepGroups = stepCols(Codec::kFormat) / kGroupCols;
    if (slice.begin == slice.end) return;
    Sums part = {};
    uint4 b[2][kTokenTiles];
    loadScales(slice.begin);
#pragma unroll
    for (int number = 0; number < kStepChunks; ++number)
#pragma unroll
      for (int r = 0; r < kTiles; ++r) loadChunk(r, number, slice.begin);
    loadTokens(slice.begin * kStepGroups, b[0]);
#pragma unroll 1
    for (int step = slice.begin; step < slice.end; ++step) {
      const bool more = step + 1 < slice.end;
#pragma unroll
      for (int r = 0; r < kTiles; ++r) scales[r] = nextScales[r];
#pragma unroll
      for (int group = 0; group < kStepGroups; ++group) {
        if (more || group + 1 < kStepGroups) loadTokens(step * kStepGroups + group + 1, b[(group + 1) % 2]);
        if (more && group == kStepGroups / 2) loadScales(step + 1);
        if constexpr (Codec::kPromotedGroups == 0) {
          multiplyGroup(group, b[group % 2], total);
        } else {
          multiplyGroup(group, b[group % 2], part);
          if ((group + 1) % Codec::kPromotedGroups == 0) promote(group, part, total);
        }
#pragma unroll
        for (int number = 0; number < kStepChunks; ++number) {
          if (!more || lastGroup(Codec::kFormat, number) != group) continue;
#pragma unroll
          for (int r = 0; r < kTiles; ++r) loadChunk(r, number, step + 1);
        }
      }
    }
  }
};

/// Sums of all warps side by side: [warp][token][row], rows padded so that a warp's stores meet no bank twice.
template <int kTiles, int kTokenTiles>
struct SkinnyExchange {
  static constexpr int kRows = kTiles * kTileRows, kTokens = kTokenTiles * kTokenTile, kPitch = kRows + 4;
  static constexpr size_t kBytes = sizeof(float) * kSkinnyWarps * kTokens * kPitch;

  static __device__ float* at(float* memory, int warp, int token, int row) {
    return memory + (warp * kTokens + token) * kPitch + row;
  }
};

/// store(row, token, sum) for all sums of a lane, counted from the warp's first row and token.
template <int kTiles, int kTokenTiles, class Store>
__device__ __forceinline__ void eachSum(const float (&sums)[kTiles][kTokenTiles][4], Store store) {
  const int g = static_cast<int>(threadIdx.x) % kWarp / 4, t = static_cast<int>(threadIdx.x) % 4;
#pragma unroll
  for (int r = 0; r < kTiles; ++r)
#pragma unroll
    for (int token = 0; token < kTokenTiles; ++token)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        store(r * kTileRows + g + i / 2 * 8, token * kTokenTile + t * 2 + i % 2, sums[r][token][i]);
}

/// Block (x, 0, split): kTiles tiles of rows from x * kTiles, all of up to kTokenTiles tiles of tokens.
template <class Codec, int kTiles, int kTokenTiles>
__global__ void __launch_bounds__(kSkinnyThreads, kTiles == 1 ? 2 : 1)
    skinnyNarrow(const SkinnyWeights weights, const Activations x, const SkinnyOutput out) {
  using Exchange = SkinnyExchange<kTiles, kTokenTiles>;
  float* exchange = dynamicShared<float>();
  const int warp = static_cast<int>(threadIdx.x) / kWarp, tile = static_cast<int>(blockIdx.x) * kTiles;
  const SkinnyLayout layout{Codec::kFormat, weights.rows, weights.cols};
  const int split = static_cast<int>(blockIdx.z), splits = static_cast<int>(gridDim.z);

  SkinnyWarp<Codec, kTiles, kTokenTiles> work(weights, x, tile, 0);
  float sums[kTiles][kTokenTiles][4] = {};
  work.multiply(sliceOf(split * kSkinnyWarps + warp, splits * kSkinnyWarps, static_cast<int>(layout.steps())), sums);
  eachSum(sums, [&](int row, int token, float sum) { *Exchange::at(exchange, warp, token, row) = sum; });
  __syncthreads();  // all warps' sums are there

  const auto* factors = reinterpret_cast<const float*>(weights.packed + layout.rowFactorOffset());
  for (int pair = static_cast<int>(threadIdx.x); pair < Exchange::kRows / 2 * Exchange::kTokens;
       pair += kSkinnyThreads) {
    const int row = pair % (Exchange::kRows / 2) * 2, m = pair / (Exchange::kRows / 2);
    const int n = tile * kTileRows + row;
    if (m >= x.tokens || n >= weights.rows) continue;
    float sum[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      sum[i] = *Exchange::at(exchange, 0, m, row + i);
#pragma unroll
      for (int other = 1; other < kSkinnyWarps; ++other) sum[i] += *Exchange::at(exchange, other, m, row + i);
    }
    if (splits == 1) {
      out.finish(m, n, weights.rows, sum[0], sum[1], Codec::factor(), factors, x.factors[m]);
    } else {
      for (int i = 0; i < 2 && n + i < weights.rows; ++i) *out.sum(split, m, n + i, x.tokens, weights.rows) = sum[i];
    }
  }
}

/// Block (x, y, slice): kTiles tiles of rows a warp, kTokenTiles tiles of tokens from y * kTokenTiles.
template <class Codec, int kTiles, int kTokenTiles>
__global__ void __launch_bounds__(kSkinnyThreads, 1)
    skinnyWide(const SkinnyWeights weights, const Activations x, const SkinnyOutput out) {
  const int tile = static_cast<int>(blockIdx.x * kSkinnyWarps + threadIdx.x / kWarp) * kTiles;
  const int tokenTile = static_cast<int>(blockIdx.y) * kTokenTiles, slice = static_cast<int>(blockIdx.z);
  const int steps = static_cast<int>(SkinnyLayout{Codec::kFormat, weights.rows, weights.cols}.steps());

  SkinnyWarp<Codec, kTiles, kTokenTiles> work(weights, x, tile, tokenTile);
  float sums[kTiles][kTokenTiles][4] = {};
  work.multiply(sliceOf(slice, static_cast<int>(gridDim.z), steps), sums);
  eachSum(sums, [&](int row, int token, float sum) {
    const int n = tile * kTileRows + row, m = tokenTile * kTokenTile + token;
    if (n < weights.rows && m < x.tokens) *out.sum(slice, m, n, x.tokens, weights.rows) = sum;
  });
}

/// Adds what lies in out.sums, `parts` sums a split, in order, and finishes; a thread for two rows of a token.
template <class Codec>
__global__ void __launch_bounds__(256)
    addSums(const SkinnyWeights weights, const Activations x, const SkinnyOutput out, int splits, int parts) {
  const SkinnyLayout layout{Codec::kFormat, weights.rows, weights.cols};
  const auto* factors = reinterpret_cast<const float*>(weights.packed + layout.rowFactorOffset());
  const int n = static_cast<int>(blockIdx.x * 256 + threadIdx.x) * 2, m = static_cast<int>(blockIdx.y);
  float total[2] = {};
  for (int i = 0; i < 2 && n + i < weights.rows; ++i) {
    for (int split = 0; split < splits; ++split) {
      float sum = *out.sum(split * parts, m, n + i, x.tokens, weights.rows);
      for (int part = 1; part < parts; ++part) sum += *out.sum(split * parts + part, m, n + i, x.tokens, weights.rows);
      total[i] = split == 0 ? sum : total[i] + sum;
    }
  }
  if (n < weights.rows) out.finish(m, n, weights.rows, total[0], total[1], Codec::factor(), factors, x.factors[m]);
}

/// out = x W^T by a plan of skinnyPlan.
template <class Codec>
class SkinnyLauncher {
 public:
  SkinnyLauncher(const SkinnyPlan& plan, const SkinnyWeights& weights, const Activations& x, const SkinnyOutput& out,
                 cudaStream_t stream)
      : plan_(plan), weights_(weights), x_(x), out_(out), stream_(stream) {}

  cudaError_t run() const {
    const cudaError_t error = plan_.wide ? wide<kMostSums / 4, 4>() : plan_.tokenTiles == 1 ? narrow<1>() : narrow<2>();
    if (error != cudaSuccess || plan_.sums(weights_.rows, x_.tokens) == 0) return error;
    const dim3 grid(ceilDiv(weights_.rows, 512), x_.tokens);
    const int parts = plan_.wide ? kSkinnyWarps : 1;
    return launch(addSums<Codec>, grid, 256, 0, stream_, weights_, x_, out_, plan_.splits, parts);
  }

 private:
  /// Tiles of sums that a warp has registers for: scales that wait for sums of a group take some.
  static constexpr int kMostSums = Codec::kPromotedGroups == 1 ? 4 : 8;

  int tiles() const { return static_cast<int>(SkinnyLayout{Codec::kFormat, weights_.rows, weights_.cols}.tiles()); }
  template <int kTokenTiles>
  cudaError_t narrow() const {
    switch (plan_.tiles) {
      case 1: return narrow<1, kTokenTiles>();
      case 2: return narrow<2, kTokenTiles>();
      default: return narrow < kMostSums / kTokenTiles < 4 ? kMostSums / kTokenTiles : 4, kTokenTiles > ();
    }
  }
  template <int kTiles, int kTokenTiles>
  cudaError_t narrow() const {
    const dim3 grid(ceilDiv(tiles(), kTiles), 1, plan_.splits);
    return launch(skinnyNarrow<Codec, kTiles, kTokenTiles>, grid, kSkinnyThreads,
                  SkinnyExchange<kTiles, kTokenTiles>::kBytes, stream_, weights_, x_, out_);
  }
  template <int kTiles, int kTokenTiles>
  cudaError_t wide() const {
    const dim3 grid(ceilDiv(tiles(), kTiles * kSkinnyWarps), ceilDiv(x_.tokenTiles(), kTokenTiles),
                    plan_.splits * kSkinnyWarps);
    return launch(skinnyWide<Codec, kTiles, kTokenTiles>, grid, kSkinnyThreads, 0, stream_, weights_, x_, out_);
  }

  SkinnyPlan plan_;
  SkinnyWeights weights_;
  Activations x_;
  SkinnyOutput out_;
  cudaStream_t stream_;
};

}  // namespace foretoken::cuda
