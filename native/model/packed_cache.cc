#include "model/packed_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <random>
#include <vector>

#include "model/content_hash.h"
#include "model/parallel.h"

namespace foretoken {
namespace {

constexpr char kMagic[8] = {'F', 'T', 'W', 'E', 'I', 'G', 'H', 'T'};
constexpr uint32_t kVersion = 2;
constexpr size_t kPage = 4096;

struct Header {
  char magic[8];
  uint32_t version;
  uint32_t manifestBytes;
  uint64_t dataOffset;
  uint64_t dataBytes;
  Hash128 dataHash;
  Hash128 manifestHash;
};
static_assert(sizeof(Header) == 64);

/// A file descriptor that closes itself.
class File {
 public:
  File(const std::string& path, int flags) : descriptor_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {}
  ~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  bool isOpen() const { return descriptor_ >= 0; }
  uint64_t size() const {
    struct stat status;
    return ::fstat(descriptor_, &status) == 0 ? static_cast<uint64_t>(status.st_size) : 0;
  }
  /// The bytes at `offset`, all of them or false.
  bool read(uint8_t* out, size_t bytes, uint64_t offset) const {
    while (bytes > 0) {
      const ssize_t got = ::pread(descriptor_, out, bytes, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return false;
      out += got, offset += got, bytes -= got;
    }
    return true;
  }
  bool write(const void* in, size_t bytes, uint64_t offset) const {
    const auto* at = static_cast<const uint8_t*>(in);
    while (bytes > 0) {
      const ssize_t put = ::pwrite(descriptor_, at, bytes, static_cast<off_t>(offset));
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) return false;
      at += put, offset += put, bytes -= put;
    }
    return true;
  }
  bool sync() const { return ::fsync(descriptor_) == 0; }
  /// Until it is closed; false: somebody else has it, or files here can't be locked.
  bool lock() const { return ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0; }

 private:
  int descriptor_;
};

Header makeHeader(const std::string& manifest, uint64_t dataBytes, const Hash128& dataHash) {
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kVersion;
  header.manifestBytes = static_cast<uint32_t>(manifest.size());
  header.dataOffset = (sizeof header + manifest.size() + kPage - 1) / kPage * kPage;
  header.dataBytes = dataBytes;
  header.dataHash = dataHash;
  header.manifestHash = hashBytes({reinterpret_cast<const uint8_t*>(manifest.data()), manifest.size()}, kVersion);
  return header;
}

/// Reads pieces and hashes each while it is in the processor's cache.
bool readData(const File& file, const Header& header, std::span<uint8_t> out) {
  std::vector<Hash128> pieces((out.size() + kHashPiece - 1) / kHashPiece);
  std::atomic<bool> whole = true;
  parallelFor(pieces.size(), [&](size_t i) {
    const size_t begin = i * kHashPiece;
    const auto piece = out.subspan(begin, std::min(kHashPiece, out.size() - begin));
    if (!file.read(piece.data(), piece.size(), header.dataOffset + begin)) whole = false;
    pieces[i] = hashBytes(piece, i);
  });
  return whole && combine(pieces) == header.dataHash;
}

std::string systemError(const std::string& what) { return what + ": " + std::strerror(errno); }

constexpr char kPartial[] = ".partial";

/// A name that nobody else takes, on whichever machine.
std::string partialOf(const std::string& path) {
  std::random_device random;
  return path + "." + std::to_string(uint64_t{random()} << 32 | random()) + kPartial;
}

/// Removes what killed writers have left: who still writes holds a lock.
void removeAbandoned(const std::string& folder) {
  using Entries = std::filesystem::directory_iterator;
  std::error_code failure;
  for (Entries entry(folder, failure); !failure && entry != Entries(); entry.increment(failure)) {
    const std::filesystem::path& path = entry->path();
    if (path.extension() != kPartial) continue;
    const File file(path, O_WRONLY);
    if (file.isOpen() && file.lock()) ::unlink(path.c_str());
  }
}

/// The file appears whole or not at all.
std::string writeFile(const std::string& path, const Header& header, const std::string& manifest,
                      std::span<const uint8_t> bytes) {
  const std::string partial = partialOf(path);
  const File file(partial, O_WRONLY | O_CREAT | O_EXCL);
  if (!file.isOpen()) return systemError("cannot create " + partial);
  file.lock();
  std::string problem;
  if (!file.write(&header, sizeof header, 0) || !file.write(manifest.data(), manifest.size(), sizeof header) ||
      !file.write(bytes.data(), bytes.size(), header.dataOffset) || !file.sync())
    problem = systemError("cannot write " + partial);
  else if (std::rename(partial.c_str(), path.c_str()) != 0)
    problem = systemError("cannot rename " + partial);
  if (!problem.empty()) ::unlink(partial.c_str());
  return problem;
}

}  // namespace

PackedCache::PackedCache(const std::string& folder, const std::string& key, std::string manifest)
    : folder_(folder), path_(folder.empty() ? "" : folder + "/" + key + ".weights"), manifest_(std::move(manifest)) {}

bool PackedCache::read(std::span<uint8_t> out) const {
  if (path_.empty()) return false;
  const File file(path_, O_RDONLY);
  Header header;
  if (!file.isOpen() || !file.read(reinterpret_cast<uint8_t*>(&header), sizeof header, 0)) return false;
  const Header wanted = makeHeader(manifest_, out.size(), header.dataHash);
  if (std::memcmp(&header, &wanted, sizeof header) != 0) return false;
  if (file.size() != header.dataOffset + header.dataBytes) return false;
  std::string manifest(manifest_.size(), '\0');
  if (!file.read(reinterpret_cast<uint8_t*>(manifest.data()), manifest.size(), sizeof header)) return false;
  return manifest == manifest_ && readData(file, header, out);
}

std::string PackedCache::write(std::span<const uint8_t> bytes) const {
  if (path_.empty()) return "";
  std::error_code failure;
  std::filesystem::create_directories(folder_, failure);
  if (failure) return "cannot create " + folder_ + ": " + failure.message();
  removeAbandoned(folder_);
  return writeFile(path_, makeHeader(manifest_, bytes.size(), hashContents(bytes)), manifest_, bytes);
}

}  // namespace foretoken
