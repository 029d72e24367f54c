#include "cpu/linear.h"

#include <algorithm>

namespace foretoken {

void Linear::reserve(int64_t rows, int64_t cols) {
  if (rows <= rows_ && cols <= cols_) return;
  rows_ = std::max({rows, rows_, int64_t{threads_.size()}});
  cols_ = std::max(cols, cols_);
  scratchBytes_ = (kernels_.scratchBytes(static_cast<int>(rows_)) + 63) / 64 * 64;
  prepared_ = Memory(rows_ * kernels_.preparedBytes(Format::f32, cols_), "scratch of matrix products");
  scratch_ = Memory(scratchBytes_ * threads_.size(), "scratch of matrix products");
}

void Linear::run(const PackedMatrix& w, const InputRows& in, int count, float* out, int64_t outWidth,
                 Epilogue epilogue) {
  if (count == 0) return;
  const size_t rowBytes = kernels_.preparedBytes(w.format, w.layout.cols);
  const auto prepare = [&](int64_t i, uint8_t* to) {
    const float* row = in.rows + (in.gather ? in.gather[i] : i) * in.width;
    kernels_.prepare(w.format, row, w.layout.cols, in.norm, in.eps, to);
  };
  threads_.run([&](int thread) {
    // A single row is prepared by every thread for itself, which takes less time than waiting for each other.
    uint8_t* rows = prepared_.data() + (count == 1 ? thread * rowBytes : 0);
    if (count == 1) {
      prepare(0, rows);
    } else {
      const auto [first, last] = threads_.share(count, thread);
      for (int64_t i = first; i < last; ++i) prepare(i, rows + i * rowBytes);
      threads_.barrier();
    }
    const Product product{w.format, w.layout, w.bytes, rows, rowBytes, count, out, outWidth, epilogue};
    const auto [first, last] = threads_.share(w.layout.panels, thread);
    kernels_.multiply(product, first, last, scratch_.data() + thread * scratchBytes_);
  });
}

}  // namespace foretoken
