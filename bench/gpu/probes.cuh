// What the executor of cuda/simt has to have in common with a GPU: kernels that write out what one primitive does with
// known bits. Compiled by nvcc and over the executor; the results have to be the same words.
#pragma once
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "cuda/common/codec.cuh"
#include "cuda/common/load.cuh"
#include "cuda/common/mma.cuh"
#include "cuda/common/reduce.cuh"
#include "cuda/common/tensor.cuh"

namespace foretoken::bench {

using namespace foretoken::cuda;

/// A word of input: small numbers, so that sums of products are exact in whatever order they are made.
template <class Type>
__device__ __forceinline__ uint32_t smallPair(Type type, uint32_t seed) {
  const uint32_t mixed = seed * 2654435761u;
  return packPair(type, static_cast<float>(static_cast<int>(mixed >> 28) - 8),
                  static_cast<float>(static_cast<int>(mixed >> 24 & 15) - 8));
}

template <class Type>
__global__ void probeMma(uint32_t* out) {
  const uint32_t lane = threadIdx.x;
  uint32_t a[4], b[2];
  for (uint32_t i = 0; i < 4; ++i) a[i] = smallPair(Type{}, lane * 8 + i);
  for (uint32_t i = 0; i < 2; ++i) b[i] = smallPair(Type{}, lane * 8 + 4 + i);
  float d[4];
  for (int i = 0; i < 4; ++i) d[i] = static_cast<float>(lane) - static_cast<float>(4 * i);
  mma(Type{}, d, a, b);
  for (int i = 0; i < 4; ++i) out[lane * 4 + i] = __float_as_uint(d[i]);
}

__global__ void probeMmaBytes(uint32_t* out) {
  const uint32_t lane = threadIdx.x;
  uint32_t a[4], b[2];
  for (uint32_t i = 0; i < 4; ++i) a[i] = (lane * 4 + i) * 2654435761u;
  for (uint32_t i = 0; i < 2; ++i) b[i] = (lane * 2 + i) * 2246822519u;
  int d[4] = {1, -1, static_cast<int>(lane), 0};
  mma(d, a, b);
  for (int i = 0; i < 4; ++i) out[lane * 4 + i] = static_cast<uint32_t>(d[i]);
}

template <bool kTransposed>
__global__ void probeLoadMatrix(uint32_t* out) {
  __shared__ __align__(16) uint16_t rows[32 * 8];
  for (int i = 0; i < 8; ++i) rows[threadIdx.x * 8 + i] = static_cast<uint16_t>(threadIdx.x * 256 + i);
  __syncwarp();
  uint32_t to[4];
  const uint16_t* const row = rows + (threadIdx.x ^ 5u) * 8;
  if constexpr (kTransposed)
    loadMatrixTransposed(to, row);
  else
    loadMatrix(to, row);
  for (int i = 0; i < 4; ++i) out[threadIdx.x * 4 + i] = to[i];
}

__global__ void probeCopy(uint32_t* out) {
  __shared__ __align__(16) uint32_t to[32 * 4];
  for (uint32_t i = 0; i < 4; ++i) out[128 + threadIdx.x * 4 + i] = threadIdx.x * 16 + i;
  __syncthreads();
  copyAsync16(to + threadIdx.x * 4, out + 128 + threadIdx.x * 4, static_cast<int>(threadIdx.x % 17));
  commitCopies();
  waitCopies<0>();
  __syncwarp();
  for (int i = 0; i < 4; ++i) out[threadIdx.x * 4 + i] = to[threadIdx.x * 4 + i];
}

__global__ void probeWarp(uint32_t* out) {
  const uint32_t lane = threadIdx.x, value = lane * 2654435761u;
  out[lane * 4] = __shfl_xor_sync(kAllLanes, value, 5);
  out[lane * 4 + 1] = __shfl_up_sync(kAllLanes, value, 3);
  out[lane * 4 + 2] = __ballot_sync(kAllLanes, value >> 31);
  out[lane * 4 + 3] = __float_as_uint(warpReduce(static_cast<float>(value >> 8) * 1e-3f, Sum{}));
}

/// Rounding to f16 and bf16, of 128 floats all over f16's range.
__global__ void probeRounding(uint32_t* out) {
  for (uint32_t i = 0; i < 4; ++i) {
    const uint32_t word = (threadIdx.x * 4 + i) * 2654435761u;
    const float value = __uint_as_float((word & 0x8fffffffu) | 0x38000000u);
    out[threadIdx.x * 4 + i] = fromFloat(F16{}, value) | uint32_t{fromFloat(Bf16{}, value)} << 16;
  }
}

/// e4m3 and e2m1, both ways. Eight e2m1 codes come out in an order of the device's own.
__global__ void probeCodes(uint32_t* out) {
  const uint32_t word = threadIdx.x * 2654435761u;
  out[threadIdx.x * 4] = decodeE4m3Pair(word & 0x7e7eu);  // no NaN, whose bits are the device's
  const float low = __uint_as_float((word & 0x87ffffffu) | 0x38000000u), high = low * -3.7f;
  out[threadIdx.x * 4 + 1] = encodeE4m3Pair(low, high) | encodeE2m1Pair(low, high) << 16;
  uint32_t pairs[4], sum = 0;
  decodeE2m1(word, pairs);
  for (int i = 0; i < 8; ++i) {
    const uint32_t half = pairs[e2m1Slot(i) / 2] >> (e2m1Slot(i) % 2 * 16);
    sum = sum * 31 + __float_as_uint(toFloat(F16{}, static_cast<uint16_t>(half)) * e2m1Factor());
  }
  out[threadIdx.x * 4 + 2] = sum;
  out[threadIdx.x * 4 + 3] = spread(word, 0) ^ spread(word, 1);
}

// --- tiles of shared memory ------------------------------------------------------------------------------------------

constexpr int kProbeTile = 128 * kSwizzledRow;                            ///< bytes
constexpr int kProbeShared = 2 * kProbeTile + 64;                         ///< two tiles, a barrier, an address
constexpr int kProbeRows = 200, kProbeCols = 208;                         ///< of the matrix that boxes are of
constexpr int kProbeInput = kProbeRows * kProbeCols / 4;                  ///< words
constexpr int kTileRowsProbed = 16, kTilesProbed = 10, kStepsProbed = 2;  ///< of the same bytes as tiles of rows
constexpr int kProductThreads = kWarpgroup, kSums = 128;                  ///< sums: of a lane of tensor memory

/// e4m3 of -2 .. 2, so that sums are exact.
__global__ void probeFill(uint32_t* codes) {
  const uint32_t i = blockIdx.x * blockDim.x + threadIdx.x, mixed = i * 2654435761u;
  if (i >= kProbeInput) return;
  const auto small = [&](int at) { return static_cast<float>(static_cast<int>(mixed >> at & 7) % 5 - 2); };
  codes[i] = encodeE4m3Pair(small(5), small(11)) | encodeE4m3Pair(small(17), small(27)) << 16;
}

/// What every probe of tiles has in shared memory.
struct ProbeTiles {
  unsigned char* const a = dynamicShared();
  unsigned char* const b = a + kProbeTile;
  uint64_t* const barrier = reinterpret_cast<uint64_t*>(b + kProbeTile);
  uint32_t* const address = reinterpret_cast<uint32_t*>(barrier + 1);

  /// Boxes at the matrix's start, and at a place from which they reach beyond its end.
  __device__ void load(const TensorMap& map) const {
    copy([&] {
      copyBox(a, map, 0, 0, barrier);
      copyBox(b, map, 96, 88, barrier);
    });
  }
  /// The same of tiles.
  __device__ void loadTiles(const TensorMap& map) const {
    copy([&] {
      copyTiles(a, map, 0, 0, barrier);
      copyTiles(b, map, 1, 5, barrier);
    });
  }

 private:
  /// Until what one thread starts to copy, two tiles, is there.
  template <class Start>
  __device__ void copy(Start start) const {
    if (threadIdx.x == 0) {
      initMbarrier(barrier, 1);
      fenceMbarriers();
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      arriveExpecting(barrier, 2 * kProbeTile);
      start();
    }
    waitFor(barrier, 0);
  }
};

/// The bytes of both boxes as they lie in shared memory.
template <bool kTiled>
__global__ void probeSwizzle(const __grid_constant__ TensorMap map, uint32_t* out) {
  const ProbeTiles tiles;
  if (kTiled)
    tiles.loadTiles(map);
  else
    tiles.load(map);
  for (int i = static_cast<int>(threadIdx.x); i < 2 * kProbeTile / 4; i += kProductThreads)
    out[i] = reinterpret_cast<const uint32_t*>(tiles.a)[i];
}

/// Four products of descriptors 32 columns apart: 64 x 128 sums.
template <class = void>
__global__ void probeWgmma(const __grid_constant__ TensorMap map, uint32_t* out) {
  if (!compiledFor(MatrixUnit::wgmma)) return;
  const ProbeTiles tiles;
  tiles.load(map);
  float d[64];
  fenceProducts();
  for (int k = 0; k < 4; ++k) multiplyTiles(d, tileOperand(tiles.a) + 2 * k, tileOperand(tiles.b) + 2 * k, k > 0);
  commitProducts();
  waitProducts(d);
  for (int i = 0; i < 64; ++i) out[threadIdx.x * 64 + i] = __float_as_uint(d[i] + 0.0f);  // no -0
}

/// The same of tensor memory: 128 x 128 sums.
template <class = void>
__global__ void probeTensor(const __grid_constant__ TensorMap map, uint32_t* out) {
  if (!compiledFor(MatrixUnit::tcgen05)) return;
  const ProbeTiles tiles;
  const uint32_t warp = threadIdx.x / kWarp;
  if (warp == 0) allocateTensorMemory(tiles.address, kSums);
  tiles.load(map);
  fenceTensorBefore();
  __syncthreads();
  fenceTensorAfter();
  if (threadIdx.x == 0) {
    for (int k = 0; k < 4; ++k)
      orderProduct(*tiles.address, tensorOperand(tiles.a) + 2 * k, tensorOperand(tiles.b) + 2 * k, k > 0);
    commitOrders(tiles.barrier);
  }
  waitFor(tiles.barrier, 1);
  fenceTensorAfter();
  for (int column = 0; column < kSums; column += kTensorPart) {
    float d[kTensorPart];
    loadTensorMemory(*tiles.address + column + (warp * kWarp << 16), d);
    for (int i = 0; i < kTensorPart; ++i) out[threadIdx.x * kSums + column + i] = __float_as_uint(d[i] + 0.0f);
  }
  fenceTensorBefore();
  __syncthreads();
  if (warp == 0) freeTensorMemory(*tiles.address, kSums);
}

// --- all of them -----------------------------------------------------------------------------------------------------

/// A name, the unit that it is about if it is one, how many words it writes, how many it needs, and what writes them to
/// memory that kernels can reach.
struct Probe {
  std::string name;
  MatrixUnit unit;
  int words, room;
  std::function<cudaError_t(uint32_t*)> run;
};

inline std::vector<Probe> probes() {
  const auto ofWarp = [](const char* name, void (*kernel)(uint32_t*)) {
    return Probe{name, MatrixUnit::none, 128, 256,
                 [kernel](uint32_t* out) { return launch(kernel, 1, kWarp, 0, nullptr, out); }};
  };
  const auto ofMap = [](const char* name, MatrixUnit unit, int words, void (*kernel)(TensorMap, uint32_t*), auto make) {
    return Probe{name, unit, words, words + kProbeInput, [words, kernel, make](uint32_t* out) {
                   TensorMap map;
                   cudaError_t error = make(map, out + words);
                   if (error == cudaSuccess)
                     error = launch(probeFill, ceilDiv(kProbeInput, 256), 256, 0, nullptr, out + words);
                   if (error != cudaSuccess) return error;
                   return launch(kernel, 1, kProductThreads, kProbeShared, nullptr, map, out);
                 }};
  };
  const auto ofTiles = [&](const char* name, MatrixUnit unit, int words, void (*kernel)(TensorMap, uint32_t*)) {
    return ofMap(name, unit, words, kernel, [](TensorMap& map, const uint32_t* input) {
      return makeTensorMap(map, input, kProbeRows, kProbeCols, kProbeCols, 128);
    });
  };
  const auto tileMap = [](TensorMap& map, const uint32_t* input) {
    return makeTileMap(map, input, kTilesProbed, kStepsProbed, kTileRowsProbed, 128 / kTileRowsProbed);
  };
  return {ofWarp("mma.f16", probeMma<F16>),
          ofWarp("mma.bf16", probeMma<Bf16>),
          ofWarp("mma.s8", probeMmaBytes),
          ofWarp("ldmatrix", probeLoadMatrix<false>),
          ofWarp("ldmatrix.trans", probeLoadMatrix<true>),
          ofWarp("cp.async", probeCopy),
          ofWarp("warp", probeWarp),
          ofWarp("rounding", probeRounding),
          ofWarp("codes", probeCodes),
          ofTiles("swizzle", MatrixUnit::none, 2 * kProbeTile / 4, probeSwizzle<false>),
          ofMap("swizzle.tiles", MatrixUnit::none, 2 * kProbeTile / 4, probeSwizzle<true>, tileMap),
          ofTiles("wgmma", MatrixUnit::wgmma, kProductThreads * 64, probeWgmma<>),
          ofTiles("tcgen05", MatrixUnit::tcgen05, kProductThreads * kSums, probeTensor<>)};
}

}  // namespace foretoken::bench
