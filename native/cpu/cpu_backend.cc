#include "cpu/cpu_backend.h"

#include <cstring>

#include "common/error.h"
#include "cpu/kernels.h"
#include "cpu/pack.h"
#include "cpu/topology.h"

namespace foretoken {
namespace {

class CpuMatrix final : public Matrix {
 public:
  CpuMatrix(Format format, int64_t rows, int64_t cols, const uint8_t* bytes)
      : Matrix(format, rows, cols), packed{format, Layout(format, rows, cols), bytes} {}
  const PackedMatrix packed;
};

const CpuMatrix& own(const Matrix& m) { return static_cast<const CpuMatrix&>(m); }
CpuTensor& own(Tensor& t) { return static_cast<CpuTensor&>(t); }
const CpuTensor& own(const Tensor& t) { return static_cast<const CpuTensor&>(t); }

int threadsFor(const CpuOptions& options) {
  constexpr int kMost = 256;
  if (options.threads < 0 || options.threads > kMost)
    throw Error("INVALID_OPTION", "threads must be between 0 (physical cores) and 256");
  return options.threads ? options.threads : defaultThreads();
}

}  // namespace

CpuBackend::CpuBackend(const CpuOptions& options)
    : isa_(selectIsa(options.isa)), threads_(threadsFor(options)), linear_(threads_, kernels(isa_)) {}

CpuBackend::~CpuBackend() = default;

std::unique_ptr<Backend> createCpuBackend(const CpuOptions& options) { return std::make_unique<CpuBackend>(options); }

size_t CpuBackend::packedBytes(Format format, int64_t rows, int64_t cols) const {
  return Layout(format, rows, cols).bytes();
}

void CpuBackend::pack(Format format, std::span<const MatrixSource> sources, bool interleave, uint8_t* out) {
  packMatrix(threads_, format, sources, interleave, out);
}

std::unique_ptr<Matrix> CpuBackend::matrix(Format format, int64_t rows, int64_t cols, const uint8_t* packed) {
  linear_.reserve(0, cols);
  return std::make_unique<CpuMatrix>(format, rows, cols, packed);
}

std::unique_ptr<Tensor> CpuBackend::tensor(int64_t rows, int64_t width) {
  auto tensor = std::make_unique<CpuTensor>(rows, width);
  linear_.reserve(rows, 0);
  return tensor;
}

const float* CpuBackend::read(const Tensor& tensor, int64_t) { return own(tensor).data(); }

void CpuBackend::write(Tensor& tensor, const float* values, int64_t rows) {
  std::memcpy(own(tensor).data(), values, rows * tensor.width() * sizeof(float));
}

void CpuBackend::embed(const Pass& pass, const Matrix& table, Tensor& out) {
  const CpuMatrix& m = own(table);
  for (int r = 0; r < pass.rows; ++r)
    unpackRow(m.format(), m.rows(), m.cols(), m.packed.bytes, pass.token[r], own(out).row(r));
}

void CpuBackend::linear(const Pass& pass, const Matrix& w, const Tensor& in, const float* norm, float eps, Tensor& out,
                        Epilogue epilogue) {
  linear_.run(own(w).packed, {own(in).data(), in.width(), nullptr, norm, eps}, pass.rows, own(out).data(), out.width(),
              epilogue);
}

void CpuBackend::logits(const Pass& pass, const Matrix& w, const Tensor& in, const float* norm, float eps,
                        Tensor& out) {
  linear_.run(own(w).packed, {own(in).data(), in.width(), pass.logitRow, norm, eps}, pass.logitRows, own(out).data(),
              out.width(), Epilogue::store);
}

void CpuBackend::addRows(const Tensor& in, std::span<const int32_t> row, Tensor& out, int64_t first) {
  for (size_t i = 0; i < row.size(); ++i) {
    const float* const from = own(in).row(row[i]);
    float* const to = own(out).row(first + static_cast<int64_t>(i));
    for (int64_t k = 0; k < in.width(); ++k) to[k] += from[k];
  }
}

}  // namespace foretoken
