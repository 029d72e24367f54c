// The product for prefill on Blackwell, by the same formulas as large.cuh. Unconfirmed: it has run on the executor
// only.
//
// A block of threads has one tile of 128 tokens x 128 rows. One thread fills the ring, one orders products; sums d_b of
// a block of columns appear in one of two parts of tensor memory, a lane a token, a column a row. Eight warps add them,
// scaled, to 64 fp32 sums a thread, while the next block is multiplied. full[s] and empty[s] belong to the ring's
// stages; ready[p] tells that part p has its sums, drained[p] that all eight warps have read them.
#pragma once
#include "cuda/common/tensor.cuh"
#include "cuda/gemm/large.cuh"

namespace foretoken::cuda {

constexpr int kTensorParts = 2;
constexpr int kTensorAdders = 8;  ///< warps that add; then one that fills the ring, one that orders products
constexpr int kTensorRows = 64;   ///< rows of a thread
constexpr int kTensorThreads = (kTensorAdders + 2) * kWarp;
constexpr size_t kTensorSharedBytes = kLargeSharedBytes + 2 * kTensorParts * sizeof(uint64_t) + sizeof(uint64_t);

/// What lies behind the ring: the barriers of the parts, and where tensor memory begins.
struct TensorParts {
  uint64_t* memory;

  __device__ uint64_t* ready(int part) const { return memory + part; }
  __device__ uint64_t* drained(int part) const { return memory + kTensorParts + part; }
  __device__ uint32_t* address() const { return reinterpret_cast<uint32_t*>(memory + 2 * kTensorParts); }

  __device__ void init() const {
    for (int part = 0; part < kTensorParts; ++part) {
      initMbarrier(ready(part), 1);
      initMbarrier(drained(part), kTensorAdders);
    }
  }
};

/// One thread: products of every stage, four for its 128 columns.
__device__ inline void orderTiles(const LargeRing& ring, const TensorParts& parts, int blocks) {
  for (int block = 0; block < blocks; ++block) {
    const int stage = block % kLargeStages, part = block % kTensorParts;
    waitFor(ring.full(stage), block / kLargeStages % 2);
    waitFor(parts.drained(part), (block / kTensorParts + 1) % 2);
    fenceTensorAfter();
    const uint64_t a = tensorOperand(ring.inputs(stage)), b = tensorOperand(ring.weights(stage));
#pragma unroll
    for (int k = 0; k < 4; ++k) orderProduct(*parts.address() + part * kLargeTile, a + 2 * k, b + 2 * k, k > 0);
    commitOrders(ring.empty(stage));
    commitOrders(parts.ready(part));
  }
}

/// Sums of one token and half of the tile's rows. A warp sees the 32 lanes of its number modulo 4.
struct TensorSums {
  float total[kTensorRows] = {};
  int token, first;  ///< the first row, counted from the tile's

  __device__ void add(const TensorParts& parts, const LargeWeights& weights, const LargeInputs& x, int row) {
    const uint32_t lanes = threadIdx.x / kWarp % 4 * kWarp << 16;
    for (int block = 0; block < x.blocks(); ++block) {
      const int part = block % kTensorParts;
      const float weightScale =
          weights.blockScales ? __ldg(weights.blockScales + row / kLargeTile * x.blocks() + block) : 1.0f;
      const float scale = __ldg(x.scales + size_t(block) * x.tokens + min(token, x.tokens - 1)) * weightScale;
      waitFor(parts.ready(part), block / kTensorParts % 2);
      fenceTensorAfter();
#pragma unroll
      for (int column = 0; column < kTensorRows; column += kTensorPart) {
        float d[kTensorPart];
        loadTensorMemory(*parts.address() + part * kLargeTile + first + column + lanes, d);
#pragma unroll
        for (int i = 0; i < kTensorPart; ++i) total[column + i] = fmaf(d[i], scale, total[column + i]);
      }
      fenceTensorBefore();
      __syncwarp();
      if (threadIdx.x % kWarp == 0) arrive(parts.drained(part));
    }
  }

  __device__ void store(const LargeWeights& weights, const LargeInputs& x, const Output& out, int row) const {
    if (token >= x.tokens) return;
#pragma unroll
    for (int i = 0; i < kTensorRows; i += 2) {
      const int n = row + first + i;
      if (n >= weights.rows) continue;
      out.put(token, n, weights.rows, total[i] * weights.rowFactor(n), total[i + 1] * weights.rowFactor(n + 1));
    }
  }
};

template <class = void>
__global__ void __launch_bounds__(kTensorThreads, 1)
    tensorProduct(const __grid_constant__ TensorMap xTiles, const __grid_constant__ TensorMap wTiles,
                  const LargeWeights weights, const LargeInputs x, const Output out) {
  if (!compiledFor(MatrixUnit::tcgen05)) return;
  const LargeRing ring{dynamicShared()};
  const TensorParts parts{ring.full(2 * kLargeStages)};
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  if (threadIdx.x == 0) {
    parts.init();
    ring.init(1);
  }
  if (warp == kTensorAdders) allocateTensorMemory(parts.address(), kTensorParts * kLargeTile);
  fenceTensorBefore();
  __syncthreads();
  fenceTensorAfter();
  const LargePlace place =
      largePlace(static_cast<int>(blockIdx.x), ceilDiv(x.tokens, kLargeTile), ceilDiv(weights.rows, kLargeTile));
  if (warp < kTensorAdders) {
    TensorSums sums;
    sums.token = place.token + static_cast<int>(threadIdx.x) % kLargeTile;
    sums.first = warp / 4 * kTensorRows;
    sums.add(parts, weights, x, place.row);
    sums.store(weights, x, out, place.row);
  } else if (threadIdx.x == kTensorAdders * kWarp) {
    produceTiles(ring, xTiles, wTiles, place, x.blocks());
  } else if (threadIdx.x == (kTensorAdders + 1) * kWarp) {
    orderTiles(ring, parts, x.blocks());
  }
  fenceTensorBefore();
  __syncthreads();
  if (warp == kTensorAdders) freeTensorMemory(*parts.address(), kTensorParts * kLargeTile);
}

}  // namespace foretoken::cuda
