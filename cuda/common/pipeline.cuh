// The asynchronous machinery of Hopper: mbarriers in shared memory, boxes that the tensor memory accelerator copies,
// products of four warps (wgmma). cuda/simt/mbarrier.h, tma.h and wgmma.h say what each of them does.
#pragma once
#include "cuda/common/device.cuh"
#ifdef FORETOKEN_SIMT
#include "cuda/simt/model.h"
#include "cuda/simt/wgmma.h"
#else
#include <cuda.h>
#endif

namespace foretoken::cuda {

constexpr int kWarpgroup = 128;
/// Bytes of a row of a swizzled tile; such tiles start at multiples of 1024.
constexpr int kSwizzledRow = 128;

/// What a row of a box is made of.
enum class BoxRow : uint8_t {
  bytes,        ///< kSwizzledRow bytes as they are
  spacedCodes,  ///< kSwizzledRow codes of four bits, eight bytes of them and eight left alone in turn
};
/// Bytes of a row that count for the barrier.
constexpr int countedBytes(BoxRow row) { return row == BoxRow::bytes ? kSwizzledRow : kSwizzledRow / 2; }

#ifdef FORETOKEN_SIMT

using TensorMap = simt::TensorMap;

/// Describes rows of bytes or codes for copyBox: boxes of kSwizzledRow columns and `boxRows` rows. `pitch`, in bytes,
/// is a multiple of 16; of codes, pitch and base are multiples of 32, `cols` is one of 128.
inline cudaError_t makeTensorMap(TensorMap& map, const void* base, int64_t rows, int64_t cols, int64_t pitch,
                                 int boxRows, BoxRow row = BoxRow::bytes) {
  const auto* const bytes = static_cast<const unsigned char*>(base);
  map = {bytes, 2, {cols, rows, 1, 1}, {pitch, 0, 0}, {kSwizzledRow, boxRows, 1, 1}, row != BoxRow::bytes};
  return cudaSuccess;
}
/// Describes [tiles][steps][tileRows][kSwizzledRow] bytes for copyTiles: boxes of `boxTiles` tiles.
inline cudaError_t makeTileMap(TensorMap& map, const void* base, int64_t tiles, int64_t steps, int tileRows,
                               int boxTiles) {
  const int64_t stepBytes = int64_t{tileRows} * kSwizzledRow;
  map = {static_cast<const unsigned char*>(base),
         4,
         {kSwizzledRow, tileRows, steps, tiles},
         {kSwizzledRow, stepBytes, steps * stepBytes},
         {kSwizzledRow, tileRows, 1, boxTiles}};
  return cudaSuccess;
}

/// `arrivals` make a phase of the barrier; they are seen after fenceMbarriers and a barrier of the block.
inline void initMbarrier(uint64_t* barrier, int arrivals) { simt::initMbarrier(barrier, arrivals); }
inline void fenceMbarriers() {}
inline void arrive(uint64_t* barrier, simt::Where where = simt::Where::current()) {
  simt::arriveMbarrier(barrier, 0, where);
}
/// Arrives, and announces bytes that copies will bring.
inline void arriveExpecting(uint64_t* barrier, int bytes, simt::Where where = simt::Where::current()) {
  simt::arriveMbarrier(barrier, bytes, where);
}
/// Until the phase of this parity (0 for the first) is over.
inline void waitFor(uint64_t* barrier, uint32_t parity, simt::Where where = simt::Where::current()) {
  simt::waitMbarrier(barrier, parity, where);
}
/// Copies a box; its bytes count for the barrier.
inline void copyBox(void* to, const TensorMap& map, int col, int row, uint64_t* barrier,
                    simt::Where where = simt::Where::current()) {
  simt::copyBox(to, map, 2, {col, row, 0, 0}, barrier, where);
}
/// Copies one step of the tiles from `tile` on, one behind the other; their bytes count for the barrier.
inline void copyTiles(void* to, const TensorMap& map, int step, int tile, uint64_t* barrier,
                      simt::Where where = simt::Where::current()) {
  simt::copyBox(to, map, 4, {0, 0, step, tile}, barrier, where);
}
/// Copies bytes, a multiple of 16, between addresses that are multiples of 16; they count for the barrier.
inline void copyBytes(void* to, const void* from, int bytes, uint64_t* barrier,
                      simt::Where where = simt::Where::current()) {
  simt::copyBytes(to, from, bytes, barrier, where);
}
/// A swizzled tile as an operand of multiplyTiles; k columns further is + k / 16.
inline uint64_t tileOperand(const void* tile, simt::Where where = simt::Where::current()) {
  return simt::sharedOffset(tile, where) >> 4 | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}
/// Before the first product, and whenever registers of sums were touched.
inline void fenceProducts() {}
/// d (64 x 128) = or += a (64 x 32) b (128 x 32)^T, e4m3, by the four warps of a group, until waitProducts.
inline void multiplyTiles(float (&d)[64], uint64_t a, uint64_t b, bool accumulate,
                          simt::Where where = simt::Where::current()) {
  simt::issueProduct(d, 128, a, b, accumulate, where);
}
inline void commitProducts(simt::Where where = simt::Where::current()) { simt::commitProducts(where); }
/// Until all committed products are there.
inline void waitProducts(float (&)[64], simt::Where where = simt::Where::current()) { simt::waitForProducts(0, where); }
/// Registers of this warpgroup from here on: some give, so that others can take.
template <int kRegisters>
void giveRegisters() {}
template <int kRegisters>
void takeRegisters() {}

#else

using TensorMap = CUtensorMap;

/// `strides`, in bytes, are those of all dimensions but the first.
template <int kRank>
cudaError_t encodeTensorMap(TensorMap& map, const void* base, const cuuint64_t (&sizes)[kRank],
                            const cuuint64_t (&strides)[kRank - 1], const cuuint32_t (&box)[kRank], BoxRow row) {
  void* entry = nullptr;
  cudaDriverEntryPointQueryResult found;
  const cudaError_t error =
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000, cudaEnableDefault, &found);
  if (error != cudaSuccess) return error;
  if (!entry) return cudaErrorNotSupported;
  cuuint32_t steps[kRank];
  for (cuuint32_t& step : steps) step = 1;
  const auto encode = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry);
  const CUtensorMapDataType type =
      row == BoxRow::bytes ? CU_TENSOR_MAP_DATA_TYPE_UINT8 : CU_TENSOR_MAP_DATA_TYPE_16U4_ALIGN16B;
  const CUresult result =
      encode(&map, type, kRank, const_cast<void*>(base), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  return result == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

inline cudaError_t makeTensorMap(TensorMap& map, const void* base, int64_t rows, int64_t cols, int64_t pitch,
                                 int boxRows, BoxRow row = BoxRow::bytes) {
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(cols), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(pitch)};
  const cuuint32_t box[] = {kSwizzledRow, static_cast<cuuint32_t>(boxRows)};
  return encodeTensorMap<2>(map, base, sizes, strides, box, row);
}
inline cudaError_t makeTileMap(TensorMap& map, const void* base, int64_t tiles, int64_t steps, int tileRows,
                               int boxTiles) {
  const auto rows = static_cast<cuuint64_t>(tileRows), across = static_cast<cuuint64_t>(steps);
  const cuuint64_t sizes[] = {kSwizzledRow, rows, across, static_cast<cuuint64_t>(tiles)};
  const cuuint64_t strides[] = {kSwizzledRow, rows * kSwizzledRow, across * rows * kSwizzledRow};
  const cuuint32_t box[] = {kSwizzledRow, static_cast<cuuint32_t>(tileRows), 1, static_cast<cuuint32_t>(boxTiles)};
  return encodeTensorMap<4>(map, base, sizes, strides, box, BoxRow::bytes);
}

__device__ __forceinline__ uint32_t sharedAddress(const void* address) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(address));
}
__device__ __forceinline__ void initMbarrier(uint64_t* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(sharedAddress(barrier)), "r"(arrivals) : "memory");
}
__device__ __forceinline__ void fenceMbarriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ __forceinline__ void arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(sharedAddress(barrier)) : "memory");
}
__device__ __forceinline__ void arriveExpecting(uint64_t* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(sharedAddress(barrier)), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void waitFor(uint64_t* barrier, uint32_t parity) {
  uint32_t over = 0;
  while (!over) {
    asm volatile("{.reg .pred over; mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2; selp.u32 %0, 1, 0, over;}"
                 : "=r"(over)
                 : "r"(sharedAddress(barrier)), "r"(parity)
                 : "memory");
  }
}
__device__ __forceinline__ void copyBox(void* to, const TensorMap& map, int col, int row, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::
          "r"(sharedAddress(to)),
      "l"(&map), "r"(col), "r"(row), "r"(sharedAddress(barrier))
      : "memory");
}
__device__ __forceinline__ void copyTiles(void* to, const TensorMap& map, int step, int tile, uint64_t* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %2, %3, %4}], "
      "[%5];" ::"r"(sharedAddress(to)),
      "l"(&map), "r"(0), "r"(step), "r"(tile), "r"(sharedAddress(barrier))
      : "memory");
}
__device__ __forceinline__ void copyBytes(void* to, const void* from, int bytes, uint64_t* barrier) {
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   sharedAddress(to)),
               "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(sharedAddress(barrier))
               : "memory");
}
__device__ __forceinline__ uint64_t tileOperand(const void* tile) {
  return (sharedAddress(tile) & 0x3ffff) >> 4 | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

// wgmma and setmaxnreg are Hopper's own; kernels that use them are empty elsewhere.
#if __CUDA_ARCH__ == 900
__device__ __forceinline__ void fenceProducts() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ __forceinline__ void commitProducts() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int kRegisters>
__device__ __forceinline__ void giveRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void takeRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
__device__ __forceinline__ void multiplyTiles(float (&d)[64], uint64_t a, uint64_t b, bool accumulate) {
  asm volatile(
      "{.reg .pred more; setp.ne.b32 more, %66, 0; wgmma.mma_async.sync.aligned.m64n128k32.f32.e4m3.e4m3 {%0, %1, %2, "
      "%3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, "
      "%26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, %64, "
      "%65, more, 1, 1;}"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]),
        "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),
        "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
        "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]),
        "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]),
        "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
        "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),
        "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)));
}
__device__ __forceinline__ void waitProducts(float (&d)[64]) {
  asm volatile("wgmma.wait_group.sync.aligned 0;"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
                 "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
                 "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
                 "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]),
                 "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]),
                 "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]),
                 "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
                 "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]),
                 "+f"(d[63])::"memory");
}
#else
__device__ __forceinline__ void fenceProducts() {}
__device__ __forceinline__ void commitProducts() {}
template <int kRegisters>
__device__ __forceinline__ void giveRegisters() {}
template <int kRegisters>
__device__ __forceinline__ void takeRegisters() {}
__device__ __forceinline__ void multiplyTiles(float (&)[64], uint64_t, uint64_t, bool) {}
__device__ __forceinline__ void waitProducts(float (&)[64]) {}
#endif

#endif

/// What multiplies tiles of shared memory.
enum class MatrixUnit : uint8_t { none, wgmma, tcgen05 };

/// Whether the device that a kernel is compiled for has this one; kernels for it are empty where not.
__device__ __forceinline__ constexpr bool compiledFor([[maybe_unused]] MatrixUnit unit) {
#if defined(FORETOKEN_SIMT)
  return true;
#elif __CUDA_ARCH__ == 900
  return unit == MatrixUnit::wgmma;
#elif __CUDA_ARCH__ >= 1000
  return unit == MatrixUnit::tcgen05;
#else
  return false;
#endif
}

/// Of the current device, asked by the host.
inline MatrixUnit currentUnit() {
#ifdef FORETOKEN_SIMT
  return simt::model.hasTensorMemory ? MatrixUnit::tcgen05 : MatrixUnit::wgmma;
#else
  int device = 0, major = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return MatrixUnit::none;
  if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) != cudaSuccess) return MatrixUnit::none;
  return major == 9 ? MatrixUnit::wgmma : major == 10 ? MatrixUnit::tcgen05 : MatrixUnit::none;
#endif
}

}  // namespace foretoken::cuda
