// Matrix products of training, out (+)= a b: operands bf16, sums fp32. Rows of a, of b and of out lie where they are,
// and either operand may be given transposed, so that forward pass, gradient of the input and gradient of the weight
// are one kernel:
//
//     y  = x w^T       a = x [rows][inputs]          b = w^T, as w [outputs][inputs]
//     dx = dy w        a = dy [rows][outputs]        b = w [outputs][inputs]
//     dw = dy^T x      a = dy^T, as dy [rows][outputs]  b = x [rows][inputs]
//
// A block computes a tile of 128 x 128 numbers from slabs of 32 along the depth, four of which are on their way to
// shared memory at a time; each of its eight warps 64 x 32 of them. An element is one chain of products along the
// depth, in parts of kDepthPart that are added to `out` in order: it depends neither on the other rows nor on how tiles
// and parts are spread over launches. Background work must not hold the device for long, so a launch takes some tiles
// of one part (planGemm).
#pragma once
#include <vector>

#include "cuda/common/load.cuh"
#include "cuda/common/mma.cuh"

namespace foretoken::cuda {

constexpr int kTile = 128, kSlab = 32, kStages = 4;
constexpr int kGemmThreads = 256;
constexpr int kDepthPart = 8192;

/// A bf16 operand: rows [outer][depth], or transposed [depth][outer]. Strides are multiples of 8.
struct Operand {
  const uint16_t* data;
  int64_t stride;
  int outer;
  bool transposed;
};

struct GemmArgs {
  Operand a, b;  ///< outer: rows of out, columns of out; where a is transposed b is too
  int depth;
  float* out;  ///< [a.outer][stride]
  int64_t stride;
  bool accumulate;  ///< add to what is there
};
/// What one launch computes: tiles [firstTile, firstTile + tiles), counted down the rows first, over part of the depth.
struct GemmSlice {
  int depthBegin, depthEnd, firstTile, tiles;
};

/// A slab of an operand in shared memory: 16-byte units, where unit u of row r lies at u ^ f(r), so that eight rows of
/// an 8x8 matrix fall into different banks.
template <bool transposed>
struct Slab {
  static constexpr int kRows = transposed ? kSlab : kTile, kUnits = (transposed ? kTile : kSlab) / 8;
  static constexpr int kBytes = kTile * kSlab * 2;

  __device__ static int offset(int row, int unit) {
    const int mixed = unit ^ (transposed ? row % 8 : row / 2 % 4);
    return (row * kUnits + mixed) * 16;
  }

  /// Rows from `outer` on, columns from `depth` on; zeros beyond the matrix.
  __device__ static void load(unsigned char* slab, const Operand& from, int outer, int depth, int depthEnd) {
#pragma unroll
    for (int i = 0; i < kRows * kUnits / kGemmThreads; ++i) {
      const int at = i * kGemmThreads + static_cast<int>(threadIdx.x), row = at / kUnits, unit = at % kUnits;
      const int o = transposed ? outer + unit * 8 : outer + row, d = transposed ? depth + row : depth + unit * 8;
      const bool inside = o < from.outer && d < depthEnd;
      const int left = transposed ? from.outer - o : depthEnd - d;
      const int64_t index = transposed ? d * from.stride + o : o * from.stride + d;
      copyAsync16(slab + offset(row, unit), from.data + (inside ? index : 0), inside ? (left < 8 ? 2 * left : 16) : 0);
    }
  }

  /// The four 8x8 matrices of 16 (outer) x 16 (depth) numbers: outer 0-7 then 8-15 of depth 0-7, then of depth 8-15.
  __device__ static void fragments(uint32_t (&to)[4], const unsigned char* slab, int outer, int depth) {
    const int lane = static_cast<int>(threadIdx.x % kWarp), inner = lane % 8, second = lane / 8 % 2, half = lane / 16;
    if constexpr (transposed)
      loadMatrixTransposed(to, slab + offset(depth + half * 8 + inner, outer / 8 + second));
    else
      loadMatrix(to, slab + offset(outer + second * 8 + inner, depth / 8 + half));
  }
};

template <bool aTransposed, bool bTransposed>
__global__ void __launch_bounds__(kGemmThreads, 2) gemm(GemmArgs g, GemmSlice slice) {
  using SlabA = Slab<aTransposed>;
  using SlabB = Slab<bTransposed>;
  constexpr int kStage = SlabA::kBytes + SlabB::kBytes;
  unsigned char* const shared = dynamicShared();
  const int rowTiles = ceilDiv(g.a.outer, kTile), tile = slice.firstTile + static_cast<int>(blockIdx.x);
  const int row = tile % rowTiles * kTile, column = tile / rowTiles * kTile;
  const int slabs = ceilDiv(slice.depthEnd - slice.depthBegin, kSlab);
  const auto load = [&](int slab) {
    unsigned char* const stage = shared + slab % kStages * kStage;
    const int depth = slice.depthBegin + slab * kSlab;
    if (slab < slabs) {
      SlabA::load(stage, g.a, row, depth, slice.depthEnd);
      SlabB::load(stage + SlabA::kBytes, g.b, column, depth, slice.depthEnd);
    }
    commitCopies();
  };
  const int warp = static_cast<int>(threadIdx.x / kWarp), warpRow = warp % 2 * 64, warpColumn = warp / 2 * 32;
  float sum[4][4][4] = {};
  for (int slab = 0; slab < kStages - 1; ++slab) load(slab);
  for (int slab = 0; slab < slabs; ++slab) {
    waitCopies<kStages - 2>();
    __syncthreads();
    load(slab + kStages - 1);
    const unsigned char* const stage = shared + slab % kStages * kStage;
#pragma unroll
    for (int depth = 0; depth < kSlab; depth += 16) {
      uint32_t a[4][4], b[2][4];
#pragma unroll
      for (int i = 0; i < 4; ++i) SlabA::fragments(a[i], stage, warpRow + i * 16, depth);
#pragma unroll
      for (int i = 0; i < 2; ++i) SlabB::fragments(b[i], stage + SlabA::kBytes, warpColumn + i * 16, depth);
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const uint32_t columns[2] = {b[j / 2][j % 2], b[j / 2][j % 2 + 2]};
          mma(Bf16(), sum[i][j], a[i], columns);
        }
    }
  }
  const bool add = g.accumulate || slice.depthBegin > 0;
  const int lane = static_cast<int>(threadIdx.x % kWarp);
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int r = row + warpRow + i * 16 + lane / 4 + k / 2 * 8,
                  c = column + warpColumn + j * 8 + lane % 4 * 2 + k % 2;
        if (r >= g.a.outer || c >= g.b.outer) continue;
        float& out = g.out[r * g.stride + c];
        out = add ? out + sum[i][j][k] : sum[i][j][k];
      }
}

/// Products that a multiprocessor surely makes in 100 µs.
constexpr int64_t kProductsPerSlice = int64_t{100} * 1'000'000;

/// The launches of a product on `processors` multiprocessors, in order, none of which takes more than 200 µs.
inline std::vector<GemmSlice> planGemm(const GemmArgs& g, int processors) {
  std::vector<GemmSlice> slices;
  const int tiles = ceilDiv(g.a.outer, kTile) * ceilDiv(g.b.outer, kTile);
  for (int depth = 0; depth < g.depth; depth += kDepthPart) {
    const int end = depth + kDepthPart < g.depth ? depth + kDepthPart : g.depth;
    const int64_t products = int64_t{kTile} * kTile * (end - depth);
    const auto turns = static_cast<int>(products < kProductsPerSlice ? kProductsPerSlice / products : 1);
    for (int tile = 0; tile < tiles; tile += turns * processors)
      slices.push_back({depth, end, tile, tiles - tile < turns * processors ? tiles - tile : turns * processors});
  }
  return slices;
}

inline cudaError_t launchGemm(const GemmArgs& g, const GemmSlice& slice, cudaStream_t stream) {
  constexpr size_t kShared = kStages * 2 * kTile * kSlab * 2;
  const auto run = [&](auto kernel) {
    return launch(kernel, dim3(static_cast<unsigned>(slice.tiles)), dim3(kGemmThreads), kShared, stream, g, slice);
  };
  if (g.a.transposed) return run(gemm<true, true>);
  return g.b.transposed ? run(gemm<false, true>) : run(gemm<false, false>);
}

}  // namespace foretoken::cuda
