#include "model/requantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "common/error.h"
#include "quant/float_codecs.h"
#include "quant/gguf_blocks.h"

namespace foretoken {
namespace {

constexpr int kBlock = 32;

void storeHalf(float value, uint8_t* out) {
  const uint16_t code = floatToF16(value);
  out[0] = static_cast<uint8_t>(code);
  out[1] = static_cast<uint8_t>(code >> 8);
}

/// One group of 32 weights of a Q4_K block: the same codes, d * scale and -dmin * minimum as f16.
void groupToQ4_1(const BlockQ4_K& in, int group, BlockQ4_1& out) {
  storeHalf(f16ToFloat(loadHalf(in.scale)) * static_cast<float>(in.groups.scale(group)), out.scale);
  storeHalf(-f16ToFloat(loadHalf(in.minimumScale)) * static_cast<float>(in.groups.minimum(group)), out.minimum);
  const uint8_t* nibbles = in.nibbles + kBlock * (group / 2);
  const int shift = 4 * (group % 2);
  for (int j = 0; j < 16; ++j)
    out.nibbles[j] = static_cast<uint8_t>(((nibbles[j] >> shift) & 15) | (((nibbles[j + 16] >> shift) & 15) << 4));
}

void q4kToQ4_1(const uint8_t* in, uint8_t* out, int64_t count) {
  for (int64_t group = 0; group < count / kBlock; ++group)
    groupToQ4_1(reinterpret_cast<const BlockQ4_K*>(in)[group / 8], static_cast<int>(group % 8),
                reinterpret_cast<BlockQ4_1*>(out)[group]);
}

/// d * (q - 8) = d * q + (-8 d): exact, since a multiplication by eight only moves the exponent.
void q4_0ToQ4_1(const uint8_t* in, uint8_t* out, int64_t count) {
  for (int64_t i = 0; i < count / kBlock; ++i) {
    const BlockQ4_0& from = reinterpret_cast<const BlockQ4_0*>(in)[i];
    BlockQ4_1& to = reinterpret_cast<BlockQ4_1*>(out)[i];
    std::memcpy(to.scale, from.scale, sizeof to.scale);
    storeHalf(-8 * from.d(), to.minimum);
    std::memcpy(to.nibbles, from.nibbles, sizeof to.nibbles);
  }
}

void q4_0ToQ8_0(const uint8_t* in, uint8_t* out, int64_t count) {
  for (int64_t i = 0; i < count / kBlock; ++i) {
    const BlockQ4_0& from = reinterpret_cast<const BlockQ4_0*>(in)[i];
    BlockQ8_0& to = reinterpret_cast<BlockQ8_0*>(out)[i];
    std::memcpy(to.scale, from.scale, sizeof to.scale);
    for (int j = 0; j < kBlock; ++j) to.q[j] = static_cast<int8_t>(from.q(j) - 8);
  }
}

/// Codes of one block for the scale as f16 will hold it, so that the rounding of the scale costs nothing more.
void quantizeQ8_0(const float* in, BlockQ8_0& out) {
  float largest = 0;
  for (int j = 0; j < kBlock; ++j) largest = std::max(largest, std::fabs(in[j]));
  storeHalf(largest / 127, out.scale);
  const float d = out.d();
  for (int j = 0; j < kBlock; ++j)
    out.q[j] = d == 0 ? int8_t{0} : static_cast<int8_t>(std::clamp(std::nearbyint(in[j] / d), -127.0f, 127.0f));
}

int nibble(float code) { return static_cast<int>(std::clamp(std::nearbyint(code), 0.0f, 15.0f)); }

/// Sixteen codes from the least weight to the largest.
void quantizeQ4_1(const float* in, BlockQ4_1& out) {
  const auto [least, largest] = std::minmax_element(in, in + kBlock);
  storeHalf((*largest - *least) / 15, out.scale);
  storeHalf(*least, out.minimum);
  const float d = out.d(), m = out.m();
  for (int j = 0; j < 16; ++j) {
    const int low = d == 0 ? 0 : nibble((in[j] - m) / d), high = d == 0 ? 0 : nibble((in[j + 16] - m) / d);
    out.nibbles[j] = static_cast<uint8_t>(low | high << 4);
  }
}

/// d * (q - 8): the weight of largest magnitude gets code 0, which reaches one step further than code 15.
void quantizeQ4_0(const float* in, BlockQ4_0& out) {
  const float* largest =
      std::max_element(in, in + kBlock, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
  storeHalf(*largest / -8, out.scale);
  const float d = out.d();
  for (int j = 0; j < 16; ++j) {
    const int low = d == 0 ? 8 : nibble(in[j] / d + 8), high = d == 0 ? 8 : nibble(in[j + 16] / d + 8);
    out.nibbles[j] = static_cast<uint8_t>(low | high << 4);
  }
}

template <typename Block>
void anyTo(FileType from, const uint8_t* in, uint8_t* out, int64_t count, void (*quantize)(const float*, Block&)) {
  const BlockShape shape = blockShape(from);
  float values[256];
  const int step = std::max(shape.elements, kBlock);
  for (int64_t i = 0; i < count; i += step) {
    dequantize(from, in + i / shape.elements * shape.bytes, values, step);
    for (int j = 0; j < step; j += kBlock) quantize(values + j, reinterpret_cast<Block*>(out)[(i + j) / kBlock]);
  }
}

bool isFloat(FileType type) { return blockShape(type).elements == 1; }

}  // namespace

FileType computedType(FileType type) {
  switch (type) {
    case FileType::q4_k: return FileType::q4_1;
    case FileType::q5_k:
    case FileType::q6_k: return FileType::q8_0;
    case FileType::e4m3: return FileType::bf16;
    default: return type;
  }
}

FileType widerType(FileType a, FileType b) {
  if (a == b) return a;
  if (isFloat(a) || isFloat(b)) return FileType::f32;
  const bool bytes = a == FileType::q8_0 || b == FileType::q8_0;
  return bytes ? FileType::q8_0 : FileType::q4_1;
}

void convertBlocks(FileType from, const void* in, FileType to, uint8_t* out, int64_t count) {
  const auto* bytes = static_cast<const uint8_t*>(in);
  if (to == FileType::q4_1 && from == FileType::q4_k) return q4kToQ4_1(bytes, out, count);
  if (to == FileType::q4_1 && from == FileType::q4_0) return q4_0ToQ4_1(bytes, out, count);
  if (to == FileType::q8_0 && from == FileType::q4_0) return q4_0ToQ8_0(bytes, out, count);
  if (to == FileType::q8_0) return anyTo(from, bytes, out, count, quantizeQ8_0);
  if (to == FileType::q4_1) return anyTo(from, bytes, out, count, quantizeQ4_1);
  if (to == FileType::q4_0) return anyTo(from, bytes, out, count, quantizeQ4_0);
  throw Error("INTERNAL_ERROR", "no conversion from " + std::string(name(from)) + " to " + std::string(name(to)));
}

}  // namespace foretoken
