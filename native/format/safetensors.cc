#include "format/safetensors.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>

#include "common/error.h"
#include "format/json.h"

namespace foretoken {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;
constexpr size_t kMaxDimensions = 8;
constexpr size_t kMaxTensorNameBytes = 1024;
constexpr std::string_view kIndexName = "model.safetensors.index.json";

std::string quoted(std::string_view text) { return std::string("'").append(text).append("'"); }

/// The header of one file: checks every entry and places it in the data section.
class Header {
 public:
  Header(std::span<const uint8_t> bytes, const std::string& file) : bytes_(bytes), file_(file) {
    if (bytes.size() < 8) refuse("TRUNCATED", "the file ends within the length of its header", 0);
    uint64_t length;
    std::memcpy(&length, bytes.data(), sizeof length);
    if (length > kMaxHeaderBytes) {
      refuse("HEADER_TOO_LARGE", "the header claims " + std::to_string(length) + " bytes; 100,000,000 are allowed", 0);
    }
    if (length > bytes.size() - 8) refuse("TRUNCATED", "the file ends within its header", 8);
    if (length == 0 || bytes[8] != '{') refuse("BAD_MAGIC", "this is not a safetensors file", 8);
    dataStart_ = 8 + length;
  }

  /// The tensors in the order of their data, and the __metadata__ strings.
  std::vector<TensorInfo> tensors(std::map<std::string, std::string>& metadata) const {
    const std::string_view text(reinterpret_cast<const char*>(bytes_.data()) + 8, dataStart_ - 8);
    const JsonDocument document = JsonDocument::parse(text, file_, 8);
    std::vector<TensorInfo> out;
    for (const auto& [name, entry] : document.root().object()) {
      if (name == "__metadata__") {
        for (const auto& [key, value] : entry.object()) metadata.emplace(key, value.string());
      } else {
        out.push_back(tensor(name, entry));
      }
    }
    requireExactCover(out);
    return out;
  }

 private:
  [[noreturn]] void refuse(const char* code, const std::string& message, uint64_t at) const {
    throw FormatError(code, message, file_, at);
  }

  TensorInfo tensor(const std::string& name, const Json& entry) const {
    if (name.empty()) refuse("EMPTY_NAME", "a tensor has no name", entry.offset());
    if (name.size() > kMaxTensorNameBytes) {
      refuse("NAME_TOO_LONG", "the name of a tensor has more than 1024 bytes", entry.offset());
    }
    for (const auto& [key, value] : entry.object()) {
      if (key != "dtype" && key != "shape" && key != "data_offsets") {
        refuse("UNKNOWN_FIELD", "tensor " + quoted(name) + " has a field " + quoted(key), value.offset());
      }
    }
    TensorInfo out;
    out.name = name;
    out.file = file_;
    out.type = type(name, entry.at("dtype"));
    readShape(out, entry.at("shape"));
    place(out, entry.at("data_offsets"));
    return out;
  }

  FileType type(const std::string& name, const Json& dtype) const {
    const std::string& text = dtype.string();
    if (text == "F32") return FileType::f32;
    if (text == "F16") return FileType::f16;
    if (text == "BF16") return FileType::bf16;
    if (text == "F8_E4M3") return FileType::e4m3;
    refuse("UNSUPPORTED_TENSOR_TYPE",
           "tensor " + quoted(name) + " is of type " + text + "; F32, F16, BF16 and F8_E4M3 are read", dtype.offset());
  }

  void readShape(TensorInfo& out, const Json& shape) const {
    if (shape.array().size() > kMaxDimensions) {
      refuse("BAD_SHAPE", "tensor " + quoted(out.name) + " has more than 8 dimensions", shape.offset());
    }
    uint64_t bytes = static_cast<uint64_t>(blockShape(out.type).bytes);
    constexpr auto kLargest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
    for (const Json& dimension : shape.array()) {
      const int64_t length = dimension.integer();
      if (length < 0) refuse("BAD_SHAPE", "tensor " + quoted(out.name) + " has a negative dimension", shape.offset());
      if (length > 0 && bytes > kLargest / static_cast<uint64_t>(length)) {
        refuse("SIZE_OVERFLOW", "tensor " + quoted(out.name) + " claims more bytes than 63 bits count", shape.offset());
      }
      bytes *= static_cast<uint64_t>(length);
      out.shape.push_back(length);
    }
    out.bytes = bytes;
  }

  void place(TensorInfo& out, const Json& offsets) const {
    if (offsets.array().size() != 2) {
      refuse("BAD_OFFSET", "tensor " + quoted(out.name) + ": data_offsets has to hold two numbers", offsets.offset());
    }
    const int64_t begin = offsets.array()[0].integer();
    const int64_t end = offsets.array()[1].integer();
    if (begin < 0 || end < begin) {
      refuse("BAD_OFFSET", "tensor " + quoted(out.name) + " ends before it begins", offsets.offset());
    }
    const uint64_t available = bytes_.size() - dataStart_;
    if (static_cast<uint64_t>(end) > available) {
      refuse("DATA_OUT_OF_BOUNDS",
             "tensor " + quoted(out.name) + " ends at byte " + std::to_string(end) + " of " +
                 std::to_string(available) + " bytes of tensor data",
             offsets.offset());
    }
    if (static_cast<uint64_t>(end - begin) != out.bytes) {
      refuse("SIZE_MISMATCH",
             "tensor " + quoted(out.name) + " needs " + std::to_string(out.bytes) +
                 " bytes for its type and shape, not " + std::to_string(end - begin),
             offsets.offset());
    }
    out.offset = dataStart_ + static_cast<uint64_t>(begin);
    out.data = bytes_.data() + out.offset;
  }

  /// The tensors have to fill the data section in order: no hole, no overlap, nothing behind them. So no byte of a file
  /// has two meanings, or none. Leaves `tensors` sorted by place.
  void requireExactCover(std::vector<TensorInfo>& tensors) const {
    std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
      return a.offset != b.offset ? a.offset < b.offset : a.bytes < b.bytes;
    });
    uint64_t reached = dataStart_;
    for (const TensorInfo& tensor : tensors) {
      if (tensor.offset < reached) {
        refuse("TENSOR_OVERLAP", "tensor " + quoted(tensor.name) + " overlaps the one before it", tensor.offset);
      }
      if (tensor.offset > reached) {
        refuse("DATA_HOLE", "there are unused bytes before tensor " + quoted(tensor.name), reached);
      }
      reached += tensor.bytes;
    }
    if (reached != bytes_.size()) refuse("DATA_HOLE", "there are unused bytes behind the last tensor", reached);
  }

  std::span<const uint8_t> bytes_;
  const std::string& file_;
  uint64_t dataStart_ = 0;
};

bool exists(const std::string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0;
}

bool isFolder(const std::string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

/// A shard is a plain file name: anything with a separator could leave the folder. What a link in the folder points to
/// is its owner's business (the Hugging Face cache consists of links).
bool isPlainName(std::string_view name) {
  return !name.empty() && name.find_first_of(std::string_view("/\\\0", 3)) == std::string_view::npos && name != ".." &&
         name != ".";
}

}  // namespace

std::unique_ptr<SafetensorsFile> SafetensorsFile::open(const std::string& path) {
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile);
  if (!isFolder(path)) {
    file->openFile(path);
    return file;
  }
  const std::string index = path + "/" + std::string(kIndexName);
  if (exists(index)) {
    file->openShards(path, index);
  } else {
    file->openFile(path + "/model.safetensors");
  }
  return file;
}

std::unique_ptr<SafetensorsFile> SafetensorsFile::fromMemory(std::span<const uint8_t> bytes, std::string name) {
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile);
  file->read(bytes, std::move(name));
  return file;
}

void SafetensorsFile::read(std::span<const uint8_t> bytes, std::string name) {
  const std::string& file = files_.emplace_back(std::move(name));
  for (TensorInfo& tensor : Header(bytes, file).tensors(metadata_)) {
    const std::string message = "there are two tensors " + quoted(tensor.name);
    const uint64_t offset = tensor.offset;
    if (!add(std::move(tensor))) throw FormatError("DUPLICATE_TENSOR", message, file, offset);
  }
}

void SafetensorsFile::openFile(const std::string& path) {
  maps_.emplace_back(path);
  read(maps_.back().bytes(), path);
}

void SafetensorsFile::openShards(const std::string& folder, const std::string& indexPath) {
  const JsonDocument index = JsonDocument::open(indexPath);
  const Json& weightMap = index.root().at("weight_map");
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : weightMap.object()) {
    if (!isPlainName(shard.string())) {
      throw FormatError("BAD_SHARD_NAME", "shard " + quoted(shard.string()) + " is not a plain file name", indexPath,
                        shard.offset());
    }
    shards.insert(shard.string());
  }
  for (const std::string& shard : shards) openFile(folder + "/" + shard);
  for (const auto& [tensor, shard] : weightMap.object()) {
    const TensorInfo* found = find(tensor);
    if (found == nullptr || found->file != folder + "/" + shard.string()) {
      throw FormatError("INDEX_MISMATCH", "tensor " + quoted(tensor) + " is not in shard " + quoted(shard.string()),
                        indexPath, shard.offset());
    }
  }
}

}  // namespace foretoken
