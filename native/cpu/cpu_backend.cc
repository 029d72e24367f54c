#include "cpu/cpu_backend.h"

#include <algorithm>
#include <cstring>

#include "common/error.h"
#include "cpu/kernels.h"
#include "cpu/pack.h"
#include "cpu/topology.h"

namespace foretoken {
namespace {

class CpuMatrix final : public Matrix {
 public:
  CpuMatrix(Format format, int64_t rows, int64_t cols, const uint8_t* packed)
      : Matrix(format, rows, cols), layout(format, rows, cols), packed(packed) {}
  const Layout layout;
  const uint8_t* const packed;
};

const CpuMatrix& own(const Matrix& m) { return static_cast<const CpuMatrix&>(m); }
CpuTensor& own(Tensor& t) { return static_cast<CpuTensor&>(t); }
const CpuTensor& own(const Tensor& t) { return static_cast<const CpuTensor&>(t); }

int threadsFor(const CpuOptions& options) {
  constexpr int kMost = 256;
  if (options.threads < 0 || options.threads > kMost)
    throw Error("BAD_OPTION", "threads must be between 0 (physical cores) and 256");
  return options.threads ? options.threads : defaultThreads();
}

}  // namespace

CpuBackend::CpuBackend(const CpuOptions& options)
    : isa_(selectIsa(options.isa)), threads_(threadsFor(options)), kernels_(kernels(isa_)) {}

CpuBackend::~CpuBackend() = default;

std::unique_ptr<Backend> createCpuBackend(const CpuOptions& options) { return std::make_unique<CpuBackend>(options); }

size_t CpuBackend::packedBytes(Format format, int64_t rows, int64_t cols) const {
  return Layout(format, rows, cols).bytes();
}

void CpuBackend::pack(Format format, std::span<const MatrixSource> sources, bool interleave, uint8_t* out) {
  packMatrix(threads_, format, sources, interleave, out);
}

std::unique_ptr<Matrix> CpuBackend::matrix(Format format, int64_t rows, int64_t cols, const uint8_t* packed) {
  return std::make_unique<CpuMatrix>(format, rows, cols, packed);
}

std::unique_ptr<Tensor> CpuBackend::tensor(int64_t rows, int64_t width) {
  auto tensor = std::make_unique<CpuTensor>(rows, width);
  reserve(rows, width);
  return tensor;
}

/// Makes room for products over tensors of this size, so that none of them allocates.
void CpuBackend::reserve(int64_t rows, int64_t width) {
  if (rows <= maxRows_ && width <= maxWidth_) return;
  maxRows_ = std::max(maxRows_, rows);
  maxWidth_ = std::max(maxWidth_, width);
  scratchBytes_ = (kernels_.scratchBytes(static_cast<int>(maxRows_)) + 63) / 64 * 64;
  prepared_ = Memory(maxRows_ * kernels_.preparedBytes(maxWidth_), "scratch of matrix products");
  scratch_ = Memory(scratchBytes_ * threads_.size(), "scratch of matrix products");
}

const float* CpuBackend::read(const Tensor& tensor, int64_t) { return own(tensor).data(); }

void CpuBackend::write(Tensor& tensor, const float* values, int64_t rows) {
  std::memcpy(own(tensor).data(), values, rows * tensor.width() * sizeof(float));
}

void CpuBackend::embed(const Pass& pass, const Matrix& table, Tensor& out) {
  const CpuMatrix& m = own(table);
  for (int r = 0; r < pass.rows; ++r)
    unpackRow(m.format(), m.rows(), m.cols(), m.packed, pass.token[r], own(out).row(r));
}

void CpuBackend::linear(const Pass& pass, const Matrix& w, const Tensor& in, const float* norm, float eps, Tensor& out,
                        Epilogue epilogue) {
  product(w, own(in), nullptr, pass.rows, norm, eps, own(out), epilogue);
}

void CpuBackend::logits(const Pass& pass, const Matrix& w, const Tensor& in, const float* norm, float eps,
                        Tensor& out) {
  product(w, own(in), pass.logitRow, pass.logitRows, norm, eps, own(out), Epilogue::store);
}

void CpuBackend::product(const Matrix& matrix, const CpuTensor& in, const int32_t* gather, int count, const float* norm,
                         float eps, CpuTensor& out, Epilogue epilogue) {
  if (count == 0) return;
  const CpuMatrix& m = own(matrix);
  const size_t rowBytes = kernels_.preparedBytes(m.cols());
  const Product p{m.format(), m.layout, m.packed, prepared_.data(), rowBytes, count, out.data(), out.width(), epilogue};
  threads_.run([&](int thread) {
    const auto [firstRow, lastRow] = threads_.share(count, thread);
    for (int64_t i = firstRow; i < lastRow; ++i)
      kernels_.prepare(m.format(), in.row(gather ? gather[i] : i), m.cols(), norm, eps,
                       prepared_.data() + i * rowBytes);
    threads_.barrier();
    const auto [first, last] = threads_.share(m.layout.panels, thread);
    kernels_.multiply(p, first, last, scratch_.data() + thread * scratchBytes_);
  });
}

}  // namespace foretoken
