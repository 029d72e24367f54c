// Little-endian bytes put together by hand: how tests make files, honest ones and liars.
#pragma once
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string_view>
#include <vector>

namespace foretoken::test {

class ByteWriter {
 public:
  std::vector<uint8_t> bytes;

  template <typename T>
  ByteWriter& number(T value) {
    return append(&value, sizeof value);
  }
  ByteWriter& u8(uint8_t value) { return number(value); }
  ByteWriter& u32(uint32_t value) { return number(value); }
  ByteWriter& u64(uint64_t value) { return number(value); }
  ByteWriter& f32(float value) { return number(value); }

  ByteWriter& text(std::string_view value) { return append(value.data(), value.size()); }
  /// A GGUF string: its length in 64 bits, then its bytes.
  ByteWriter& string(std::string_view value) { return u64(value.size()).text(value); }

  ByteWriter& zeros(size_t count) {
    bytes.insert(bytes.end(), count, 0);
    return *this;
  }
  ByteWriter& align(size_t alignment) { return zeros((alignment - bytes.size() % alignment) % alignment); }

  /// GGUF's first fields.
  ByteWriter& ggufHeader(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    return text("GGUF").u32(version).u64(tensors).u64(keys);
  }
  /// An entry of GGUF's tensor list; `dimensions` innermost first, as in the file.
  ByteWriter& ggufTensor(std::string_view name, std::initializer_list<uint64_t> dimensions, uint32_t type,
                         uint64_t offset) {
    string(name).u32(static_cast<uint32_t>(dimensions.size()));
    for (const uint64_t dimension : dimensions) u64(dimension);
    return u32(type).u64(offset);
  }

 private:
  ByteWriter& append(const void* from, size_t count) {
    const size_t size = bytes.size();
    bytes.resize(size + count);
    if (count > 0) std::memcpy(bytes.data() + size, from, count);
    return *this;
  }
};

}  // namespace foretoken::test
