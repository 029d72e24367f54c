#include "format/gguf.h"

#include <cstring>
#include <limits>

#include "common/error.h"
#include "format/gguf_parser.h"

namespace foretoken {
namespace {

constexpr std::string_view kTypeNames[] = {"u8",      "i8",     "u16",   "i16", "u32", "i32", "f32",
                                           "boolean", "string", "array", "u64", "i64", "f64"};

template <typename T>
T load(const uint8_t* bytes) {
  T out;
  std::memcpy(&out, bytes, sizeof out);
  return out;
}

/// Calls `use` with the scalar at `bytes` in its own C++ type; returns false for types that are no numbers.
template <typename Use>
bool withNumber(GgufType type, const uint8_t* bytes, Use use) {
  switch (type) {
    case GgufType::u8: use(load<uint8_t>(bytes)); return true;
    case GgufType::i8: use(load<int8_t>(bytes)); return true;
    case GgufType::u16: use(load<uint16_t>(bytes)); return true;
    case GgufType::i16: use(load<int16_t>(bytes)); return true;
    case GgufType::u32: use(load<uint32_t>(bytes)); return true;
    case GgufType::i32: use(load<int32_t>(bytes)); return true;
    case GgufType::u64: use(load<uint64_t>(bytes)); return true;
    case GgufType::i64: use(load<int64_t>(bytes)); return true;
    case GgufType::f32: use(load<float>(bytes)); return true;
    case GgufType::f64: use(load<double>(bytes)); return true;
    default: return false;
  }
}

bool readInteger(GgufType type, const uint8_t* bytes, int64_t& out) {
  bool fits = type != GgufType::f32 && type != GgufType::f64;
  if (!fits) return false;
  if (type == GgufType::u64) {
    fits = load<uint64_t>(bytes) <= static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  }
  return fits && withNumber(type, bytes, [&](auto value) { out = static_cast<int64_t>(value); });
}

}  // namespace

std::string_view name(GgufType type) { return kTypeNames[static_cast<size_t>(type)]; }

void GgufValue::wrongType(std::string_view wanted) const {
  std::string found(name(type_));
  if (type_ == GgufType::array) found += " of " + std::string(name(elementType_));
  throw FormatError("WRONG_METADATA_TYPE", "expected " + std::string(wanted) + " and found " + found, *file_, offset_);
}

int64_t GgufValue::integer() const {
  int64_t out = 0;
  if (!readInteger(type_, data_.data(), out)) wrongType("an integer of 64 bits");
  return out;
}

double GgufValue::number() const {
  double out = 0;
  if (!withNumber(type_, data_.data(), [&](auto value) { out = static_cast<double>(value); })) wrongType("a number");
  return out;
}

bool GgufValue::boolean() const {
  if (type_ != GgufType::boolean) wrongType("a boolean");
  return data_[0] != 0;
}

std::string_view GgufValue::string() const {
  if (type_ != GgufType::string) wrongType("a string");
  return {reinterpret_cast<const char*>(data_.data()), data_.size()};
}

GgufType GgufValue::elementType() const {
  if (type_ != GgufType::array) wrongType("an array");
  return elementType_;
}

uint64_t GgufValue::count() const {
  if (type_ != GgufType::array) wrongType("an array");
  return count_;
}

std::vector<std::string_view> GgufValue::strings() const {
  if (elementType() != GgufType::string) wrongType("an array of strings");
  std::vector<std::string_view> out;
  out.reserve(count_);
  GgufParser parser(data_, offset_ + (sizeof(uint32_t) + sizeof(uint64_t)), *file_);
  for (uint64_t i = 0; i < count_; ++i) out.push_back(parser.string("a string of an array"));
  return out;
}

std::vector<int64_t> GgufValue::integers() const {
  const GgufType read = elementType() == GgufType::boolean ? GgufType::u8 : elementType();
  std::vector<int64_t> out(count_);
  const uint64_t stride = count_ == 0 ? 0 : data_.size() / count_;
  for (uint64_t i = 0; i < count_; ++i) {
    if (!readInteger(read, data_.data() + i * stride, out[i])) wrongType("an array of integers of 64 bits");
  }
  return out;
}

std::vector<double> GgufValue::numbers() const {
  elementType();
  std::vector<double> out(count_);
  const uint64_t stride = count_ == 0 ? 0 : data_.size() / count_;
  for (uint64_t i = 0; i < count_; ++i) {
    const auto keep = [&](auto value) { out[i] = static_cast<double>(value); };
    if (!withNumber(elementType_, data_.data() + i * stride, keep)) wrongType("an array of numbers");
  }
  return out;
}

std::vector<GgufValue> GgufValue::arrays() const {
  if (elementType() != GgufType::array) wrongType("an array of arrays");
  std::vector<GgufValue> out;
  out.reserve(count_);
  GgufParser parser(data_, offset_ + (sizeof(uint32_t) + sizeof(uint64_t)), *file_);
  for (uint64_t i = 0; i < count_; ++i) out.push_back(parser.value(GgufType::array, 0));
  return out;
}

std::unique_ptr<GgufFile> GgufFile::open(const std::string& path) {
  MappedFile map(path);
  auto file = fromMemory(map.bytes(), path);
  file->map_.emplace(std::move(map));
  return file;
}

std::unique_ptr<GgufFile> GgufFile::fromMemory(std::span<const uint8_t> bytes, std::string name) {
  std::unique_ptr<GgufFile> file(new GgufFile);
  file->bytes_ = bytes;
  file->file_ = std::move(name);
  GgufParser(bytes, 0, file->file_).parse(*file);
  return file;
}

const GgufValue* GgufFile::value(std::string_view key) const {
  const auto found = keys_.find(key);
  return found == keys_.end() ? nullptr : &entries_[found->second].value;
}

const GgufValue& GgufFile::required(std::string_view key) const {
  const GgufValue* found = value(key);
  if (found == nullptr) {
    throw FormatError("MISSING_METADATA", "there is no metadata key '" + std::string(key) + "'", file_, 0);
  }
  return *found;
}

int64_t GgufFile::integerOr(std::string_view key, int64_t fallback) const {
  const GgufValue* found = value(key);
  return found == nullptr ? fallback : found->integer();
}

double GgufFile::numberOr(std::string_view key, double fallback) const {
  const GgufValue* found = value(key);
  return found == nullptr ? fallback : found->number();
}

bool GgufFile::booleanOr(std::string_view key, bool fallback) const {
  const GgufValue* found = value(key);
  return found == nullptr ? fallback : found->boolean();
}

std::string_view GgufFile::stringOr(std::string_view key, std::string_view fallback) const {
  const GgufValue* found = value(key);
  return found == nullptr ? fallback : found->string();
}

}  // namespace foretoken
