#include "format/safetensors_writer.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <locale>
#include <sstream>

#include "common/error.h"

namespace foretoken {
namespace {

std::string quoted(const std::string& text) {
  std::string out(1, '"');
  for (const char c : text) {
    char escaped[8];
    if (static_cast<unsigned char>(c) < 0x20) {
      std::snprintf(escaped, sizeof escaped, "\\u%04x", c);
      out += escaped;
      continue;
    }
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out += '"';
}

uint64_t bytesOf(const TensorToWrite& tensor) {
  uint64_t elements = 1;
  for (const int64_t n : tensor.shape) elements *= static_cast<uint64_t>(n);
  return elements * static_cast<uint64_t>(blockShape(tensor.type).bytes);
}

const char* dtype(FileType type) {
  switch (type) {
    case FileType::f32: return "F32";
    case FileType::f16: return "F16";
    case FileType::e4m3: return "F8_E4M3";
    default: return "BF16";
  }
}

std::string headerOf(std::span<const TensorToWrite> tensors, const std::map<std::string, std::string>& metadata) {
  std::ostringstream header;
  header.imbue(std::locale::classic());
  const char* comma = "";
  header << "{\"__metadata__\":{";
  for (const auto& [key, value] : metadata) header << comma << quoted(key) << ':' << quoted(value), comma = ",";
  header << '}';
  uint64_t offset = 0;
  for (const TensorToWrite& tensor : tensors) {
    header << ',' << quoted(tensor.name) << ":{\"dtype\":\"" << dtype(tensor.type) << "\",\"shape\":[";
    comma = "";
    for (const int64_t n : tensor.shape) header << comma << n, comma = ",";
    header << "],\"data_offsets\":[" << offset << ',' << offset + bytesOf(tensor) << "]}";
    offset += bytesOf(tensor);
  }
  header << '}';
  std::string text = header.str();
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

/// An open file that is removed unless it was kept.
class Partial {
 public:
  explicit Partial(std::string path) : path_(std::move(path)), file_(std::fopen(path_.c_str(), "wb")) {}
  ~Partial() {
    if (file_) std::fclose(file_);
    if (!kept_) ::unlink(path_.c_str());
  }
  Partial(const Partial&) = delete;
  Partial& operator=(const Partial&) = delete;

  bool write(const void* data, uint64_t bytes) { return file_ && std::fwrite(data, 1, bytes, file_) == bytes; }
  bool keepAs(const std::string& path) {
    if (!file_ || std::fflush(file_) != 0 || ::fsync(::fileno(file_)) != 0) return false;
    return kept_ = std::rename(path_.c_str(), path.c_str()) == 0;
  }

 private:
  std::string path_;
  std::FILE* file_;
  bool kept_ = false;
};

}  // namespace

void writeSafetensors(const std::string& path, std::span<const TensorToWrite> tensors,
                      const std::map<std::string, std::string>& metadata) {
  const std::string header = headerOf(tensors, metadata);
  const uint64_t length = header.size();
  Partial file(path + "." + std::to_string(::getpid()) + ".partial");
  bool written = file.write(&length, sizeof length) && file.write(header.data(), length);
  for (const TensorToWrite& tensor : tensors) written = written && file.write(tensor.data, bytesOf(tensor));
  if (!written || !file.keepAs(path))
    throw Error("WRITE_FAILED", path + " could not be written: " + std::strerror(errno));
}

}  // namespace foretoken
