// Expansion of file types to fp32, in the order of operations of the reference (ggml), without fused multiply-add.
#include <algorithm>
#include <cstring>

#include "quant/float_codecs.h"
#include "quant/format.h"
#include "quant/gguf_blocks.h"

namespace foretoken {
namespace {

void expandHalves(const uint8_t* bytes, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    uint16_t code;
    std::memcpy(&code, bytes + 2 * i, sizeof code);
    out[i] = f16ToFloat(code);
  }
}

void expandBf16(const uint8_t* bytes, float* out, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    uint16_t code;
    std::memcpy(&code, bytes + 2 * i, sizeof code);
    out[i] = bf16ToFloat(code);
  }
}

void expand(const BlockQ8_0& block, float* out) {
  const float d = block.d();
  for (int j = 0; j < 32; ++j) out[j] = d * static_cast<float>(block.q[j]);
}

void expand(const BlockQ4_0& block, float* out) {
  const float d = block.d();
  for (int j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>((block.nibbles[j] & 15) - 8);
    out[j + 16] = d * static_cast<float>((block.nibbles[j] >> 4) - 8);
  }
}

void expand(const BlockQ4_1& block, float* out) {
  const float d = block.d();
  const float m = block.m();
  for (int j = 0; j < 16; ++j) {
    out[j] = d * static_cast<float>(block.nibbles[j] & 15) + m;
    out[j + 16] = d * static_cast<float>(block.nibbles[j] >> 4) + m;
  }
}

void expand(const BlockQ4_K& block, float* out) {
  const float d = f16ToFloat(loadHalf(block.scale));
  const float dmin = f16ToFloat(loadHalf(block.minimumScale));
  for (int g = 0; g < 8; ++g) {
    const float scale = d * static_cast<float>(block.groups.scale(g));
    const float minimum = dmin * static_cast<float>(block.groups.minimum(g));
    const uint8_t* nibbles = block.nibbles + 32 * (g / 2);
    const int shift = 4 * (g % 2);
    for (int j = 0; j < 32; ++j) out[32 * g + j] = scale * static_cast<float>((nibbles[j] >> shift) & 15) - minimum;
  }
}

void expand(const BlockQ5_K& block, float* out) {
  const float d = f16ToFloat(loadHalf(block.scale));
  const float dmin = f16ToFloat(loadHalf(block.minimumScale));
  for (int g = 0; g < 8; ++g) {
    const float scale = d * static_cast<float>(block.groups.scale(g));
    const float minimum = dmin * static_cast<float>(block.groups.minimum(g));
    const uint8_t* nibbles = block.nibbles + 32 * (g / 2);
    const int shift = 4 * (g % 2);
    for (int j = 0; j < 32; ++j) {
      const int q = ((nibbles[j] >> shift) & 15) | (((block.highBits[j] >> g) & 1) << 4);
      out[32 * g + j] = scale * static_cast<float>(q) - minimum;
    }
  }
}

void expand(const BlockQ6_K& block, float* out) {
  const float d = f16ToFloat(loadHalf(block.scale));
  for (int quarter = 0; quarter < 8; ++quarter) {  // 32 weights each, two groups of 16
    const uint8_t* nibbles = block.nibbles + 64 * (quarter / 4) + 32 * (quarter % 2);
    const uint8_t* highBits = block.highBits + 32 * (quarter / 4);
    const int nibbleShift = quarter % 4 < 2 ? 0 : 4;
    const int highShift = 2 * (quarter % 4);
    for (int j = 0; j < 32; ++j) {
      const int q = ((nibbles[j] >> nibbleShift) & 15) | (((highBits[j] >> highShift) & 3) << 4);
      const float scale = d * static_cast<float>(block.groupScale[2 * quarter + j / 16]);
      out[32 * quarter + j] = scale * static_cast<float>(q - 32);
    }
  }
}

template <typename Block>
void expandBlocks(const void* blocks, float* out, int64_t count, int elements) {
  const auto* block = static_cast<const Block*>(blocks);
  for (int64_t i = 0; i < count / elements; ++i) expand(block[i], out + i * elements);
}

}  // namespace

void dequantize(FileType type, const void* blocks, float* out, int64_t count) {
  const auto* bytes = static_cast<const uint8_t*>(blocks);
  switch (type) {
    case FileType::f32: std::memcpy(out, bytes, static_cast<size_t>(count) * sizeof(float)); return;
    case FileType::f16: return expandHalves(bytes, out, count);
    case FileType::bf16: return expandBf16(bytes, out, count);
    case FileType::q8_0: return expandBlocks<BlockQ8_0>(blocks, out, count, 32);
    case FileType::q4_0: return expandBlocks<BlockQ4_0>(blocks, out, count, 32);
    case FileType::q4_1: return expandBlocks<BlockQ4_1>(blocks, out, count, 32);
    case FileType::q4_k: return expandBlocks<BlockQ4_K>(blocks, out, count, 256);
    case FileType::q5_k: return expandBlocks<BlockQ5_K>(blocks, out, count, 256);
    case FileType::q6_k: return expandBlocks<BlockQ6_K>(blocks, out, count, 256);
    case FileType::e4m3: std::transform(bytes, bytes + count, out, e4m3ToFloat); return;
  }
}

}  // namespace foretoken
