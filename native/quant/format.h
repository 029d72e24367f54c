// The weight formats: how many bytes a block of K consecutive weights takes in a file or in the reference packing.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace foretoken {

/// Formats a matrix can be computed in. The first five are converted to on request; the last three are GGUF blocks kept
/// as they are.
enum class Format : uint8_t { f32, f16, bf16, fp8, nvfp4, mxfp4, q8_0, q4_0, q4_1 };

constexpr int kFormatCount = 9;

/// Types a file can hold. K-quants and e4m3 (without any scale) are read (and converted at load), never computed in.
enum class FileType : uint8_t { f32, f16, bf16, q8_0, q4_0, q4_1, q4_k, q5_k, q6_k, e4m3 };

std::string_view name(Format);
std::string_view name(FileType);
/// Parses "nvfp4" and the like; returns false for an unknown name.
bool parseFormat(std::string_view text, Format& out);

/// The file type whose blocks a format keeps as they are; F32 for formats that are packed from anything.
FileType fileTypeOf(Format);

/// Elements per block and bytes per block of a file type.
struct BlockShape {
  int elements;
  int bytes;
};
BlockShape blockShape(FileType);

/// Bytes that `rows` x `cols` weights take in `format`, unpadded: the figure that bandwidth shares are measured
/// against. fp8: one byte a weight and one fp32 scale a row; nvfp4: 4.5 bits and one fp32 a matrix; mxfp4: 4.25 bits.
size_t unpaddedBytes(Format, int64_t rows, int64_t cols);

/// Expands `count` elements (a multiple of the block size) of a file type to fp32.
void dequantize(FileType, const void* blocks, float* out, int64_t count);

}  // namespace foretoken
