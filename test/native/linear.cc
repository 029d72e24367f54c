// What matrix products are given to work in: as much as the rows of tensors and the columns of matrices can need.
#include "cpu/linear.h"

#include <random>
#include <vector>

#include "backend.h"
#include "check.h"
#include "gemm_rig.h"
#include "refusal.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;

constexpr int kRows = 40, kCols = 96, kOutputs = 48;

/// Logits are wide and a pass has many rows, but no product takes logits in.
void testRoom(const char* isa) {
  const auto backend = createCpuBackend({2, isa});
  const auto wide = backend->tensor(1, int64_t{1} << 24);
  const auto many = backend->tensor(8192, kCols);  // half a TiB, were they as wide
  const auto in = backend->tensor(kRows, kCols), out = backend->tensor(kRows, kOutputs);
  std::mt19937 random(3);
  const std::vector<float> rows = randomRows(random, kRows, kCols);
  backend->write(*in, rows.data(), kRows);
  Pass pass;
  pass.rows = kRows;
  ThreadPool threads(1);
  for (int format = 0; format < kFormatCount; ++format) {
    Packed w = randomPacked(random, threads, static_cast<Format>(format), kOutputs, kCols);
    const auto matrix = backend->matrix(w.format, w.rows, w.cols, w.bytes.data());
    backend->linear(pass, *matrix, *in, nullptr, 0, *out, Epilogue::store);
    const float* const got = backend->read(*out, kRows);
    CHECK(same({got, got + kRows * kOutputs}, multiplied(kernels(selectIsa(isa)), w, rows.data(), kRows)));
  }
}

/// Whatever there is no room for is refused before anything is written.
void testWithoutRoom() {
  ThreadPool threads(2);
  std::mt19937 random(4);
  Packed w = randomPacked(random, threads, Format::f32, kOutputs, kCols);
  const PackedMatrix matrix{w.format, Layout(w.format, w.rows, w.cols), w.bytes.data()};
  const std::vector<float> in = randomRows(random, kRows, kCols);
  std::vector<float> out(kRows * kOutputs);
  const auto code = [&](int64_t rows, int64_t cols, int count) {
    Linear linear(threads, kernels(Isa::portable));
    linear.reserve(rows, 0);
    linear.reserve(0, cols);
    const InputRows input{in.data(), kCols, nullptr, nullptr, 0};
    return codeOf([&] { linear.run(matrix, input, count, out.data(), kOutputs, Epilogue::store); });
  };
  for (const int count : {1, kRows}) {
    CHECK(code(count, kCols, count) == "");
    CHECK(code(count - 1, kCols, count) == "INTERNAL_ERROR");
    CHECK(code(count, kCols - 1, count) == "INTERNAL_ERROR");
  }
}

}  // namespace

int main() {
  for (const char* isa : availableIsas()) testRoom(isa);
  testWithoutRoom();
  return finish("linear");
}
