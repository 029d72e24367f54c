#include "quant/format.h"

#include <array>

namespace foretoken {
namespace {

constexpr std::array<std::string_view, kFormatCount> kFormatNames = {"f32",   "f16",  "bf16", "fp8", "nvfp4",
                                                                     "mxfp4", "q8_0", "q4_0", "q4_1"};
constexpr std::array<std::string_view, 10> kFileTypeNames = {"F32",  "F16",  "BF16", "Q8_0", "Q4_0",
                                                             "Q4_1", "Q4_K", "Q5_K", "Q6_K", "F8_E4M3"};

size_t ceilDiv(int64_t value, int64_t divisor) { return static_cast<size_t>((value + divisor - 1) / divisor); }

/// Bytes of one row in blocks of `elements` weights and `bytes` bytes.
size_t blockBytes(int64_t cols, int elements, int bytes) { return ceilDiv(cols, elements) * bytes; }

}  // namespace

std::string_view name(Format format) { return kFormatNames[static_cast<size_t>(format)]; }

std::string_view name(FileType type) { return kFileTypeNames[static_cast<size_t>(type)]; }

bool parseFormat(std::string_view text, Format& out) {
  for (size_t i = 0; i < kFormatNames.size(); ++i) {
    if (kFormatNames[i] == text) {
      out = static_cast<Format>(i);
      return true;
    }
  }
  return false;
}

FileType fileTypeOf(Format format) {
  switch (format) {
    case Format::q8_0: return FileType::q8_0;
    case Format::q4_0: return FileType::q4_0;
    case Format::q4_1: return FileType::q4_1;
    default: return FileType::f32;
  }
}

BlockShape blockShape(FileType type) {
  switch (type) {
    case FileType::f32: return {1, 4};
    case FileType::f16: return {1, 2};
    case FileType::bf16: return {1, 2};
    case FileType::q8_0: return {32, 34};
    case FileType::q4_0: return {32, 18};
    case FileType::q4_1: return {32, 20};
    case FileType::q4_k: return {256, 144};
    case FileType::q5_k: return {256, 176};
    case FileType::q6_k: return {256, 210};
    case FileType::e4m3: return {1, 1};
  }
  return {1, 0};
}

size_t unpaddedBytes(Format format, int64_t rows, int64_t cols) {
  const size_t count = static_cast<size_t>(rows);
  switch (format) {
    case Format::f32: return count * cols * 4;
    case Format::f16:
    case Format::bf16: return count * cols * 2;
    case Format::fp8: return count * (cols + sizeof(float));
    case Format::nvfp4: return count * (ceilDiv(cols, 2) + ceilDiv(cols, 16)) + sizeof(float);
    case Format::mxfp4: return count * (ceilDiv(cols, 2) + ceilDiv(cols, 32));
    case Format::q8_0: return count * blockBytes(cols, 32, 34);
    case Format::q4_0: return count * blockBytes(cols, 32, 18);
    case Format::q4_1: return count * blockBytes(cols, 32, 20);
  }
  return 0;
}

}  // namespace foretoken
