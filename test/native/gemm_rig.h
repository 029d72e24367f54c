// Matrix products through one instruction-set path: pack, prepare, multiply, as the backend does it, on any number of
// threads.
#pragma once
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/pack.h"
#include "quant/format.h"

namespace foretoken::test {

constexpr Format kFormats[] = {Format::f32,   Format::f16,  Format::bf16, Format::fp8, Format::nvfp4,
                               Format::mxfp4, Format::q8_0, Format::q4_0, Format::q4_1};

/// 64-byte aligned bytes.
class Bytes {
 public:
  explicit Bytes(size_t size) : memory_(size + 64) {}
  uint8_t* data() { return memory_.data() + (64 - reinterpret_cast<uintptr_t>(memory_.data()) % 64) % 64; }

 private:
  std::vector<uint8_t> memory_;
};

/// Random file rows: normal fp32 values, or blocks of random codes with small f16 scales.
inline std::vector<uint8_t> randomSource(std::mt19937& random, FileType type, int64_t rows, int64_t cols) {
  const BlockShape shape = blockShape(type);
  std::vector<uint8_t> bytes(rows * (cols / shape.elements) * shape.bytes);
  if (type == FileType::f32) {
    std::normal_distribution<float> normal(0.0f, 0.05f);
    for (int64_t i = 0; i < rows * cols; ++i) {
      const float value = normal(random);
      std::memcpy(bytes.data() + i * 4, &value, 4);
    }
    return bytes;
  }
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  for (size_t block = 0; block < bytes.size(); block += shape.bytes)
    for (int scale = 0; scale < (type == FileType::q4_1 ? 2 : 1); ++scale)
      bytes[block + 2 * scale + 1] = static_cast<uint8_t>((bytes[block + 2 * scale + 1] & 0x83) | 0x20);
  return bytes;
}

struct Packed {
  Format format;
  int64_t rows, cols;
  Bytes bytes;
};

inline Packed randomPacked(std::mt19937& random, ThreadPool& threads, Format format, int64_t rows, int64_t cols) {
  const FileType type = fileTypeOf(format);
  const auto source = randomSource(random, type, rows, cols);
  const MatrixSource matrix{type, source.data(), rows, cols};
  Packed packed{format, rows, cols, Bytes(Layout(format, rows, cols).bytes())};
  packMatrix(threads, format, {&matrix, 1}, false, packed.bytes.data());
  return packed;
}

inline std::vector<float> randomRows(std::mt19937& random, int64_t rows, int64_t cols) {
  std::normal_distribution<float> normal;
  std::vector<float> values(rows * cols);
  for (float& v : values) v = normal(random);
  return values;
}

struct Call {
  const float* norm = nullptr;
  float eps = 1e-5f;
  Epilogue epilogue = Epilogue::store;
};

/// out (epilogue)= W · norm(in), split over `threads` threads as the pool would.
inline void multiplyRows(const Kernels& kernels, Packed& w, const float* in, int count, const Call& call, int threads,
                         std::vector<float>& out) {
  const Layout layout(w.format, w.rows, w.cols);
  Bytes prepared(kernels.preparedBytes(w.format, w.cols, count)), scratch(kernels.scratchBytes(count));
  for (int r = 0; r < count; ++r)
    kernels.prepare(w.format, in + r * w.cols, w.cols, call.norm, call.eps, prepared.data(), r);
  const int64_t width = isGated(call.epilogue) ? w.rows / 2 : w.rows;
  const Product product{w.format, layout, w.bytes.data(), prepared.data(), count, out.data(), width, call.epilogue};
  for (int t = 0; t < threads; ++t)
    kernels.multiply(product, layout.panels * t / threads, layout.panels * (t + 1) / threads, scratch.data());
}

inline std::vector<float> multiplied(const Kernels& kernels, Packed& w, const float* in, int count,
                                     const Call& call = {}, int threads = 1) {
  std::vector<float> out(count * (isGated(call.epilogue) ? w.rows / 2 : w.rows));
  multiplyRows(kernels, w, in, count, call, threads, out);
  return out;
}

inline bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/// The product in double arithmetic from the weights as they are stored and the inputs as they are rounded, and per
/// output the sum of magnitudes that rounding errors scale with.
struct Exact {
  std::vector<double> value, magnitude;
};

inline double roundedInput(Format format, const float* row, int64_t cols, int64_t k) {
  if (format == Format::f32 || format == Format::f16) return row[k];
  if (format == Format::bf16 || format == Format::fp8) {
    uint32_t bits;
    std::memcpy(&bits, row + k, 4);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
  }
  float amax = 0;
  for (int64_t i = k / 32 * 32; i < std::min(cols, k / 32 * 32 + 32); ++i) amax = std::max(amax, std::abs(row[i]));
  return amax == 0 ? 0.0 : std::nearbyint(row[k] * (127.0f / amax)) * (amax / 127.0f);
}

/// Error that sums in halves may have (fp8 on avx512fp16), as a share of the sum of magnitudes.
constexpr double kHalfError = 1e-3;

/// In double, of inputs as the format rounds them, or as they are.
inline Exact exactProduct(Packed& w, const float* in, int count, bool rounding = true) {
  Exact exact;
  std::vector<float> weights(w.cols);
  std::vector<double> rounded(count * w.cols);
  for (int r = 0; r < count; ++r)
    for (int64_t k = 0; k < w.cols; ++k) {
      const float* row = in + r * w.cols;
      rounded[r * w.cols + k] = rounding ? roundedInput(w.format, row, w.cols, k) : row[k];
    }
  exact.value.resize(count * w.rows);
  exact.magnitude.resize(count * w.rows);
  for (int64_t n = 0; n < w.rows; ++n) {
    unpackRow(w.format, w.rows, w.cols, w.bytes.data(), n, weights.data());
    for (int r = 0; r < count; ++r)
      for (int64_t k = 0; k < w.cols; ++k) {
        const double term = weights[k] * rounded[r * w.cols + k];
        exact.value[r * w.rows + n] += term;
        exact.magnitude[r * w.rows + n] += std::abs(term);
      }
  }
  return exact;
}

/// Largest error in units of the magnitude sum.
inline double worstError(const Exact& exact, const std::vector<float>& got) {
  double worst = 0;
  for (size_t i = 0; i < got.size(); ++i)
    worst = std::max(worst, std::abs(exact.value[i] - got[i]) / (exact.magnitude[i] + 1e-30));
  return worst;
}

}  // namespace foretoken::test
