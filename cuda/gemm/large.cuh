// The product for prefill: out [tokens][rows] = x W^T with both in e4m3, by wgmma on Hopper
// (large_tcgen05.cuh has Blackwell's).
//
//   out[m][n] = row factor[n] * sum over blocks b of 128 columns of (scale of x[m], b) (scale of W[n], b) d_b
//   d_b       = sum over the columns k of b of code of x[m][k] * code of W[n][k]
//
// wgmma adds e4m3 products with fewer bits than fp32 has, so no sum runs longer than a block: d_b is multiplied by both
// scales and added to the result in fp32, with one fmaf, block after block. A token's bits depend on that token alone.
//
// A block of threads has one tile of 128 tokens x 128 rows. Its first warpgroup's first thread lets the tensor memory
// accelerator fill a ring of stages; two warpgroups multiply 64 tokens each, and while one of them adds, the other one
// multiplies. full[s] tells that a stage is there, empty[s] that all eight warps are done with it.
#pragma once
#include "cuda/gemm/quantize.cuh"

namespace foretoken::cuda {

constexpr int kLargeStages = 6;
constexpr int kLargeThreads = 3 * kWarpgroup;
constexpr int kLargeTileBytes = kLargeTile * kSwizzledRow;

/// The ring of stages in dynamic shared memory: tiles of inputs and weights with kScaleBytes of scales each, then the
/// barriers.
template <int kScaleBytes = 0>
struct LargeRing {
  static constexpr int kStageBytes = 2 * (kLargeTileBytes + kScaleBytes);
  static constexpr size_t kBytes = kLargeStages * (kStageBytes + 2 * sizeof(uint64_t));
  static_assert(kStageBytes % 1024 == 0, "swizzled tiles start at multiples of 1024");
  unsigned char* memory;

  __device__ unsigned char* inputs(int stage) const { return memory + stage * kStageBytes; }
  __device__ unsigned char* weights(int stage) const { return inputs(stage) + kLargeTileBytes; }
  __device__ unsigned char* inputScales(int stage) const { return inputs(stage) + 2 * kLargeTileBytes; }
  __device__ unsigned char* weightScales(int stage) const { return inputScales(stage) + kScaleBytes; }
  __device__ uint64_t* full(int stage) const {
    return reinterpret_cast<uint64_t*>(memory + kLargeStages * kStageBytes) + stage;
  }
  __device__ uint64_t* empty(int stage) const { return full(kLargeStages + stage); }

  /// `readers` arrive when they are done with a stage.
  __device__ void init(int readers) const {
    for (int stage = 0; stage < kLargeStages; ++stage) {
      initMbarrier(full(stage), 1);
      initMbarrier(empty(stage), readers);
    }
    fenceMbarriers();
  }
};

/// Which tile a block of threads has: eight tiles of tokens share those of rows in turn, so that both stay in L2.
struct LargePlace {
  int token, row;
};
__device__ inline LargePlace largePlace(int number, int tokenTiles, int rowTiles) {
  constexpr int kTogether = 8;
  const int first = number / (kTogether * rowTiles) * kTogether, wide = min(kTogether, tokenTiles - first);
  const int inside = number % (kTogether * rowTiles);
  return {(first + inside % wide) * kLargeTile, inside / wide * kLargeTile};
}

/// Fills the ring, one stage after another, with `bytes`: tiles of inputs, and what loadWeights(block, stage) copies.
template <class Ring, class LoadWeights>
__device__ void produceTiles(const Ring& ring, const TensorMap& x, const LargePlace& place, int blocks, int bytes,
                             LoadWeights loadWeights) {
  for (int block = 0; block < blocks; ++block) {
    const int stage = block % kLargeStages;
    waitFor(ring.empty(stage), (block / kLargeStages + 1) % 2);
    arriveExpecting(ring.full(stage), bytes);
    copyBox(ring.inputs(stage), x, block * kLargeTile, place.token, ring.full(stage));
    loadWeights(block, stage);
  }
}

/// Copies the packed weights' tile of a stage.
template <class Ring>
__device__ void loadPacked(const Ring& ring, const TensorMap& w, const LargePlace& place, int block, int stage) {
  copyTiles(ring.weights(stage), w, block, place.row / kTileRows, ring.full(stage));
}

/// One warpgroup's tile of 64 tokens x 128 rows. Thread: of warp w, tokens 16 w + l / 4 and 8 more, rows 2 (l % 4) and
/// the next of every eight.
struct LargeSums {
  float total[64] = {};
  int token;  ///< the thread's first one

  __device__ __forceinline__ float tokenScale(const LargeInputs& x, int block, int half) const {
    return __ldg(x.scales + size_t(block) * x.tokens + min(token + 8 * half, x.tokens - 1));
  }

  __device__ void consume(const LargeRing<>& ring, int group, const LargeWeights& weights, const LargeInputs& x,
                          int row) {
    float d[64];
    for (int block = 0; block < x.blocks(); ++block) {
      const int stage = block % kLargeStages;
      const float weightScale = weights.blockScale(row, block);
      const float scale[2] = {tokenScale(x, block, 0) * weightScale, tokenScale(x, block, 1) * weightScale};
      waitFor(ring.full(stage), block / kLargeStages % 2);
      const uint64_t a = tileOperand(ring.inputs(stage) + group * kLargeTileBytes / 2);
      const uint64_t b = tileOperand(ring.weights(stage));
      fenceProducts();
#pragma unroll
      for (int k = 0; k < 4; ++k) multiplyTiles(d, a + 2 * k, b + 2 * k, k > 0);
      commitProducts();
      waitProducts(d);
      if (threadIdx.x % kWarp == 0) arrive(ring.empty(stage));
#pragma unroll
      for (int i = 0; i < 64; ++i) total[i] = fmaf(d[i], scale[i / 2 % 2], total[i]);
    }
  }

  __device__ void store(const LargeWeights& weights, const LargeInputs& x, const Output& out, int row) const {
#pragma unroll
    for (int i = 0; i < 64; i += 2) {
      const int m = token + i / 2 % 2 * 8, n = row + i / 4 * 8 + static_cast<int>(threadIdx.x) % 4 * 2;
      if (m >= x.tokens || n >= weights.rows) continue;
      out.put(m, n, weights.rows, total[i] * weights.rowFactor(n), total[i + 1] * weights.rowFactor(n + 1));
    }
  }
};

template <class = void>
__global__ void __launch_bounds__(kLargeThreads, 1)
    largeProduct(const __grid_constant__ TensorMap xTiles, const __grid_constant__ TensorMap wTiles,
                 const LargeWeights weights, const LargeInputs x, const Output out) {
  if (!compiledFor(MatrixUnit::wgmma)) return;
  const LargeRing<> ring{dynamicShared()};
  if (threadIdx.x == 0) ring.init(2 * kWarpgroup / kWarp);
  __syncthreads();
  const LargePlace place =
      largePlace(static_cast<int>(blockIdx.x), ceilDiv(x.tokens, kLargeTile), ceilDiv(weights.rows, kLargeTile));
  const int group = static_cast<int>(threadIdx.x) / kWarpgroup - 1;
  if (group < 0) {
    giveRegisters<40>();
    if (threadIdx.x == 0)
      produceTiles(ring, xTiles, place, x.blocks(), LargeRing<>::kStageBytes,
                   [&](int block, int stage) { loadPacked(ring, wTiles, place, block, stage); });
  } else {
    takeRegisters<232>();
    const int thread = static_cast<int>(threadIdx.x) % kWarpgroup;
    LargeSums sums;
    sums.token = place.token + group * kLargeTile / 2 + thread / kWarp * 16 + thread % kWarp / 4;
    sums.consume(ring, group, weights, x, place.row);
    sums.store(weights, x, out, place.row);
  }
}

/// Quantises inputs as they are, a block of 128 columns a warp.
template <int kThreads>
__global__ void __launch_bounds__(kThreads) quantizeTokens(const float* in, const LargeInputs x) {
  const int number = static_cast<int>(blockIdx.x * kThreads + threadIdx.x) / kWarp, lane = threadIdx.x % kWarp;
  if (number >= x.tokens * x.blocks()) return;
  const int token = number / x.blocks(), block = number % x.blocks(), col = block * kLargeTile + lane * kQuantizedEach;
  float value[kQuantizedEach];
#pragma unroll
  for (int i = 0; i < kQuantizedEach; ++i) value[i] = col + i < x.cols ? in[size_t(token) * x.cols + col + i] : 0.0f;
  quantizeBlock(value, x, token, block);
}

}  // namespace foretoken::cuda
