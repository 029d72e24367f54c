#include "cpu/bench_kernels.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>
#include <vector>

#include "cpu/pack.h"
#include "quant/quantize.h"

namespace foretoken {
namespace {

/// Random normal rows as a file of the type that `format` is packed from.
std::vector<uint8_t> randomSource(FileType type, int64_t rows, int64_t cols) {
  const BlockShape shape = blockShape(type);
  std::mt19937 random(1);
  std::vector<uint8_t> bytes(rows * cols / shape.elements * shape.bytes);
  if (type == FileType::f32) {
    std::normal_distribution<float> normal(0.0f, 0.05f);
    for (size_t i = 0; i < bytes.size(); i += 4) {
      const float value = normal(random);
      std::memcpy(bytes.data() + i, &value, 4);
    }
    return bytes;
  }
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  for (size_t i = 0; i < bytes.size(); i += shape.bytes)  // scales: f16 around 2^-7
    for (size_t s = i; s < i + (type == FileType::q4_1 ? 4 : 2); s += 2) bytes[s + 1] = 0x20;
  return bytes;
}

}  // namespace

KernelBench::KernelBench(ThreadPool& threads, Isa isa, Format format, int64_t rows, int64_t cols, int count,
                         size_t rotateBytes)
    : format_(format),
      layout_(format, rows, cols),
      count_(count),
      copies_(static_cast<int64_t>(rotateBytes / layout_.bytes()) + 1),
      linear_(threads, kernels(isa)),
      weights_(layout_.bytes() * copies_, "weights of a bench"),
      in_(count * cols * sizeof(float), "inputs of a bench"),
      out_(count * rows * sizeof(float), "outputs of a bench") {
  linear_.reserve(count, cols);
  const FileType type = fileTypeOf(format);
  const auto source = randomSource(type, rows, cols);
  const MatrixSource matrix{type, source.data(), rows, cols};
  packMatrix(threads, format, {&matrix, 1}, false, weights_.data());
  for (int64_t copy = 1; copy < copies_; ++copy)
    std::memcpy(weights_.data() + copy * layout_.bytes(), weights_.data(), layout_.bytes());
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  float* in = reinterpret_cast<float*>(in_.data());
  for (int64_t i = 0; i < count * cols; ++i) in[i] = normal(random);
}

double KernelBench::seconds() {
  const InputRows in{reinterpret_cast<const float*>(in_.data()), layout_.cols, nullptr, nullptr, 0.0f};
  const auto start = std::chrono::steady_clock::now();
  for (int64_t copy = 0; copy < copies_; ++copy)
    linear_.run({format_, layout_, weights_.data() + copy * layout_.bytes()}, in, count_,
                reinterpret_cast<float*>(out_.data()), layout_.rows, Epilogue::store);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / copies_;
}

}  // namespace foretoken
