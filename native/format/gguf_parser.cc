#include "format/gguf_parser.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "common/error.h"
#include "format/utf8.h"

namespace foretoken {
namespace {

constexpr uint64_t kMaxKeys = 65'536;
constexpr uint64_t kMaxTensors = 131'072;
constexpr uint64_t kMaxKeyBytes = 65'535;
constexpr uint64_t kMaxTensorNameBytes = 64;
constexpr uint64_t kMaxStringBytes = uint64_t{16} << 20;
constexpr uint64_t kMaxArrayElements = uint64_t{64} << 20;
constexpr int kMaxArrayDepth = 4;
constexpr uint32_t kMaxDimensions = 4;
constexpr uint64_t kSmallestAlignment = 8;

// The fewest bytes that an entry can take: lengths, a name of one byte, and the fixed fields.
constexpr uint64_t kSmallestKeyValue = 8 + 1 + 4 + 1;
constexpr uint64_t kSmallestTensor = 8 + 1 + 4 + 8 + 4 + 8;

/// Names of ggml's tensor types by their number, for messages; empty where ggml has none.
constexpr std::string_view kTensorTypeNames[] = {
    "F32",        "F16",        "Q4_0",       "Q4_1",  "Q4_2",     "Q4_3",     "Q5_0",     "Q5_1",    "Q8_0",
    "Q8_1",       "Q2_K",       "Q3_K",       "Q4_K",  "Q5_K",     "Q6_K",     "Q8_K",     "IQ2_XXS", "IQ2_XS",
    "IQ3_XXS",    "IQ1_S",      "IQ4_NL",     "IQ3_S", "IQ2_S",    "IQ4_XS",   "I8",       "I16",     "I32",
    "I64",        "F64",        "IQ1_M",      "BF16",  "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0",   "TQ2_0",
    "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4", "NVFP4",    "Q1_0"};

bool fileTypeOf(uint32_t ggmlType, FileType& out) {
  switch (ggmlType) {
    case 0: out = FileType::f32; return true;
    case 1: out = FileType::f16; return true;
    case 2: out = FileType::q4_0; return true;
    case 3: out = FileType::q4_1; return true;
    case 8: out = FileType::q8_0; return true;
    case 12: out = FileType::q4_k; return true;
    case 13: out = FileType::q5_k; return true;
    case 14: out = FileType::q6_k; return true;
    case 30: out = FileType::bf16; return true;
    default: return false;
  }
}

std::string tensorTypeName(uint32_t ggmlType) {
  if (ggmlType < std::size(kTensorTypeNames)) return std::string(kTensorTypeNames[ggmlType]);
  return "unknown type " + std::to_string(ggmlType);
}

/// Bytes of a scalar type; 0 for strings and arrays.
uint64_t scalarBytes(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean: return 1;
    case GgufType::u16:
    case GgufType::i16: return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32: return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64: return 8;
    case GgufType::string:
    case GgufType::array: return 0;
  }
  return 0;
}

std::string quoted(std::string_view text) { return std::string("'").append(text).append("'"); }

}  // namespace

void GgufParser::refuse(const char* code, const std::string& message, uint64_t at) const {
  throw FormatError(code, message, file_, at);
}

std::span<const uint8_t> GgufParser::take(uint64_t count, std::string_view what) {
  if (count > remaining()) refuse("TRUNCATED", "the file ends within " + std::string(what), here());
  const auto taken = bytes_.subspan(at_, count);
  at_ += count;
  return taken;
}

template <typename T>
T GgufParser::number(std::string_view what) {
  T out;
  std::memcpy(&out, take(sizeof out, what).data(), sizeof out);
  return out;
}

std::string_view GgufParser::string(std::string_view what) {
  const uint64_t at = here();
  const auto length = number<uint64_t>(what);
  if (length > kMaxStringBytes) {
    refuse("STRING_TOO_LONG", std::string(what) + " claims " + std::to_string(length) + " bytes", at);
  }
  const auto text = take(length, what);
  return {reinterpret_cast<const char*>(text.data()), text.size()};
}

std::string_view GgufParser::checkedName(uint64_t limit, std::string_view what) {
  const uint64_t at = here();
  const std::string_view text = string(what);
  if (text.empty()) refuse("EMPTY_NAME", std::string(what) + " is empty", at);
  if (text.size() > limit) {
    refuse("NAME_TOO_LONG", std::string(what) + " has more than " + std::to_string(limit) + " bytes", at);
  }
  if (!isUtf8(text)) refuse("BAD_UTF8", std::string(what) + " is not valid UTF-8", at + 8);
  return text;
}

uint64_t GgufParser::count(uint64_t bytesEach, uint64_t limit, std::string_view what) {
  const uint64_t at = here();
  const auto claimed = number<uint64_t>(what);
  if (claimed > limit || claimed > remaining() / bytesEach) {
    refuse("COUNT_TOO_LARGE", std::string(what) + " claims " + std::to_string(claimed) + ", more than can be there",
           at);
  }
  return claimed;
}

GgufType GgufParser::valueType() {
  const uint64_t at = here();
  const auto type = number<uint32_t>("the type of a metadata value");
  if (type > static_cast<uint32_t>(GgufType::f64)) {
    refuse("BAD_VALUE_TYPE", "there is no metadata type " + std::to_string(type), at);
  }
  return static_cast<GgufType>(type);
}

void GgufParser::parse(GgufFile& out) {
  out.version_ = version();
  // Both counts come before the entries they count; the second can only be checked against what follows it.
  const uint64_t tensorCount = count(kSmallestTensor, kMaxTensors, "the number of tensors");
  const uint64_t keyCount = count(kSmallestKeyValue, kMaxKeys, "the number of metadata keys");
  for (uint64_t i = 0; i < keyCount; ++i) keyValue(out);
  out.alignment_ = alignment(out);
  refuseSplit(out);

  std::vector<Entry> entries;
  for (uint64_t i = 0; i < tensorCount; ++i) entries.push_back(tensor());
  place(entries, out.alignment_);
  refuseOverlap(entries);
  for (Entry& entry : entries) {
    const std::string name = entry.info.name;
    if (!out.add(std::move(entry.info))) {
      refuse("DUPLICATE_TENSOR", "there are two tensors " + quoted(name), entry.at);
    }
  }
}

uint32_t GgufParser::version() {
  const auto magic = take(4, "the magic number");
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) refuse("BAD_MAGIC", "this is not a GGUF file", base_);
  const uint64_t at = here();
  const auto version = number<uint32_t>("the version");
  if (version == 2 || version == 3) return version;
  const bool bigEndian = version == 0x02000000u || version == 0x03000000u;
  refuse("UNSUPPORTED_VERSION",
         bigEndian ? "the GGUF file is big-endian; versions 2 and 3 in little-endian are read"
                   : "GGUF version " + std::to_string(version) + " is not read; versions 2 and 3 are",
         at);
}

void GgufParser::keyValue(GgufFile& out) {
  const uint64_t at = here();
  const std::string_view key = checkedName(kMaxKeyBytes, "a metadata key");
  const GgufValue read = value(valueType(), 0);
  if (!out.keys_.emplace(key, out.entries_.size()).second) {
    refuse("DUPLICATE_KEY", "the metadata key " + quoted(key) + " is there twice", at);
  }
  out.entries_.push_back({key, read});
}

GgufValue GgufParser::value(GgufType type, int depth) {
  GgufValue out;
  out.type_ = type;
  out.offset_ = here();
  out.file_ = &file_;
  if (type == GgufType::array) {
    array(out, depth);
  } else if (type == GgufType::string) {
    const std::string_view text = string("a metadata string");
    out.data_ = {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
  } else {
    out.data_ = take(scalarBytes(type), "a metadata value");
    if (type == GgufType::boolean && out.data_[0] > 1) {
      refuse("BAD_BOOLEAN", "a boolean is neither 0 nor 1", out.offset_);
    }
  }
  return out;
}

void GgufParser::array(GgufValue& out, int depth) {
  if (depth >= kMaxArrayDepth) {
    refuse("ARRAY_TOO_DEEP", "arrays are nested more than " + std::to_string(kMaxArrayDepth) + " deep", out.offset_);
  }
  out.elementType_ = valueType();
  const uint64_t scalar = scalarBytes(out.elementType_);
  // A string takes at least its length; a nested array its type and count.
  const uint64_t bytesEach = scalar != 0 ? scalar : (out.elementType_ == GgufType::string ? 8 : 12);
  out.count_ = count(bytesEach, kMaxArrayElements, "an array");
  const uint64_t start = at_;
  if (scalar != 0) {
    at_ += out.count_ * scalar;
  } else {
    for (uint64_t i = 0; i < out.count_; ++i) value(out.elementType_, depth + 1);
  }
  out.data_ = bytes_.subspan(start, at_ - start);
}

uint64_t GgufParser::alignment(const GgufFile& file) const {
  const GgufValue* value = file.value("general.alignment");
  if (value == nullptr) return 32;
  if (value->type() != GgufType::u32) {
    refuse("BAD_ALIGNMENT", "general.alignment has to be a u32", value->offset());
  }
  const auto alignment = static_cast<uint64_t>(value->integer());
  if (alignment < kSmallestAlignment || (alignment & (alignment - 1)) != 0) {
    refuse("BAD_ALIGNMENT", "general.alignment " + std::to_string(alignment) + " is not a power of two from 8 on",
           value->offset());
  }
  return alignment;
}

void GgufParser::refuseSplit(const GgufFile& file) const {
  const GgufValue* value = file.value("split.count");
  if (value == nullptr || value->integer() <= 1) return;
  refuse("SPLIT_FILE",
         "the model is split into " + std::to_string(value->integer()) +
             " GGUF files; merge them first (llama-gguf-split --merge)",
         value->offset());
}

GgufParser::Entry GgufParser::tensor() {
  Entry out;
  out.at = here();
  out.info.name = checkedName(kMaxTensorNameBytes, "the name of a tensor");
  out.info.file = file_;
  shape(out.info);
  type(out.info);
  out.relative = number<uint64_t>("the offset of a tensor");
  return out;
}

void GgufParser::shape(TensorInfo& out) {
  const uint64_t at = here();
  const auto dimensions = number<uint32_t>("the shape of a tensor");
  if (dimensions == 0 || dimensions > kMaxDimensions) {
    refuse("BAD_SHAPE", "tensor " + quoted(out.name) + " claims " + std::to_string(dimensions) + " dimensions", at);
  }
  constexpr auto kLargest = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  uint64_t elements = 1;
  for (uint32_t i = 0; i < dimensions; ++i) {
    const auto length = number<uint64_t>("the shape of a tensor");
    if (length == 0 || length > kLargest) {
      refuse("BAD_SHAPE", "tensor " + quoted(out.name) + " has a dimension that is zero or negative", at);
    }
    if (length > kLargest / elements) {
      refuse("SIZE_OVERFLOW", "tensor " + quoted(out.name) + " claims more elements than 64 bits count", at);
    }
    elements *= length;
    out.shape.insert(out.shape.begin(), static_cast<int64_t>(length));
  }
}

void GgufParser::type(TensorInfo& out) {
  const uint64_t at = here();
  const auto ggmlType = number<uint32_t>("the type of a tensor");
  if (!fileTypeOf(ggmlType, out.type)) {
    refuse("UNSUPPORTED_TENSOR_TYPE",
           "tensor " + quoted(out.name) + " is of type " + tensorTypeName(ggmlType) +
               "; F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K, Q5_K and Q6_K are read",
           at);
  }
  const BlockShape block = blockShape(out.type);
  if (out.cols() % block.elements != 0) {
    refuse("BAD_SHAPE",
           "tensor " + quoted(out.name) + ": rows of " + std::to_string(out.cols()) + " are not whole blocks of " +
               std::to_string(block.elements),
           at);
  }
  const auto blocks = static_cast<uint64_t>(out.elements() / block.elements);
  if (blocks > std::numeric_limits<uint64_t>::max() / block.bytes) {
    refuse("SIZE_OVERFLOW", "tensor " + quoted(out.name) + " claims more bytes than 64 bits count", at);
  }
  out.bytes = blocks * block.bytes;
}

void GgufParser::place(std::vector<Entry>& entries, uint64_t alignment) const {
  const uint64_t padding = (alignment - at_ % alignment) % alignment;
  if (entries.empty()) return;
  if (padding > remaining()) refuse("TRUNCATED", "the file ends before its tensor data", here());
  const uint64_t start = at_ + padding;
  const uint64_t available = bytes_.size() - start;
  for (Entry& entry : entries) {
    TensorInfo& info = entry.info;
    if (entry.relative % alignment != 0) {
      refuse("BAD_OFFSET",
             "tensor " + quoted(info.name) + " starts at " + std::to_string(entry.relative) +
                 ", which is not a multiple of the alignment " + std::to_string(alignment),
             entry.at);
    }
    if (entry.relative > available || info.bytes > available - entry.relative) {
      refuse("DATA_OUT_OF_BOUNDS",
             "tensor " + quoted(info.name) + " needs " + std::to_string(info.bytes) + " bytes from " +
                 std::to_string(entry.relative) + " on, but the file has " + std::to_string(available) +
                 " bytes of tensor data",
             entry.at);
    }
    info.offset = base_ + start + entry.relative;
    info.data = bytes_.data() + start + entry.relative;
  }
}

void GgufParser::refuseOverlap(const std::vector<Entry>& entries) const {
  std::vector<const Entry*> sorted;
  for (const Entry& entry : entries) sorted.push_back(&entry);
  std::sort(sorted.begin(), sorted.end(),
            [](const Entry* a, const Entry* b) { return a->info.offset < b->info.offset; });
  for (size_t i = 1; i < sorted.size(); ++i) {
    const TensorInfo& before = sorted[i - 1]->info;
    if (before.offset + before.bytes > sorted[i]->info.offset) {
      refuse("TENSOR_OVERLAP",
             "the data of tensors " + quoted(before.name) + " and " + quoted(sorted[i]->info.name) + " overlap",
             sorted[i]->at);
    }
  }
}

}  // namespace foretoken
