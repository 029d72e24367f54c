// Products for prefill on Blackwell, by one skeleton: e4m3 by the formulas of large.cuh (PromotedProduct), and operands
// whose scales the matrix unit multiplies (scaled.cuh). Unconfirmed: it has run on the executor only.
//
// A block of threads has one tile of 128 tokens x 128 rows. One thread fills the ring, one orders products; sums of a
// run of stages appear in one of the product's parts of tensor memory, a lane a token, a column a row. Eight warps add
// them, scaled, to 64 fp32 sums a thread, while the next run is multiplied. full[s] and empty[s] belong to the ring's
// stages; ready[p] tells that part p has its sums, drained[p] that all eight warps have read them.
//
// A Product says what is multiplied:
//   kScaleBytes            scales of an operand in a stage
//   kParts, kScaleColumns  parts of sums, and columns for scales behind them
//   tokens(), rows()       of the results
//   stages(), run()        stages in all, and those whose sums are one
//   stageBytes()           what a stage of the ring takes
//   loadWeights(...)       copies its tile of weights, and what it has besides the tiles
//   orderStage(...)        lets the products of a stage be added to d, or begin it
//   scale(token, row, run) what sums of a run are multiplied by
//   rowFactor(n)           what results of a row are multiplied by
#pragma once
#include "cuda/common/tensor.cuh"
#include "cuda/gemm/large.cuh"

namespace foretoken::cuda {

constexpr int kTensorAdders = 8;  ///< warps that add; then one that fills the ring, one that orders products
constexpr int kTensorRows = 64;   ///< rows of a thread
constexpr int kTensorThreads = (kTensorAdders + 2) * kWarp;
constexpr int kStageProducts = 4;  ///< a product takes 32 bytes of a row

/// What lies behind the ring: the barriers of the parts, and where tensor memory begins.
template <int kParts>
struct TensorParts {
  static constexpr size_t kBytes = 2 * kParts * sizeof(uint64_t) + sizeof(uint64_t);
  uint64_t* memory;

  __device__ uint64_t* ready(int part) const { return memory + part; }
  __device__ uint64_t* drained(int part) const { return memory + kParts + part; }
  __device__ uint32_t* address() const { return reinterpret_cast<uint32_t*>(memory + 2 * kParts); }
  __device__ uint32_t sums(int part) const { return *address() + part * kLargeTile; }
  __device__ uint32_t scales() const { return sums(kParts); }

  __device__ void init() const {
    for (int part = 0; part < kParts; ++part) {
      initMbarrier(ready(part), 1);
      initMbarrier(drained(part), kTensorAdders);
    }
  }
};

/// Columns are taken in powers of two.
template <class Product>
constexpr int tensorColumns() {
  int columns = 32;
  while (columns < Product::kParts * kLargeTile + Product::kScaleColumns) columns *= 2;
  return columns;
}

template <class Product>
constexpr size_t tensorSharedBytes() {
  return LargeRing<Product::kScaleBytes>::kBytes + TensorParts<Product::kParts>::kBytes;
}

/// e4m3, scaled block by block of 128 columns where sums are added.
struct PromotedProduct {
  static constexpr int kScaleBytes = 0, kParts = 2, kScaleColumns = 0;
  using Ring = LargeRing<kScaleBytes>;
  LargeWeights weights;
  LargeInputs x;

  __device__ int tokens() const { return x.tokens; }
  __device__ int rows() const { return weights.rows; }
  __device__ int stages() const { return x.blocks(); }
  __device__ int run() const { return 1; }
  __device__ int stageBytes() const { return Ring::kStageBytes; }
  __device__ void loadWeights(const Ring& ring, const TensorMap& w, const LargePlace& place, int block,
                              int stage) const {
    loadPacked(ring, w, place, block, stage);
  }
  static __device__ void orderStage(const Ring& ring, int stage, uint32_t d, uint32_t, bool begin) {
    const uint64_t a = tensorOperand(ring.inputs(stage)), b = tensorOperand(ring.weights(stage));
#pragma unroll
    for (int k = 0; k < kStageProducts; ++k) orderProduct(d, a + 2 * k, b + 2 * k, !begin || k > 0);
  }
  __device__ float scale(int token, int row, int block) const {
    return __ldg(x.scales + size_t(block) * x.tokens + token) * weights.blockScale(row, block);
  }
  __device__ float rowFactor(int n) const { return weights.rowFactor(n); }
};

/// One thread: products of every stage.
template <class Product, class Ring, class Parts>
__device__ void orderTiles(const Ring& ring, const Parts& parts, const Product& product) {
  const int run = product.run();
  for (int block = 0; block < product.stages(); ++block) {
    const int stage = block % kLargeStages, part = block / run % Product::kParts;
    const bool begin = block % run == 0, end = block % run == run - 1;
    waitFor(ring.full(stage), block / kLargeStages % 2);
    if (begin) waitFor(parts.drained(part), (block / run / Product::kParts + 1) % 2);
    fenceTensorAfter();
    Product::orderStage(ring, stage, parts.sums(part), parts.scales(), begin);
    commitOrders(ring.empty(stage));
    if (end) commitOrders(parts.ready(part));
  }
}

/// Sums of one token and half of the tile's rows. A warp sees the 32 lanes of its number modulo 4.
struct TensorSums {
  float total[kTensorRows] = {};
  int token, first;  ///< the first row, counted from the tile's

  template <class Product, class Parts>
  __device__ void add(const Parts& parts, const Product& product, int row) {
    const uint32_t lanes = threadIdx.x / kWarp % 4 * kWarp << 16;
    const int runs = product.stages() / product.run();
    for (int run = 0; run < runs; ++run) {
      const int part = run % Product::kParts;
      const float scale = product.scale(min(token, product.tokens() - 1), row, run);
      waitFor(parts.ready(part), run / Product::kParts % 2);
      fenceTensorAfter();
#pragma unroll
      for (int column = 0; column < kTensorRows; column += kTensorPart) {
        float d[kTensorPart];
        loadTensorMemory(parts.sums(part) + first + column + lanes, d);
#pragma unroll
        for (int i = 0; i < kTensorPart; ++i) total[column + i] = fmaf(d[i], scale, total[column + i]);
      }
      fenceTensorBefore();
      __syncwarp();
      if (threadIdx.x % kWarp == 0) arrive(parts.drained(part));
    }
  }

  template <class Product>
  __device__ void store(const Product& product, const Output& out, int row) const {
    if (token >= product.tokens()) return;
#pragma unroll
    for (int i = 0; i < kTensorRows; i += 2) {
      const int n = row + first + i;
      if (n >= product.rows()) continue;
      out.put(token, n, product.rows(), total[i] * product.rowFactor(n), total[i + 1] * product.rowFactor(n + 1));
    }
  }
};

template <class Product>
__global__ void __launch_bounds__(kTensorThreads, 1)
    tensorProduct(const __grid_constant__ TensorMap xTiles, const __grid_constant__ TensorMap wTiles,
                  const Product product, const Output out) {
  if (!compiledFor(MatrixUnit::tcgen05)) return;
  const LargeRing<Product::kScaleBytes> ring{dynamicShared()};
  const TensorParts<Product::kParts> parts{ring.full(2 * kLargeStages)};
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  if (threadIdx.x == 0) {
    parts.init();
    ring.init(1);
  }
  if (warp == kTensorAdders) allocateTensorMemory(parts.address(), tensorColumns<Product>());
  fenceTensorBefore();
  __syncthreads();
  fenceTensorAfter();
  const LargePlace place = largePlace(static_cast<int>(blockIdx.x), ceilDiv(product.tokens(), kLargeTile),
                                      ceilDiv(product.rows(), kLargeTile));
  if (warp < kTensorAdders) {
    TensorSums sums;
    sums.token = place.token + static_cast<int>(threadIdx.x) % kLargeTile;
    sums.first = warp / 4 * kTensorRows;
    sums.add(parts, product, place.row);
    sums.store(product, out, place.row);
  } else if (threadIdx.x == kTensorAdders * kWarp) {
    produceTiles(ring, xTiles, place, product.stages(), product.stageBytes(),
                 [&](int block, int stage) { product.loadWeights(ring, wTiles, place, block, stage); });
  } else if (threadIdx.x == (kTensorAdders + 1) * kWarp) {
    orderTiles(ring, parts, product);
  }
  fenceTensorBefore();
  __syncthreads();
  if (warp == kTensorAdders) freeTensorMemory(*parts.address(), tensorColumns<Product>());
}

/// Launches a block for each tile.
template <class Product>
cudaError_t launchTensorProduct(const TensorMap& xTiles, const TensorMap& wTiles, const Product& product, int tokens,
                                int rows, const Output& out, cudaStream_t stream) {
  const int tiles = ceilDiv(tokens, kLargeTile) * ceilDiv(rows, kLargeTile);
  return launch(tensorProduct<Product>, tiles, kTensorThreads, tensorSharedBytes<Product>(), stream, xTiles, wTiles,
                product, out);
}

}  // namespace foretoken::cuda
