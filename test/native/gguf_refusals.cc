// GGUF files that lie: each lie has its code, and none makes the reader allocate what the file does not hold.
#include <string>
#include <vector>

#include "../fuzz/touch.h"
#include "allocation_meter.h"
#include "byte_writer.h"
#include "check.h"
#include "format/gguf.h"
#include "refusal.h"

using namespace foretoken;
using test::ByteWriter;

namespace {

constexpr uint32_t kU32 = 4, kBool = 7, kString = 8, kArray = 9;
constexpr uint32_t kF32 = 0, kQ8_0 = 8, kQ4_1 = 3, kQ4_K = 12, kQ6_K = 14;

void readAll(const std::vector<uint8_t>& bytes) {
  const auto file = GgufFile::fromMemory(bytes, "file");
  test::touchMetadata(*file);
  test::touchTensors(*file);
}

/// Reading `writer`'s bytes is refused with `code`, cheaply.
bool refused(const ByteWriter& writer, const std::string& code) {
  std::string found;
  const size_t bytes = test::bytesAllocatedBy([&] { found = test::refusalOf([&] { readAll(writer.bytes); }); });
  if (found != code) std::printf("expected %s, found '%s'\n", code.c_str(), found.c_str());
  if (bytes > 100'000) std::printf("%s after allocating %zu bytes\n", code.c_str(), bytes);
  return found == code && bytes <= 100'000;
}

ByteWriter oneKey() { return ByteWriter().ggufHeader(0, 1); }

void headers() {
  CHECK(refused(ByteWriter(), "TRUNCATED"));
  CHECK(refused(ByteWriter().text("GGU"), "TRUNCATED"));
  CHECK(refused(ByteWriter().text("GGML").u32(3).u64(0).u64(0), "BAD_MAGIC"));
  for (const uint32_t version : {0u, 1u, 4u, 0xffffffffu, 0x03000000u}) {
    CHECK(refused(ByteWriter().ggufHeader(0, 0, version), "UNSUPPORTED_VERSION"));
  }
  for (const uint64_t count : {UINT64_MAX, uint64_t{1} << 63, uint64_t{1} << 40, uint64_t{1000}}) {
    CHECK(refused(ByteWriter().ggufHeader(count, 0).zeros(1000), "COUNT_TOO_LARGE"));
    CHECK(refused(ByteWriter().ggufHeader(0, count).zeros(1000), "COUNT_TOO_LARGE"));
  }
  // As many as the bytes could hold at best, but more than there may be at all.
  CHECK(refused(ByteWriter().ggufHeader(0, 65'537).zeros(14 * 65'537), "COUNT_TOO_LARGE"));
  CHECK(test::refusalOf([] { readAll(ByteWriter().ggufHeader(0, 0).bytes); }).empty());
}

void keys() {
  CHECK(refused(oneKey().string("").u32(kU32).u32(1), "EMPTY_NAME"));
  CHECK(refused(oneKey().string(std::string(65'536, 'k')).u32(kU32).u32(1), "NAME_TOO_LONG"));
  CHECK(refused(oneKey().u64(UINT64_MAX).zeros(20), "STRING_TOO_LONG"));
  CHECK(refused(oneKey().u64((16 << 20) + 1).zeros(20), "STRING_TOO_LONG"));
  CHECK(refused(oneKey().u64(16 << 20).zeros(20), "TRUNCATED"));
  CHECK(refused(oneKey().string("\xff\xfe").u32(kU32).u32(1), "BAD_UTF8"));
  CHECK(refused(oneKey().string("\xc0\xaf").u32(kU32).u32(1), "BAD_UTF8"));      // overlong
  CHECK(refused(oneKey().string("\xed\xa0\x80").u32(kU32).u32(1), "BAD_UTF8"));  // a surrogate
  CHECK(refused(ByteWriter().ggufHeader(0, 2).string("k").u32(kU32).u32(1).string("k").u32(kU32).u32(2),
                "DUPLICATE_KEY"));
}

void values() {
  CHECK(refused(oneKey().string("k").u32(13).u64(0), "BAD_VALUE_TYPE"));
  CHECK(refused(oneKey().string("k").u32(0xffffffff).u64(0), "BAD_VALUE_TYPE"));
  CHECK(refused(oneKey().string("key").u32(kU32).u8(1), "TRUNCATED"));
  CHECK(refused(oneKey().string("k").u32(kBool).u8(2), "BAD_BOOLEAN"));
  CHECK(refused(oneKey().string("k").u32(kString).u64(uint64_t{1} << 60), "STRING_TOO_LONG"));
  CHECK(refused(oneKey().string("k").u32(kString).u64(100).text("short"), "TRUNCATED"));
  for (const uint64_t count : {UINT64_MAX, uint64_t{1} << 61, uint64_t{1} << 32, uint64_t{4}}) {
    for (const uint32_t element : {kU32, kString, kArray}) {
      CHECK(refused(oneKey().string("k").u32(kArray).u32(element).u64(count).u64(0), "COUNT_TOO_LARGE"));
    }
  }
  CHECK(refused(oneKey().string("k").u32(kArray).u32(99).u64(0), "BAD_VALUE_TYPE"));
  ByteWriter deep = oneKey().string("k").u32(kArray);
  for (int i = 0; i < 1000; ++i) deep.u32(kArray).u64(1);
  CHECK(refused(deep.u32(kU32).u64(0), "ARRAY_TOO_DEEP"));
  // Elements of a nested array that count each other: no count may exceed what is left.
  CHECK(refused(oneKey().string("k").u32(kArray).u32(kArray).u64(2).u32(kU32).u64(3).zeros(12), "TRUNCATED"));
}

ByteWriter aligned(uint32_t alignment) {
  return ByteWriter().ggufHeader(1, 1).string("general.alignment").u32(kU32).u32(alignment);
}

void alignments() {
  for (const uint32_t alignment : {0u, 1u, 4u, 12u, 33u, 0xffffffffu}) {
    CHECK(refused(aligned(alignment).ggufTensor("t", {8}, kF32, 0).zeros(200), "BAD_ALIGNMENT"));
  }
  CHECK(refused(oneKey().string("general.alignment").u32(10).u64(32), "BAD_ALIGNMENT"));
  CHECK(refused(oneKey().string("general.alignment").u32(kString).string("32"), "BAD_ALIGNMENT"));
  CHECK(refused(aligned(0x80000000u).ggufTensor("t", {8}, kF32, 0).zeros(200), "TRUNCATED"));
  CHECK(refused(oneKey().string("split.count").u32(2).number<uint16_t>(3), "SPLIT_FILE"));
}

ByteWriter oneTensor() { return ByteWriter().ggufHeader(1, 0); }

void tensors() {
  CHECK(refused(oneTensor().ggufTensor("", {8}, kF32, 0).zeros(200), "EMPTY_NAME"));
  CHECK(refused(oneTensor().ggufTensor(std::string(65, 't'), {8}, kF32, 0).zeros(200), "NAME_TOO_LONG"));
  CHECK(refused(oneTensor().ggufTensor("t\x80", {8}, kF32, 0).zeros(200), "BAD_UTF8"));
  CHECK(refused(oneTensor().ggufTensor("t", {}, kF32, 0).zeros(200), "BAD_SHAPE"));
  CHECK(refused(oneTensor().ggufTensor("t", {1, 1, 1, 1, 8}, kF32, 0).zeros(200), "BAD_SHAPE"));
  CHECK(refused(oneTensor().string("t").u32(0xffffffff).zeros(200), "BAD_SHAPE"));
  CHECK(refused(oneTensor().ggufTensor("t", {8, 0}, kF32, 0).zeros(200), "BAD_SHAPE"));
  CHECK(refused(oneTensor().ggufTensor("t", {UINT64_MAX}, kF32, 0).zeros(200), "BAD_SHAPE"));
  CHECK(refused(oneTensor().ggufTensor("t", {uint64_t{1} << 32, uint64_t{1} << 31}, kF32, 0), "SIZE_OVERFLOW"));
  CHECK(refused(oneTensor().ggufTensor("t", {INT64_MAX}, kF32, 0), "SIZE_OVERFLOW"));
  // Sums of sizes near 2^64, which once slipped past a check made by addition.
  ByteWriter sums = ByteWriter().ggufHeader(2, 0);
  sums.ggufTensor("a", {0x1fffffffffffffe0}, kF32, 0).ggufTensor("b", {0x1fffffffffffffe0}, kF32, 0x7fffffffffffff80);
  CHECK(refused(sums.align(32).zeros(64), "DATA_OUT_OF_BOUNDS"));
  CHECK(refused(oneTensor().ggufTensor("t", {48}, kQ8_0, 0).zeros(200), "BAD_SHAPE"));
  CHECK(refused(oneTensor().ggufTensor("t", {16, 16}, kQ4_1, 0).zeros(200), "BAD_SHAPE"));
  CHECK(refused(oneTensor().ggufTensor("t", {128, 2}, kQ4_K, 0).zeros(200), "BAD_SHAPE"));
  CHECK(refused(ByteWriter().ggufHeader(2, 0).ggufTensor("t", {8}, kF32, 0).ggufTensor("t", {8}, kF32, 32).zeros(200),
                "DUPLICATE_TENSOR"));
}

void tensorTypes() {
  const auto message = [](uint32_t type) {
    try {
      readAll(oneTensor().ggufTensor("blk.7.attn_q.weight", {256}, type, 0).zeros(2000).bytes);
    } catch (const FormatError& error) {
      if (error.code() == "UNSUPPORTED_TENSOR_TYPE" && error.offset() > 0) return std::string(error.what());
    }
    return std::string();
  };
  for (const auto& [type, name] : {std::pair(10u, "Q2_K"), std::pair(20u, "IQ4_NL"), std::pair(35u, "TQ2_0"),
                                   std::pair(39u, "MXFP4"), std::pair(99u, "99"), std::pair(0xffffffffu, "429")}) {
    CHECK(message(type).find(name) != std::string::npos);
    CHECK(message(type).find("blk.7.attn_q.weight") != std::string::npos);
  }
}

void places() {
  CHECK(refused(oneTensor().ggufTensor("t", {8}, kF32, 8).zeros(200), "BAD_OFFSET"));
  CHECK(refused(oneTensor().ggufTensor("t", {8}, kF32, UINT64_MAX - 31).zeros(200), "DATA_OUT_OF_BOUNDS"));
  CHECK(refused(oneTensor().ggufTensor("t", {8}, kF32, 1024).zeros(200), "DATA_OUT_OF_BOUNDS"));
  CHECK(refused(oneTensor().ggufTensor("t", {8}, kF32, 0).align(32).zeros(31), "DATA_OUT_OF_BOUNDS"));
  CHECK(refused(oneTensor().ggufTensor("t", {8}, kF32, 0), "TRUNCATED"));
  const auto two = [](uint64_t a, uint64_t b) {
    return ByteWriter().ggufHeader(2, 0).ggufTensor("a", {16}, kF32, a).ggufTensor("b", {16}, kF32, b).zeros(400);
  };
  CHECK(refused(two(0, 32), "TENSOR_OVERLAP"));
  CHECK(refused(two(96, 64), "TENSOR_OVERLAP"));
  CHECK(refused(two(64, 64), "TENSOR_OVERLAP"));
  CHECK(test::refusalOf([&] { readAll(two(64, 0).bytes); }).empty());
}

/// The offset within the tensor of the number that is refused, or -1.
int64_t badNumberAt(uint32_t type, size_t cols, const std::vector<uint8_t>& data, const std::string& code) {
  ByteWriter writer = oneTensor().ggufTensor("t", {cols}, type, 0).align(32);
  writer.bytes.insert(writer.bytes.end(), data.begin(), data.end());
  const auto file = GgufFile::fromMemory(writer.bytes, "file");
  const TensorInfo& tensor = file->tensors()[0];
  try {
    validateScales(tensor);
  } catch (const FormatError& error) {
    return error.code() == code ? static_cast<int64_t>(error.offset() - tensor.offset) : -2;
  }
  return -1;
}

void scales() {
  const auto with = [](size_t size, size_t at, uint16_t half) {
    std::vector<uint8_t> data(size);
    std::memcpy(data.data() + at, &half, sizeof half);
    return data;
  };
  CHECK(badNumberAt(kQ8_0, 64, with(68, 34, 0x7e00), "NAN_SCALE") == 34);
  CHECK(badNumberAt(kQ8_0, 64, with(68, 34, 0xfc00), "NAN_SCALE") == 34);
  CHECK(badNumberAt(kQ8_0, 64, with(68, 34, 0x7bff), "NAN_SCALE") == -1);
  CHECK(badNumberAt(kQ8_0, 64, with(68, 40, 0x7e00), "NAN_SCALE") == -1);  // quants, not a scale
  CHECK(badNumberAt(2, 64, with(36, 18, 0x7c01), "NAN_SCALE") == 18);
  CHECK(badNumberAt(kQ4_1, 64, with(40, 22, 0x7e00), "NAN_SCALE") == 22);
  CHECK(badNumberAt(kQ4_K, 256, with(144, 2, 0x7e00), "NAN_SCALE") == 2);
  CHECK(badNumberAt(13, 512, with(352, 176, 0x7e00), "NAN_SCALE") == 176);
  CHECK(badNumberAt(kQ6_K, 256, with(210, 208, 0x7e00), "NAN_SCALE") == 208);
  CHECK(badNumberAt(kF32, 4, with(16, 10, 0x7f80), "NON_FINITE_WEIGHT") == 8);
  CHECK(badNumberAt(1, 4, with(8, 6, 0x7c00), "NON_FINITE_WEIGHT") == 6);
  CHECK(badNumberAt(30, 4, with(8, 2, 0xff80), "NON_FINITE_WEIGHT") == 2);
  CHECK(badNumberAt(30, 4, with(8, 2, 0x7f7f), "NON_FINITE_WEIGHT") == -1);
}

/// A file with something of everything.
std::vector<uint8_t> smallFile() {
  ByteWriter writer;
  writer.ggufHeader(3, 5).string("general.alignment").u32(kU32).u32(32);
  writer.string("tokens").u32(kArray).u32(kString).u64(3).string("a").string("").string("the");
  writer.string("nested").u32(kArray).u32(kArray).u64(2).u32(kU32).u64(1).u32(7).u32(kBool).u64(2).u8(0).u8(1);
  writer.string("flag").u32(kBool).u8(1).string("name").u32(kString).string("x");
  writer.ggufTensor("norm", {8}, kF32, 0).ggufTensor("q", {32, 2}, kQ8_0, 32).ggufTensor("k", {256}, kQ4_K, 128);
  writer.align(32).zeros(32 + 96);
  return writer.zeros(144).bytes;
}

void mutations() {
  const std::vector<uint8_t> file = smallFile();
  CHECK(test::refusalOf([&] { readAll(file); }).empty());
  CHECK(test::firstAcceptedPrefix(file, readAll) == file.size());
  int refusals = 0;
  CHECK(test::unexpectedAfterFlips(file, 50'000, readAll, refusals) == 0);
  CHECK(refusals > 5'000 && refusals < 50'000);
}

}  // namespace

int main() {
  headers();
  keys();
  values();
  alignments();
  tensors();
  tensorTypes();
  places();
  scales();
  mutations();
  return test::finish("gguf_refusals");
}
