// The NEON path of CPUs with dot products of bytes (Armv8.2 DotProd). Codes and inputs both count as signed bytes.
#include <arm_neon.h>

#define FORETOKEN_VECTOR_NEON
#include "cpu/gemm-inl.h"

namespace foretoken {
namespace {

/// The nearest integers, to even; 0 for NaN.
inline int8x16_t rounded(const V16& v) {
  const auto eight = [&](int i) {
    return vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(v.x[i])), vcvtnq_s32_f32(v.x[i + 1]));
  };
  return vqmovn_high_s16(vqmovn_s16(eight(0)), eight(2));
}

struct Neon : WidensFloats<Neon> {
  static constexpr int kRows = 4, kVectors = 4, kTile = 3, kFloatTile = 6;
  // As with AVX2: e4m3 bits moved to their place in an fp32 are worth 2^-120 of the weight.
  static constexpr float kFp8InputScale = 0x1p80f, kFp8Unscale = 0x1p40f;

  using Float = float32x4_t;
  using Bytes = int8x16_t;

  static Float broadcast(float v) { return vdupq_n_f32(v); }
  static Float spread(const int32_t* bits) { return vreinterpretq_f32_s32(vld1q_dup_s32(bits)); }
  static Float load(const float* p) { return vld1q_f32(p); }
  static void store(float* p, Float v) { vst1q_f32(p, v); }
  static Float mul(Float a, Float b) { return vmulq_f32(a, b); }
  static Float add(Float a, Float b) { return vaddq_f32(a, b); }
  static Float fma(Float a, Float b, Float c) { return vfmaq_f32(c, a, b); }

  /// Four bytes, each in a word of its own.
  static uint32x4_t widened(const uint8_t* p) {
    uint32_t four;
    std::memcpy(&four, p, sizeof four);
    return vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))));
  }
  static uint32x4_t words(const uint8_t* p) { return vreinterpretq_u32_u8(vld1q_u8(p)); }

  static Float halves(const uint8_t* p) { return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p))); }
  static Float e4m3Scales(const uint8_t* p) { return vmulq_n_f32(floats(vshlq_n_u32(widened(p), 20)), 0x1p120f); }
  static Float e8m0(const uint8_t* p) { return floats(vshlq_n_u32(widened(p), 23)); }
  /// Byte c of each word moved to the top, then to where an fp32 has sign, exponent and mantissa.
  static Float e4m3(const uint8_t* p, int c) {
    const int32x4_t top = vreinterpretq_s32_u32(vshlq_u32(words(p), vdupq_n_s32(24 - 8 * c)));
    return floats(vandq_u32(vreinterpretq_u32_s32(vshrq_n_s32(top, 4)), vdupq_n_u32(0x87f00000u)));
  }
  static Float bf16(const uint8_t* p, int odd) { return odd ? odds(words(p)) : evens(words(p)); }

  static Bytes bytes(const uint8_t* p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }
  static void nibbles(const uint8_t* p, Bytes& low, Bytes& high) {
    const uint8x16_t v = vld1q_u8(p);
    low = vreinterpretq_s8_u8(vandq_u8(v, vdupq_n_u8(15)));
    high = vreinterpretq_s8_u8(vshrq_n_u8(v, 4));
  }
  static void e2m1(const uint8_t* p, Bytes& low, Bytes& high) {
    constexpr int8_t kCodes[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};
    const int8x16_t table = vld1q_s8(kCodes);
    nibbles(p, low, high);
    low = vqtbl1q_s8(table, vreinterpretq_u8_s8(low));
    high = vqtbl1q_s8(table, vreinterpretq_u8_s8(high));
  }
  /// Volatile like the sums below, which keeps the compiler from loading many quads early and spilling them.
  static Bytes quad(const int8_t* x) {
    Bytes q;
    asm volatile("ld1r {%0.4s}, %1" : "=w"(q) : "Q"(*reinterpret_cast<const int32_t*>(x)));
    return q;
  }

  struct Factor {
    Float scale;
  };
  static Factor factor(Float scale) { return {scale}; }

  template <int bytes, int offset>
  struct Dot {
    using Sum = int32x4_t;
    /// Whole bytes are signed as they are; 4-bit codes have been made unsigned.
    static Sum start(const int32_t* word) { return bytes == 4 && offset ? vld1q_dup_s32(word) : vdupq_n_s32(0); }
    static Sum add(Sum s, Bytes w, Bytes x) {
      asm volatile("sdot %0.4s, %1.16b, %2.16b" : "+w"(s) : "w"(w), "w"(x));
      return s;
    }
    static Float value(Sum s) { return vcvtq_f32_s32(s); }
    static Float times(Sum s, const Factor& f) { return fma(value(s), f.scale, vdupq_n_f32(0.0f)); }
  };

  static void writeBlock(Format format, const V16& low, const V16& high, InputBlock& block) {
    const int8x16_t first = rounded(low), second = rounded(high);
    vst1q_s8(block.codes, first);
    vst1q_s8(block.codes + 16, second);
    writeWords(format, vaddlvq_s8(first), vaddlvq_s8(second), block);
  }
};

uint64_t readAll(const uint8_t* data, size_t bytes) {
  uint8x16_t sum[4] = {};
  for (const uint8_t* p = data; p < data + bytes; p += 64)
    for (int i = 0; i < 4; ++i) sum[i] = veorq_u8(sum[i], vld1q_u8(p + i * 16));
  const uint64x2_t all = vreinterpretq_u64_u8(veorq_u8(veorq_u8(sum[0], sum[1]), veorq_u8(sum[2], sum[3])));
  return vgetq_lane_u64(all, 0) ^ vgetq_lane_u64(all, 1);
}

// Written in assembly where a compiler would see that all products are one.
constexpr int kPeakSums = 16;

int64_t peakInt8(int64_t rounds) {
  int32x4_t sum[kPeakSums] = {};
  const int8x16_t w = vdupq_n_s8(1), x = vdupq_n_s8(2);
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 16
    for (int32x4_t& s : sum) asm volatile("sdot %0.4s, %1.16b, %2.16b" : "+w"(s) : "w"(w), "w"(x));
  return rounds * kPeakSums * 16;
}

int64_t peakBf16(int64_t rounds) {
  float32x4_t sum[kPeakSums] = {};
  const float32x4_t w = vdupq_n_f32(0.5f), x = vdupq_n_f32(1.0f);
  for (int64_t i = 0; i < rounds; ++i)
#pragma GCC unroll 16
    for (float32x4_t& s : sum) asm volatile("fmla %0.4s, %1.4s, %2.4s" : "+w"(s) : "w"(w), "w"(x));
  return rounds * kPeakSums * 4;
}

}  // namespace

const Kernels& neonKernels() {
  static constexpr Kernels table{preparedBytes, prepare<Neon>, scratchBytes, multiply<Neon>,
                                 adjustHead,    readAll,       peakInt8,     peakBf16};
  return table;
}

}  // namespace foretoken
