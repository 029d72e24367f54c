// Packed weights on disk, so that a second start neither converts nor packs.
//
// One file per source, choice of formats and version: a 64-byte header, the manifest (which matrices, in which format
// and shape, at which offset), and the packed bytes at the next page boundary. Header, manifest and bytes carry a hash;
// a file that is cut off, damaged or of another version is not used and is written again. Files are written under
// another name and renamed when complete, so that a reader never sees a part of one.
#pragma once
#include <cstdint>
#include <span>
#include <string>

namespace foretoken {

class PackedCache {
 public:
  /// `folder` empty = no cache. `key` names the file; `manifest` must be equal for a file to be used.
  PackedCache(const std::string& folder, const std::string& key, std::string manifest);

  /// Fills `out` from the file if it is there and sound. False if not (then `out` is unspecified).
  bool read(std::span<uint8_t> out) const;
  /// Writes the file. Returns why not, or an empty string: a cache that can't be written is no error.
  std::string write(std::span<const uint8_t> bytes) const;

 private:
  std::string folder_, path_, manifest_;
};

}  // namespace foretoken
