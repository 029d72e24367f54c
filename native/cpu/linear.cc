#include "cpu/linear.h"

#include <algorithm>

namespace foretoken {
namespace {

/// Input values whose preparation takes no longer than calling the other threads.
constexpr int64_t kSerialValues = 2048;

}  // namespace

void Linear::reserve(int64_t rows, int64_t cols) {
  if (rows <= rows_ && cols <= cols_) return;
  rows_ = std::max(rows, rows_);
  cols_ = std::max(cols, cols_);
  scratchBytes_ = (kernels_.scratchBytes(static_cast<int>(rows_)) + 63) / 64 * 64;
  size_t prepared = 0;
  for (const Format format : {Format::f32, Format::q8_0})  // all others are like one of them
    prepared = std::max(prepared, kernels_.preparedBytes(format, cols_, rows_));
  prepared_ = Memory(prepared, "scratch of matrix products");
  scratch_ = Memory(scratchBytes_ * threads_.size(), "scratch of matrix products");
}

void Linear::run(const PackedMatrix& w, const InputRows& in, int count, float* out, int64_t outWidth,
                 Epilogue epilogue) {
  if (count == 0) return;
  uint8_t* prepared = prepared_.data();
  const auto prepare = [&](int64_t first, int64_t last, int) {
    for (int64_t i = first; i < last; ++i) {
      const float* row = in.rows + (in.gather ? in.gather[i] : i) * in.width;
      kernels_.prepare(w.format, row, w.layout.cols, in.norm, in.eps, prepared, i);
    }
  };
  if (count * w.layout.cols <= kSerialValues)
    prepare(0, count, 0);
  else
    threads_.run(count, prepare);
  const Product product{w.format, w.layout, w.bytes, prepared, count, out, outWidth, epilogue};
  threads_.run(w.layout.panels, [&](int64_t first, int64_t last, int thread) {
    kernels_.multiply(product, first, last, scratch_.data() + thread * scratchBytes_);
  });
}

}  // namespace foretoken
