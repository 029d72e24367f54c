// Large memory: mapped, in huge pages where the system grants them, refused with an error before the kernel's killer
// acts.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <iosfwd>

namespace foretoken {

/// Bytes that could still be allocated without swapping or exceeding a limit of the cgroup this process is in, or of
/// one above it. `root` holds proc and sys.
size_t availableMemory(const std::filesystem::path& root = "/");

/// Bytes that a cgroup's limit leaves, from what its files say: limit less usage, where cached file pages that the
/// kernel would give up first (`inactive_file` of memory.stat; version 1 adds subgroups up as `total_inactive_file`)
/// count as free. SIZE_MAX if there is no limit ("max", or files that can't be read).
size_t leftInCgroup(std::istream& limit, std::istream& usage, std::istream& stat);

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
