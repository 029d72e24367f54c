// A launch: all blocks of the grid, one after another, in the schedule's order.
#pragma once
#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <numeric>
#include <string>
#include <vector>

#include "cuda/simt/block.h"
#include "cuda/simt/shared.h"

namespace foretoken::simt {

inline void checkShape(dim3 grid, dim3 shape, size_t sharedBytes) {
  const uint64_t threads = uint64_t{shape.x} * shape.y * shape.z;
  const size_t all = sharedBytes + static_cast<size_t>(simt_shared_end - simt_shared_begin);
  if (threads == 0 || threads > static_cast<uint64_t>(Stacks::kCount) || shape.z > 64)
    throw Failure("a block of " + std::to_string(threads) + " threads: 1 to 1024 can be launched");
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535)
    throw Failure("a grid without blocks, or with more than 65535 in y or z");
  if (sharedBytes > kMaxSharedBytes)
    throw Failure(std::to_string(all) + " bytes of shared memory: a block has at most 232448");
}

/// Dynamic shared memory that kernels may have.
class SharedLimits {
 public:
  void set(const void* kernel, size_t bytes) {
    const std::lock_guard lock(mutex_);
    limits_[kernel] = bytes;
  }
  size_t of(const void* kernel) {
    constexpr size_t kUnlessSet = 48 * 1024;
    const std::lock_guard lock(mutex_);
    return limits_.emplace(kernel, kUnlessSet).first->second;
  }

 private:
  std::mutex mutex_;
  std::map<const void*, size_t> limits_;
};
inline SharedLimits sharedLimits;

/// Blocks of all launches so far: the executor's clock.
inline std::atomic<uint64_t> blocksRun = 0;

/// Whoever launches waits for it: there is one device, with one block at a time on it.
inline std::mutex oneGrid;

/// Runs kernel(arguments...) to its end. Throws Failure.
template <class Kernel, class... Arguments>
void runGrid(Kernel kernel, dim3 grid, dim3 shape, size_t sharedBytes, Arguments... arguments) {
  checkShape(grid, shape, sharedBytes);
  if (sharedBytes > sharedLimits.of(reinterpret_cast<const void*>(kernel)))
    throw Failure(std::to_string(sharedBytes) + " bytes of dynamic shared memory: more than the kernel may have");
  const std::lock_guard lock(oneGrid);
  const std::function<void()> body = [&] { kernel(arguments...); };
  std::vector<uint64_t> order(uint64_t{grid.x} * grid.y * grid.z);
  std::iota(order.begin(), order.end(), 0);
  Chance(schedule.seed).shuffle(order);
  gridDim = grid;
  blockDim = shape;
  for (const uint64_t number : order) {
    blockIdx = {static_cast<unsigned>(number % grid.x), static_cast<unsigned>(number / grid.x % grid.y),
                static_cast<unsigned>(number / (uint64_t{grid.x} * grid.y))};
    prepareSharedMemory(sharedBytes);
    Block running(schedule, number);
    running.run(body, shape);
    ++blocksRun;
    if (!guardIntact()) throw Failure("written behind dynamic shared memory of block " + std::to_string(number));
  }
}

}  // namespace foretoken::simt
