#include "common/memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "common/cgroup.h"
#include "common/error.h"

namespace foretoken {
namespace {

namespace fs = std::filesystem;

constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kUnlimited = std::numeric_limits<size_t>::max();

/// The number in a one-number file ("max" and unreadable files: unlimited).
size_t numberIn(std::istream& file) {
  size_t value;
  return file >> value ? value : kUnlimited;
}

size_t inactiveFile(std::istream& stat) {
  std::string key;
  size_t value, own = 0;
  while (stat >> key >> value) {
    if (key == "total_inactive_file") return value;
    if (key == "inactive_file") own = value;
  }
  return own;
}

size_t systemAvailable(const fs::path& root) {
  std::ifstream file(root / "proc/meminfo");
  std::string key, unit;
  size_t kibibytes;
  while (file >> key >> kibibytes) {
    if (key == "MemAvailable:") return kibibytes << 10;
    std::getline(file, unit);
  }
  return kUnlimited;
}

size_t leftIn(const std::vector<fs::path>& cgroups, const char* limitName, const char* usageName) {
  size_t least = kUnlimited;
  for (const fs::path& folder : cgroups) {
    std::ifstream limit(folder / limitName), usage(folder / usageName), stat(folder / "memory.stat");
    least = std::min(least, leftInCgroup(limit, usage, stat));
  }
  return least;
}

}  // namespace

size_t leftInCgroup(std::istream& limit, std::istream& usage, std::istream& stat) {
  const size_t most = numberIn(limit), charged = numberIn(usage);
  if (most == kUnlimited || charged == kUnlimited) return kUnlimited;
  const size_t used = charged - std::min(charged, inactiveFile(stat));
  return most > used ? most - used : 0;
}

size_t availableMemory(const fs::path& root) {
  const size_t two = leftIn(cgroupFolders("", root), "memory.max", "memory.current");
  const size_t one = leftIn(cgroupFolders("memory", root), "memory.limit_in_bytes", "memory.usage_in_bytes");
  return std::min({systemAvailable(root), two, one});
}

Memory::Memory(size_t bytes, const char* what) : size_(bytes) {
  if (bytes == 0) return;
  const bool huge = bytes >= kHugePage;
  const size_t available = availableMemory();
  const auto refuse = [&] {
    return Error("OUT_OF_MEMORY", std::string(what) + " needs " + std::to_string(bytes >> 20) + " MiB, but only " +
                                      std::to_string(available >> 20) + " MiB are available");
  };
  if (bytes > available || bytes > kUnlimited - kHugePage) throw refuse();
  mapped_ = huge ? bytes + kHugePage : bytes;
  mapping_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping_ == MAP_FAILED) {
    mapping_ = nullptr;
    throw refuse();
  }
  data_ = static_cast<uint8_t*>(mapping_);
  if (!huge) return;
  data_ += (kHugePage - reinterpret_cast<uintptr_t>(data_) % kHugePage) % kHugePage;
  madvise(data_, bytes, MADV_HUGEPAGE);  // a wish; small pages serve as well, only slower
}

Memory::~Memory() {
  if (mapping_) munmap(mapping_, mapped_);
}

Memory::Memory(Memory&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      mapping_(std::exchange(other.mapping_, nullptr)),
      mapped_(std::exchange(other.mapped_, 0)) {}

Memory& Memory::operator=(Memory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapping_, other.mapping_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

}  // namespace foretoken
