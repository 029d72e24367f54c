// Large memory: mapped, in huge pages where the system grants them, refused with an error before the kernel's killer
// acts.
#pragma once
#include <cstddef>
#include <cstdint>

namespace foretoken {

/// Bytes that could still be allocated without swapping or exceeding a cgroup's limit.
size_t availableMemory();

/// Zeroed memory of its own mapping, 64-byte aligned (2 MiB aligned from 2 MiB on). Movable, not copyable.
class Memory {
 public:
  Memory() = default;
  /// Throws OUT_OF_MEMORY when `bytes` exceed availableMemory() or the mapping fails. `what` names the use in the
  /// message.
  Memory(size_t bytes, const char* what);
  ~Memory();
  Memory(Memory&& other) noexcept;
  Memory& operator=(Memory&& other) noexcept;

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  void* mapping_ = nullptr;
  size_t mapped_ = 0;
};

}  // namespace foretoken
