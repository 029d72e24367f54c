// The executor itself: what a GPU would do is done, what a GPU would do wrong is reported, with block and thread.
#include <array>
#include <cmath>
#include <limits>

#include "cuda/common/load.cuh"
#include "cuda/common/mma.cuh"
#include "cuda/common/pipeline.cuh"
#include "cuda/common/reduce.cuh"
#include "cuda/common/tensor.cuh"
#include "test/cuda/schedules.h"
#include "test/native/check.h"

namespace foretoken::test {

using namespace foretoken::cuda;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// --- threads, blocks, shared memory ---------------------------------------------------------------------------------

__global__ void writeIndices(int* out) {
  const int block = static_cast<int>(blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z));
  const int thread = static_cast<int>(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
  out[block * static_cast<int>(blockDim.x * blockDim.y * blockDim.z) + thread] = block * 1000 + thread;
}

void testIndices() {
  forEachSchedule(4, [] {
    std::vector<int> out(2 * 3 * 2 * 5 * 7 * 2, -1);
    launch(writeIndices, dim3(2, 3, 2), dim3(5, 7, 2), 0, nullptr, out.data());
    for (int i = 0; i < static_cast<int>(out.size()); ++i) CHECK(out[i] == i / 70 * 1000 + i % 70);
  });
}

/// Reverses an array through static and dynamic shared memory.
__global__ void reverse(const int* in, int* out, bool synchronize) {
  __shared__ int first[256];
  int* second = dynamicShared<int>();
  const int i = static_cast<int>(threadIdx.x), n = static_cast<int>(blockDim.x);
  first[i] = in[i];
  if (synchronize) __syncthreads();
  second[i] = first[n - 1 - i];
  __syncthreads();
  out[i] = second[i];
}

void testShared() {
  std::vector<int> in(256), out(256);
  for (int i = 0; i < 256; ++i) in[i] = i * i;
  forEachSchedule(6, [&] {
    launch(reverse, 1, 256, 256 * sizeof(int), nullptr, in.data(), out.data(), true);
    for (int i = 0; i < 256; ++i) CHECK(out[i] == in[255 - i]);
    // Without the barrier somebody reads what is not there yet, and that is -1.
    launch(reverse, 1, 256, 256 * sizeof(int), nullptr, in.data(), out.data(), false);
    CHECK(std::count(out.begin(), out.end(), -1) > 0);
  });
}

template <int N>
__global__ void readUnwritten(float* out, bool write) {
  __shared__ float memory[N];
  if (write) memory[threadIdx.x] = 1;
  out[threadIdx.x] = memory[threadIdx.x] + dynamicShared<float>()[threadIdx.x];
}

/// Nothing of one block is left for the next one.
void testPoison() {
  std::vector<float> out(64);
  for (const bool write : {true, false}) {
    launch(readUnwritten<64>, 2, 64, 256, nullptr, out.data(), write);
    for (const float value : out) CHECK(std::isnan(value));
  }
}

__global__ void writeBehind(int bytes) { dynamicShared()[bytes] = 1; }

void testLimits() {
  const auto launched = [](dim3 grid, dim3 block, size_t bytes) {
    return failureOf([&] { launch(writeIndices, grid, block, bytes, nullptr, nullptr); });
  };
  CHECK(contains(launched(1, 1025, 0), "1 to 1024"));
  CHECK(contains(launched(0, 32, 0), "without blocks"));
  CHECK(contains(launched(1, 32, 228 * 1024), "shared memory"));
#ifndef __SANITIZE_ADDRESS__  // which reports it itself, where it happens
  CHECK(contains(failureOf([] { launch(writeBehind, 1, 1, 100, nullptr, 100); }), "behind dynamic shared memory"));
#endif
}

__global__ void doNothing() {}

/// A launch with less shared memory takes nothing from one with more that is on its way.
void testSharedMemoryThatIsAllowed() {
  constexpr size_t kMuch = 100 * 1024, kLess = 60 * 1024;
  CHECK(contains(failureOf([] { simt::runGrid(doNothing, 1, 1, kLess); }), "may have"));
  for (const size_t bytes : {kMuch, kLess}) CHECK(launch(doNothing, 1, 1, bytes, nullptr) == cudaSuccess);
  CHECK(failureOf([] { simt::runGrid(doNothing, 1, 1, kMuch); }).empty());
}

__global__ void recurse(int depth, int* out) {
  volatile char frame[4096];
  for (volatile char& byte : frame) byte = static_cast<char>(depth);
  *out += frame[0];
  if (depth > 0) recurse(depth - 1, out);
  *out += frame[1];
}

void testStack() {
#ifndef __SANITIZE_ADDRESS__
  int out = 0;
  CHECK(failureOf([&] { launch(recurse, 1, 64, 0, nullptr, 4, &out); }).empty());
  CHECK(contains(failureOf([&] { launch(recurse, 1, 64, 0, nullptr, 18, &out); }), "stack"));
#endif
}

// --- barriers -------------------------------------------------------------------------------------------------------

__global__ void countVotes(int* out) {
  const bool odd = threadIdx.x % 2 == 1;
  const int count = __syncthreads_count(odd), any = __syncthreads_or(threadIdx.x == 40);
  const int all = __syncthreads_and(threadIdx.x < 96), none = __syncthreads_or(threadIdx.x > 500);
  out[threadIdx.x] = count * 1000 + any * 100 + all * 10 + none;
}

__global__ void exitEarly(int* out) {
  if (threadIdx.x >= 40) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}

/// Warps 0 and 1 hand numbers to warps 2 and 3 through named barriers; warps 4 and 5 do something else meanwhile.
__global__ void handOver(int* out) {
  __shared__ int box[64];
  const int thread = static_cast<int>(threadIdx.x);
  for (int turn = 0; turn < 3; ++turn) {
    if (thread < 64) {
      if (turn > 0) namedBarrier(2, 128);
      box[thread] = turn * 100 + thread;
      arriveAtBarrier(1, 128);
    } else if (thread < 128) {
      namedBarrier(1, 128);
      out[turn * 64 + thread - 64] = box[thread - 64];
      if (turn < 2) arriveAtBarrier(2, 128);
    } else {
      namedBarrier(3, 64);
    }
  }
}

void testBarriers() {
  forEachSchedule(12, [] {
    std::vector<int> out(192, 0);
    launch(countVotes, 1, 96, 0, nullptr, out.data());
    for (int i = 0; i < 96; ++i) CHECK(out[i] == 48 * 1000 + 100 + 10);
    launch(exitEarly, 1, 96, 0, nullptr, out.data());
    for (int i = 0; i < 40; ++i) CHECK(out[i] == 1);
    launch(handOver, 1, 192, 0, nullptr, out.data());
    for (int i = 0; i < 192; ++i) CHECK(out[i] == i / 64 * 100 + i % 64);
  });
}

__global__ void divergent(bool second) {
  if (blockIdx.x == 2 && threadIdx.x >= 16) {
    if (second) __syncthreads();
    __syncwarp();
  } else {
    __syncthreads();
  }
}

__global__ void pollForever(const int* flag) {
  while (*flag == 0) __nanosleep(10);
}

__global__ void wrongMask() { __shfl_sync(0xffffu, 1, 0); }
__global__ void outsideMask() {
  if (threadIdx.x < 16) __shfl_sync(0xffffu, 1, 20);
}
__global__ void mixedCollectives() {
  if (threadIdx.x < 16) {
    __ballot_sync(~0u, 1);
  } else {
    __syncwarp();
  }
}

void testReports() {
  forEachSchedule(4, [] {
    const std::string stuck = failureOf([] { launch(divergent, 4, 32, 0, nullptr, false); });
    CHECK(contains(stuck, "deadlock") && contains(stuck, "16 threads wait for barrier at"));
    CHECK(contains(stuck, "16 threads wait for __syncwarp at") && contains(stuck, "executor.cc"));
    CHECK(contains(stuck, "block (2,0,0) thread (16,0,0)"));
    const std::string mixed = failureOf([] { launch(divergent, 4, 32, 0, nullptr, true); });
    CHECK(contains(mixed, "divergent barrier") && contains(mixed, "block (2,0,0)"));
    const int flag = 0;
    CHECK(contains(failureOf([&] { launch(pollForever, 1, 2, 0, nullptr, &flag); }), "livelock"));
    CHECK(contains(failureOf([] { launch(wrongMask, 1, 32, 0, nullptr); }), "lacks the calling lane"));
    CHECK(contains(failureOf([] { launch(outsideMask, 1, 32, 0, nullptr); }), "outside its mask"));
    CHECK(contains(failureOf([] { launch(mixedCollectives, 1, 32, 0, nullptr); }), "divergent warp"));
  });
}

// --- warps, atomics -------------------------------------------------------------------------------------------------

struct WarpResults {
  int value[10];
};

__global__ void collectives(WarpResults* out) {
  const int lane = static_cast<int>(threadIdx.x % 32), mine = lane * 3;
  WarpResults& r = out[threadIdx.x];
  r.value[0] = __shfl_sync(kAllLanes, mine, lane + 5);
  r.value[1] = __shfl_xor_sync(kAllLanes, mine, 6);
  r.value[2] = __shfl_up_sync(kAllLanes, mine, 3);
  r.value[3] = __shfl_down_sync(kAllLanes, mine, 3, 8);
  r.value[4] = static_cast<int>(__ballot_sync(kAllLanes, lane % 3 == 0));
  r.value[5] = __any_sync(kAllLanes, lane == 31) * 2 + __all_sync(kAllLanes, lane < 31);
  r.value[6] = static_cast<int>(__match_any_sync(kAllLanes, lane / 4));
  r.value[7] = __reduce_add_sync(kAllLanes, mine) + __reduce_max_sync(kAllLanes, mine);
  r.value[8] = lane < 8 ? __shfl_sync(0xffu, mine, 7) : __reduce_min_sync(0xffffff00u, mine);
  r.value[9] = warpReduce(mine, Max{});
}

void testCollectives() {
  forEachSchedule(6, [] {
    std::vector<WarpResults> out(64);
    launch(collectives, 1, 64, 0, nullptr, out.data());
    for (int thread = 0; thread < 64; ++thread) {
      const int lane = thread % 32;
      const int expected[10] = {(lane + 5) % 32 * 3,
                                (lane ^ 6) * 3,
                                (lane >= 3 ? lane - 3 : lane) * 3,
                                (lane % 8 + 3 < 8 ? lane + 3 : lane) * 3,
                                0x49249249,
                                2,
                                static_cast<int>(0xfu << lane / 4 * 4),
                                31 * 16 * 3 + 93,
                                lane < 8 ? 21 : 24,
                                93};
      for (int i = 0; i < 10; ++i) CHECK(out[thread].value[i] == expected[i]);
    }
  });
}

/// Sums the block's numbers; counts, takes the largest and keeps a list whose order the schedule decides.
__global__ void sums(const float* in, float* sum, int* counter, int* largest, int* list) {
  __shared__ float scratch[4];
  const float all = blockReduce(in[threadIdx.x], scratch, 4, Sum{});
  sum[threadIdx.x] = all;
  list[atomicAdd(counter, 1)] = static_cast<int>(threadIdx.x);
  atomicMax(largest, static_cast<int>(threadIdx.x) * 2);
}

__global__ void lockedAdd(int* lock, int* value) {
  while (atomicCAS(lock, 0, 1) != 0) {
  }
  const int before = *value;
  __nanosleep(1);
  *value = before + 1;
  atomicExch(lock, 0);
}

void testSumsAndAtomics() {
  std::mt19937 random(1);
  const auto in = normalFloats(random, 128);
  double exact = 0;
  for (const float x : in) exact += x;
  float first = 0;
  bool reordered = false;
  forEachSchedule(8, [&] {
    std::vector<float> sum(128);
    std::vector<int> list(128, -1);
    int counter = 0, largest = 0, lock = 0, locked = 0;
    launch(sums, 1, 128, 0, nullptr, in.data(), sum.data(), &counter, &largest, list.data());
    if (simt::schedule.seed == 0) first = sum[0];
    for (const float value : sum) CHECK(value == first);
    CHECK(std::abs(first - exact) < 1e-4 && counter == 128 && largest == 254);
    reordered |= !std::is_sorted(list.begin(), list.end());
    std::sort(list.begin(), list.end());
    for (int i = 0; i < 128; ++i) CHECK(list[i] == i);
    launch(lockedAdd, 2, 40, 0, nullptr, &lock, &locked);
    CHECK(locked == 80);
  });
  CHECK(reordered);
}

// --- matrix fragments -----------------------------------------------------------------------------------------------

/// Every lane brings its fragments of a [16][16], b [16][8], d [16][8] by PTX's definition.
template <class Type>
__global__ void multiply(const float* a, const float* b, float* d) {
  const int g = static_cast<int>(threadIdx.x) / 4, t = static_cast<int>(threadIdx.x) % 4;
  uint32_t left[4], right[2];
  float sum[4];
  for (int r = 0; r < 4; ++r) {
    const float* pair = a + (g + r % 2 * 8) * 16 + r / 2 * 8 + 2 * t;
    left[r] = packPair(Type{}, pair[0], pair[1]);
    sum[r] = d[(g + r / 2 * 8) * 8 + 2 * t + r % 2];
  }
  for (int r = 0; r < 2; ++r) {
    const float* top = b + (r * 8 + 2 * t) * 8 + g;
    right[r] = packPair(Type{}, top[0], top[8]);
  }
  mma(Type{}, sum, left, right);
  for (int r = 0; r < 4; ++r) d[(g + r / 2 * 8) * 8 + 2 * t + r % 2] = sum[r];
}

template <class Type>
void testMma() {
  std::mt19937 random(2);
  const auto a = normalFloats(random, 256), b = normalFloats(random, 128), start = normalFloats(random, 128);
  const auto rounded = [](float x) { return double{toFloat(Type{}, fromFloat(Type{}, x))}; };
  forEachSchedule(3, [&] {
    auto d = start;
    launch(multiply<Type>, 1, 32, 0, nullptr, a.data(), b.data(), d.data());
    for (int row = 0; row < 16; ++row) {
      for (int column = 0; column < 8; ++column) {
        double exact = start[row * 8 + column];
        for (int k = 0; k < 16; ++k) exact += rounded(a[row * 16 + k]) * rounded(b[k * 8 + column]);
        CHECK(std::abs(d[row * 8 + column] - exact) < 1e-5);
      }
    }
  });
}

__global__ void multiplyBytes(const int8_t* a, const int8_t* b, int* d) {
  const int g = static_cast<int>(threadIdx.x) / 4, t = static_cast<int>(threadIdx.x) % 4;
  uint32_t left[4] = {}, right[2] = {};
  for (int i = 0; i < 4; ++i) {
    for (int r = 0; r < 4; ++r)
      left[r] |= uint32_t{static_cast<uint8_t>(a[(g + r % 2 * 8) * 32 + r / 2 * 16 + 4 * t + i])} << 8 * i;
    for (int r = 0; r < 2; ++r) right[r] |= uint32_t{static_cast<uint8_t>(b[(r * 16 + 4 * t + i) * 8 + g])} << 8 * i;
  }
  int sum[4] = {7, 7, 7, 7};
  mma(sum, left, right);
  for (int r = 0; r < 4; ++r) d[(g + r / 2 * 8) * 8 + 2 * t + r % 2] = sum[r];
}

void testMmaBytes() {
  std::mt19937 random(3);
  std::vector<int8_t> a(16 * 32), b(32 * 8);
  for (auto& x : a) x = static_cast<int8_t>(random());
  for (auto& x : b) x = static_cast<int8_t>(random());
  std::vector<int> d(128);
  launch(multiplyBytes, 1, 32, 0, nullptr, a.data(), b.data(), d.data());
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      int exact = 7;
      for (int k = 0; k < 32; ++k) exact += a[row * 32 + k] * b[k * 8 + column];
      CHECK(d[row * 8 + column] == exact);
    }
  }
}

__global__ void loadMatrices(const uint16_t* in, uint32_t* out, bool transposed) {
  uint16_t* rows = dynamicShared<uint16_t>();
  for (int i = static_cast<int>(threadIdx.x); i < 256; i += 32) rows[i] = in[i];
  __syncwarp();
  uint32_t to[4];
  if (transposed) {
    loadMatrixTransposed(to, rows + threadIdx.x * 8);
  } else {
    loadMatrix(to, rows + threadIdx.x * 8);
  }
  for (int matrix = 0; matrix < 4; ++matrix) out[threadIdx.x * 4 + matrix] = to[matrix];
}

void testLoadMatrix() {
  std::vector<uint16_t> in(256);
  for (int i = 0; i < 256; ++i) in[i] = static_cast<uint16_t>(i);
  for (const bool transposed : {false, true}) {
    std::vector<uint32_t> out(128);
    launch(loadMatrices, 1, 32, 512, nullptr, in.data(), out.data(), transposed);
    for (int lane = 0; lane < 32; ++lane) {
      for (int matrix = 0; matrix < 4; ++matrix) {
        for (int i = 0; i < 2; ++i) {
          const int g = lane / 4, k = lane % 4 * 2 + i;
          const int expected = matrix * 64 + (transposed ? k * 8 + g : g * 8 + k);
          CHECK((out[lane * 4 + matrix] >> 16 * i & 0xffff) == static_cast<uint32_t>(expected));
        }
      }
    }
  }
}

// --- asynchronous copies --------------------------------------------------------------------------------------------

/// Three stages of copies; `left` groups may still be under way when a stage is read.
template <int kLeft>
__global__ void staged(const float* in, float* out) {
  float* stages = dynamicShared<float>();
  const int thread = static_cast<int>(threadIdx.x);
  for (int stage = 0; stage < 3; ++stage) {
    copyAsync16(stages + stage * 128 + thread * 4, in + stage * 128 + thread * 4, stage == 2 ? 8 : 16);
    commitCopies();
  }
  waitCopies<kLeft>();
  __syncthreads();
  for (int i = 0; i < 12; ++i) out[thread * 12 + i] = stages[thread * 12 + i];
}

void testCopies() {
  std::mt19937 random(4);
  const auto in = normalFloats(random, 384);
  std::vector<float> out(384);
  forEachSchedule(6, [&] {
    launch(staged<0>, 1, 32, 384 * 4, nullptr, in.data(), out.data());
    for (int i = 0; i < 384; ++i) CHECK(out[i] == (i >= 256 && i % 4 >= 2 ? 0 : in[i]));
  });
  simt::schedule = {1, simt::Completion::late};
  launch(staged<1>, 1, 32, 384 * 4, nullptr, in.data(), out.data());
  for (int i = 0; i < 384; ++i) CHECK(i < 256 ? out[i] == in[i] : std::isnan(out[i]));
  simt::schedule = {};
}

// --- mbarriers, boxes, products of four warps ---------------------------------------------------------------------

enum class Misuse { none, barrierNotInitialised, tooManyArrivals, misalignedBox, readsBeforeWait, waitsForNobody };

/// A producer warp fills two swizzled tiles, a warpgroup multiplies them.
__global__ void multiplyBoxes(const TensorMap a, const TensorMap b, float* out, Misuse misuse) {
  unsigned char* tiles = dynamicShared();
  auto* barrier = reinterpret_cast<uint64_t*>(tiles + 24 * 1024);
  if (threadIdx.x == 0 && misuse != Misuse::barrierNotInitialised) {
    initMbarrier(barrier, 1);
    fenceMbarriers();
  }
  __syncthreads();
  if (threadIdx.x == kWarpgroup) {
    if (misuse != Misuse::waitsForNobody) arriveExpecting(barrier, 24 * 1024);
    if (misuse == Misuse::tooManyArrivals) arrive(barrier);
    copyBox(tiles + (misuse == Misuse::misalignedBox ? 512 : 0), a, 0, 0, barrier);
    copyBox(tiles + 8 * 1024, b, 0, 0, barrier);
  }
  if (threadIdx.x >= kWarpgroup) return;
  float sums[64];
  waitFor(barrier, 0);
  fenceProducts();
  for (int k = 0; k < 4; ++k)
    multiplyTiles(sums, tileOperand(tiles) + 2 * k, tileOperand(tiles + 8 * 1024) + 2 * k, k > 0);
  commitProducts();
  if (misuse == Misuse::readsBeforeWait) out[threadIdx.x] = sums[0];
  waitProducts(sums);
  if (misuse == Misuse::readsBeforeWait) return;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  for (int i = 0; i < 64; ++i)
    out[(warp * 16 + lane / 4 + i / 2 % 2 * 8) * 128 + i / 4 * 8 + lane % 4 * 2 + i % 2] = sums[i];
}

void testProducts() {
  std::mt19937 random(5);
  // 60 rows of 100 columns in boxes of 64 and 128: what lies outside is zero.
  std::vector<uint8_t> a(60 * 112), b(128 * 112);
  for (uint8_t& code : a) code = floatToE4m3(static_cast<float>(static_cast<int>(random() % 200)) - 100);
  for (uint8_t& code : b) code = floatToE4m3(static_cast<float>(static_cast<int>(random() % 200)) - 100);
  TensorMap left, right;
  makeTensorMap(left, a.data(), 60, 100, 112, 64);
  makeTensorMap(right, b.data(), 128, 100, 112, 128);
  const auto run = [&](std::vector<float>& out, Misuse misuse) {
    launch(multiplyBoxes, 1, 160, 24 * 1024 + 8, nullptr, left, right, out.data(), misuse);
  };
  forEachSchedule(9, [&] {
    std::vector<float> out(64 * 128, NAN);
    run(out, Misuse::none);
    for (int m = 0; m < 64; ++m) {
      for (int n = 0; n < 128; ++n) {
        double sum = 0;
        for (int k = 0; k < 100 && m < 60; ++k)
          sum += double{e4m3ToFloat(a[m * 112 + k])} * e4m3ToFloat(b[n * 112 + k]);
        CHECK(std::abs(out[m * 128 + n] - sum) < 1);
      }
    }
    const auto failure = [&](Misuse misuse) { return failureOf([&] { run(out, misuse); }); };
    CHECK(contains(failure(Misuse::barrierNotInitialised), "nobody initialised"));
    CHECK(contains(failure(Misuse::tooManyArrivals), "more arrivals"));
    CHECK(contains(failure(Misuse::misalignedBox), "multiple of 1024"));
    CHECK(contains(failure(Misuse::waitsForNobody), "threads wait for mbarrier"));
    run(out, Misuse::readsBeforeWait);
    CHECK(std::isnan(out[0]) && std::isnan(out[127]));
  });
}

/// One box of tiles, by rows as they were before the swizzle.
__global__ void readTiles(const TensorMap map, int step, int tile, uint8_t* out, bool asRows) {
  unsigned char* box = dynamicShared();
  auto* barrier = reinterpret_cast<uint64_t*>(box + 8 * 1024);
  if (threadIdx.x == 0) {
    initMbarrier(barrier, 1);
    arriveExpecting(barrier, 8 * 1024);
    if (asRows)
      copyBox(box, map, step, tile, barrier);
    else
      copyTiles(box, map, step, tile, barrier);
  }
  __syncthreads();
  waitFor(barrier, 0);
  for (int at = static_cast<int>(threadIdx.x); at < 8 * 1024; at += 32) out[at] = box[simt::swizzle128(at)];
}

void testTiles() {
  constexpr int kTiles = 5, kSteps = 3, kRows = 16, kBoxTiles = 4;
  std::mt19937 random(6);
  std::vector<uint8_t> bytes(kTiles * kSteps * kRows * kSwizzledRow);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  TensorMap map;
  makeTileMap(map, bytes.data(), kTiles, kSteps, kRows, kBoxTiles);
  std::vector<uint8_t> out(kBoxTiles * kRows * kSwizzledRow);
  const auto run = [&](int step, int tile, bool asRows) {
    launch(readTiles, 1, 32, 8 * 1024 + 8, nullptr, map, step, tile, out.data(), asRows);
  };
  forEachSchedule(3, [&] {
    for (const auto& [step, tile] : {std::pair{0, 0}, {2, 3}, {1, 4}, {3, 0}}) {
      run(step, tile, false);
      for (int at = 0; at < static_cast<int>(out.size()); ++at) {
        const int inTile = at % (kRows * kSwizzledRow), from = tile + at / (kRows * kSwizzledRow);
        const bool inside = from < kTiles && step < kSteps;
        CHECK(out[at] == (inside ? bytes[(from * kSteps + step) * kRows * kSwizzledRow + inTile] : 0));
      }
    }
    CHECK(contains(failureOf([&] { run(0, 0, true); }), "number of dimensions"));
  });
}

enum class TensorMisuse { none, noCommit, tooFar, otherLanes };

/// One warp orders a product of a tile by itself, reads its 32 lanes before and after the commit has arrived.
__global__ void tensorSquare(const TensorMap map, float* out, TensorMisuse misuse) {
  unsigned char* tile = dynamicShared();
  auto* barriers = reinterpret_cast<uint64_t*>(tile + 16 * 1024);
  auto* address = reinterpret_cast<uint32_t*>(barriers + 2);
  if (threadIdx.x == 0) {
    initMbarrier(barriers, 1);
    initMbarrier(barriers + 1, 1);
  }
  allocateTensorMemory(address, 128);
  __syncthreads();
  if (threadIdx.x == 0) {
    arriveExpecting(barriers, 16 * 1024);
    copyBox(tile, map, 0, 0, barriers);
    waitFor(barriers, 0);
    const uint64_t operand = tensorOperand(tile);
    orderProduct(*address + (misuse == TensorMisuse::tooFar ? 1 : 0), operand, operand, false);
    if (misuse != TensorMisuse::noCommit) commitOrders(barriers + 1);
  }
  __syncwarp();
  waitFor(barriers + 1, 0);
  float part[kTensorPart];
  loadTensorMemory(*address + (misuse == TensorMisuse::otherLanes ? 32u << 16 : 0), part);
  for (int i = 0; i < kTensorPart; ++i) out[threadIdx.x * kTensorPart + i] = part[i];
  freeTensorMemory(*address, 128);
}

void testTensorMemory() {
  std::mt19937 random(6);
  std::vector<uint8_t> codes(128 * 128);
  for (uint8_t& code : codes) code = floatToE4m3(static_cast<float>(static_cast<int>(random() % 30)) - 15);
  TensorMap map;
  makeTensorMap(map, codes.data(), 128, 128, 128, 128);
  forEachSchedule(6, [&] {
    std::vector<float> out(32 * kTensorPart, NAN);
    const auto run = [&](TensorMisuse misuse) {
      return failureOf([&] { launch(tensorSquare, 1, 32, 16 * 1024 + 24, nullptr, map, out.data(), misuse); });
    };
    CHECK(run(TensorMisuse::none).empty());
    for (int m = 0; m < 32; ++m) {
      for (int n = 0; n < kTensorPart; ++n) {
        float sum = 0;  // exact
        for (int k = 0; k < 32; ++k) sum += e4m3ToFloat(codes[m * 128 + k]) * e4m3ToFloat(codes[n * 128 + k]);
        CHECK(out[m * kTensorPart + n] == sum);
      }
    }
    CHECK(contains(run(TensorMisuse::noCommit), "threads wait for mbarrier"));
    CHECK(contains(run(TensorMisuse::tooFar), "behind what was allocated"));
    CHECK(contains(run(TensorMisuse::otherLanes), "another warp's lanes"));
  });
}

enum class ScaleMisuse { none, noScales, otherByte, tooFar, swizzledScales };

/// What a tile of 128 rows is made of: 128 bytes of a row in shared memory, with their scales.
template <ScaledKind kKind>
struct ScaledTile {
  static constexpr int kCols = 4 * productCols(kKind), kGroups = kCols / scaleGroup(kKind);
  static constexpr int kScaleBytes = kGroups / kScaleBlockGroups * kScaleBlockBytes;
  alignas(32) std::array<uint8_t, 128 * kCols> codes{};
  std::array<uint8_t, kScaleBytes> scales;
  std::vector<double> values;
  TensorMap map;

  ScaledTile(std::mt19937& random, bool e4m3) : values(128 * kCols) {
    for (uint8_t& scale : scales)
      scale = static_cast<uint8_t>(kKind == ScaledKind::nvfp4 ? random() % 0x7f : 120 + random() % 16);
    for (int i = 0; i < 128 * kCols; ++i) {
      const int row = i / kCols, group = i % kCols / scaleGroup(kKind);
      // Rows of 16 bytes for r modulo 32, in them four bytes for r / 32, a block for four groups.
      const uint8_t scale = scales[group / 4 * 512 + row % 32 * 16 + row / 32 * 4 + group % 4];
      CHECK(&scales[group / 4 * kScaleBlockBytes + scaleInBlock(row, group)] - scales.data() ==
            group / 4 * 512 + row % 32 * 16 + row / 32 * 4 + group % 4);
      const auto code = static_cast<uint8_t>(e4m3 ? random() % 0x78 : random() % 16);
      if (e4m3)
        codes[i] = code;
      else
        codes[i / 2] = static_cast<uint8_t>(codes[i / 2] | code << i % 2 * 4);
      values[i] = double{e4m3 ? e4m3ToFloat(code) : e2m1ToFloat(code)} *
                  (kKind == ScaledKind::nvfp4 ? e4m3ToFloat(scale) : e8m0ToFloat(scale));
    }
    if (kKind == ScaledKind::mxfp8 && !e4m3)
      makeTensorMap(map, codes.data(), 128, kCols, kCols / 2, 128, BoxRow::spacedCodes);
    else
      makeTensorMap(map, codes.data(), 128, 128, 128, 128);
  }
};

/// Four warps: one thread has everything copied and orders the four products, each of which finds its scales in the
/// same columns; then each warp reads its lanes.
template <ScaledKind kKind>
__global__ void multiplyScaled(const TensorMap a, const TensorMap b, const uint8_t* scalesA, const uint8_t* scalesB,
                               float* out, ScaleMisuse misuse) {
  constexpr int kScaleBytes = ScaledTile<kKind>::kScaleBytes, kGroups = productScales(kKind);
  unsigned char *left = dynamicShared(), *right = left + 16 * 1024, *scales = right + 16 * 1024;
  auto* barriers = reinterpret_cast<uint64_t*>(scales + 2 * kScaleBytes);
  auto* address = reinterpret_cast<uint32_t*>(barriers + 2);
  if (threadIdx.x == 0) {
    initMbarrier(barriers, 1);
    initMbarrier(barriers + 1, 1);
  }
  if (threadIdx.x < 32) allocateTensorMemory(address, 256);
  __syncthreads();
  if (threadIdx.x == 0) {
    const BoxRow row = kKind == ScaledKind::mxfp8 ? BoxRow::spacedCodes : BoxRow::bytes;
    arriveExpecting(barriers, 128 * (128 + countedBytes(row)) + 2 * kScaleBytes);
    copyBox(left, a, 0, 0, barriers);
    copyBox(right, b, 0, 0, barriers);
    copyBytes(scales, scalesA, kScaleBytes, barriers);
    copyBytes(scales + kScaleBytes, scalesB, kScaleBytes, barriers);
    waitFor(barriers, 0);
    const uint32_t sums = *address, columns = sums + (misuse == ScaleMisuse::tooFar ? 256 : 128);
    for (int k = 0; k < 4; ++k) {
      const int at = k * kGroups / kScaleBlockGroups * kScaleBlockBytes;
      const uint64_t swizzle = misuse == ScaleMisuse::swizzledScales ? uint64_t{2} << 61 : 0;
      if (misuse != ScaleMisuse::noScales) {
        orderScaleCopy(columns, scaleOperand(scales + at) | swizzle);
        orderScaleCopy(columns + 4, scaleOperand(scales + kScaleBytes + at));
      }
      orderScaledProduct<kKind>(sums, tensorOperand(left) + 2 * k, tensorOperand(right) + 2 * k, columns, columns + 4,
                                misuse == ScaleMisuse::otherByte ? 1 : k * kGroups % kScaleBlockGroups, k > 0);
    }
    commitOrders(barriers + 1);
  }
  __syncwarp();
  waitFor(barriers + 1, 0);
  for (int column = 0; column < 128; column += kTensorPart) {
    float part[kTensorPart];
    loadTensorMemory(*address + column + (threadIdx.x / 32 * 32 << 16), part);
    std::copy(part, part + kTensorPart, out + threadIdx.x * 128 + column);
  }
  __syncthreads();
  if (threadIdx.x < 32) freeTensorMemory(*address, 256);
}

template <ScaledKind kKind>
void testScaledProducts() {
  using Tile = ScaledTile<kKind>;
  std::mt19937 random(7);
  const Tile a(random, kKind == ScaledKind::mxfp8), b(random, false);
  forEachSchedule(3, [&] {
    std::vector<float> out(128 * 128, NAN);
    const auto run = [&](ScaleMisuse misuse) {
      return failureOf([&] {
        launch(multiplyScaled<kKind>, 1, 128, 32 * 1024 + 2 * Tile::kScaleBytes + 24, nullptr, a.map, b.map,
               a.scales.data(), b.scales.data(), out.data(), misuse);
      });
    };
    CHECK(run(ScaleMisuse::none).empty());
    for (int m = 0; m < 128; ++m) {
      for (int n = 0; n < 128; ++n) {
        double sum = 0, magnitude = 0;
        for (int k = 0; k < Tile::kCols; ++k) {
          const double part = a.values[m * Tile::kCols + k] * b.values[n * Tile::kCols + k];
          sum += part, magnitude += std::abs(part);
        }
        CHECK(std::abs(out[m * 128 + n] - sum) <= 1e-6 * magnitude);
      }
    }
    CHECK(run(ScaleMisuse::noScales).empty() && std::isnan(out[0]) && std::isnan(out[128 * 128 - 1]));
    if (kKind != ScaledKind::mxfp8) CHECK(contains(run(ScaleMisuse::otherByte), "multiple of their number"));
    CHECK(contains(run(ScaleMisuse::tooFar), "behind what was allocated"));
    CHECK(contains(run(ScaleMisuse::swizzledScales), "another version or layout"));
  });
}

// --- numbers --------------------------------------------------------------------------------------------------------

void testIntrinsics() {
  CHECK(__byte_perm(0x33221100, 0x77665544, 0x7150) == 0x77115500);
  CHECK(__byte_perm(0x00007f80, 0, 0x1908) == 0x7f0080ffu);
  CHECK(__dp4a(static_cast<int>(0xff7f8001), 0x02020202, 5) == 5 + 2 - 256 + 254 - 2);
  CHECK(__brev(1) == 0x80000000u && __clz(1) == 31 && __ffs(8) == 4 && __popc(0xf0f0) == 8);
  CHECK(__umulhi(0xffffffffu, 0xffffffffu) == 0xfffffffeu && __funnelshift_r(0x12345678, 0x9abcdef0, 8) == 0xf0123456u);
  CHECK(__float2int_rn(2.5f) == 2 && __float2int_rn(-3.5f) == -4 && __float2int_rz(-3.9f) == -3);
  CHECK(multiplyPair(F16{}, packPair(F16{}, 1.5f, -2), packPair(F16{}, 3, 0.25f)) == packPair(F16{}, 4.5f, -0.5f));
  CHECK(multiplyPair(Bf16{}, packPair(Bf16{}, 1.5f, -2), packPair(Bf16{}, 3, 0.25f)) == packPair(Bf16{}, 4.5f, -0.5f));
}

}  // namespace foretoken::test

int main() {
  using namespace foretoken::test;
  testIndices();
  testShared();
  testPoison();
  testLimits();
  testSharedMemoryThatIsAllowed();
  testStack();
  testBarriers();
  testReports();
  testCollectives();
  testSumsAndAtomics();
  testMma<foretoken::cuda::F16>();
  testMma<foretoken::cuda::Bf16>();
  testMmaBytes();
  testLoadMatrix();
  testCopies();
  testProducts();
  testTiles();
  testTensorMemory();
  testScaledProducts<foretoken::cuda::ScaledKind::nvfp4>();
  testScaledProducts<foretoken::cuda::ScaledKind::mxfp4>();
  testScaledProducts<foretoken::cuda::ScaledKind::mxfp8>();
  testIntrinsics();
  return finish("executor");
}
