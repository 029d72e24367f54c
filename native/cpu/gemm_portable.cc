// The portable path: plain C++ that serves any CPU and defines what the others must give.
#include <cmath>

#include "quant/float_codecs.h"
//
#include "cpu/gemm-inl.h"

namespace foretoken {
namespace {

/// Rounds |x| < 2^22 to the nearest integer, ties to even.
inline V16 rint(const V16& x) {
  const V16 magic = broadcast(12582912.0f);
  return sub(add(x, magic), magic);
}

struct Portable : WidensFloats<Portable> {
  static constexpr int kRows = 16, kVectors = 1, kTile = 2, kFloatTile = 2;
  static constexpr float kFp8InputScale = 1.0f, kFp8Unscale = 1.0f;

  using Float = V16;
  struct Bytes {
    uint8_t x[64];
  };
  struct Ints {
    int32_t x[16];
  };

  static Float broadcast(float v) { return foretoken::broadcast(v); }
  static Float spread(const int32_t* bits) { return broadcast(bitsFloat(static_cast<uint32_t>(*bits))); }
  static Float load(const float* p) { return foretoken::load(p); }
  static void store(float* p, const Float& v) { foretoken::store(p, v); }
  static Float mul(const Float& a, const Float& b) { return foretoken::mul(a, b); }
  static Float add(const Float& a, const Float& b) { return foretoken::add(a, b); }
  static Float fma(const Float& a, const Float& b, const Float& c) { return foretoken::fma(a, b, c); }

  static Float halves(const uint8_t* p) {
    return lanes([&](int i) { return f16ToFloat(static_cast<uint16_t>(p[2 * i] | p[2 * i + 1] << 8)); });
  }
  static Float e4m3Scales(const uint8_t* p) {
    return lanes([&](int i) { return e4m3ToFloat(p[i]); });
  }
  static Float e8m0(const uint8_t* p) {
    return lanes([&](int i) { return bitsFloat(uint32_t{p[i]} << 23); });
  }
  static Float e4m3(const uint8_t* p, int c) {
    return lanes([&](int i) { return e4m3ToFloat(p[4 * i + c]); });
  }
  static Float bf16(const uint8_t* p, int odd) {
    return lanes([&](int i) {
      const uint8_t* half = p + 4 * i + 2 * odd;
      return bf16ToFloat(static_cast<uint16_t>(half[0] | half[1] << 8));
    });
  }

  static Bytes bytes(const uint8_t* p) {
    Bytes b;
    for (int i = 0; i < 64; ++i) b.x[i] = p[i] ^ 0x80;
    return b;
  }
  static void nibbles(const uint8_t* p, Bytes& low, Bytes& high) {
    for (int i = 0; i < 64; ++i) {
      low.x[i] = p[i] & 15;
      high.x[i] = p[i] >> 4;
    }
  }
  static void e2m1(const uint8_t* p, Bytes& low, Bytes& high) {
    for (int i = 0; i < 64; ++i) {
      low.x[i] = static_cast<uint8_t>(e2m1Doubled(p[i] & 15) + 12);
      high.x[i] = static_cast<uint8_t>(e2m1Doubled(p[i] >> 4) + 12);
    }
  }
  static const int8_t* quad(const int8_t* x) { return x; }

  struct Factor {
    Float scale;
  };
  static Factor factor(const Float& scale) { return {scale}; }

  template <int bytes, int offset>
  struct Dot {
    using Sum = Ints;
    static Sum start(const int32_t* word) {
      Sum s;
      for (int32_t& v : s.x) v = offset ? *word : 0;
      return s;
    }
    static Sum add(Sum s, const Bytes& w, const int8_t* x) {
      for (int r = 0; r < 16; ++r)
        s.x[r] += w.x[4 * r] * x[0] + w.x[4 * r + 1] * x[1] + w.x[4 * r + 2] * x[2] + w.x[4 * r + 3] * x[3];
      return s;
    }
    static Float value(const Sum& s) {
      return lanes([&](int i) { return static_cast<float>(s.x[i]); });
    }
    static Float times(const Sum& s, const Factor& f) { return fma(value(s), f.scale, broadcast(0.0f)); }
  };

  static void writeBlock(Format format, const V16& low, const V16& high, InputBlock& block) {
    const V16 rounded[2] = {rint(low), rint(high)};
    int32_t sums[2] = {};
    for (int i = 0; i < kBlockCols; ++i) {
      const float value = rounded[i / kLanes].x[i % kLanes];
      block.codes[i] = static_cast<int8_t>(value == value ? value : 0.0f);
      sums[i / kLanes] += block.codes[i];
    }
    writeWords(format, sums[0], sums[1], block);
  }
};

uint64_t readAll(const uint8_t* data, size_t bytes) {
  uint64_t sum[8] = {};
  for (size_t i = 0; i < bytes; i += 64) {
    uint64_t words[8];
    __builtin_memcpy(words, data + i, 64);
    for (int j = 0; j < 8; ++j) sum[j] ^= words[j];
  }
  return sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];
}

int64_t peakInt8(int64_t rounds) {
  Portable::Bytes w = {};
  const int8_t x[4] = {1, 2, 3, 4};
  Portable::Ints sum = {};
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+m"(w), "+m"(sum));  // or the compiler would compute the loop's end at once
    sum = Portable::Dot<4, 8>::add(sum, w, x);
  }
  asm volatile("" ::"m"(sum));
  return rounds * 64;
}

int64_t peakBf16(int64_t rounds) {
  V16 sum = {};
  const V16 w = broadcast(0.5f), x = broadcast(1.0f);
  for (int64_t i = 0; i < rounds; ++i) {
    asm volatile("" : "+m"(sum));
    sum = fma(sum, w, x);
  }
  asm volatile("" ::"m"(sum));
  return rounds * kLanes;
}

}  // namespace

const Kernels& portableKernels() {
  static constexpr Kernels table{preparedBytes, prepare<Portable>, scratchBytes, multiply<Portable>,
                                 adjustHead,    readAll,           peakInt8,     peakBf16};
  return table;
}

}  // namespace foretoken
