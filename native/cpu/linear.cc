#include "cpu/linear.h"

#include <algorithm>
#include <utility>

#include "common/error.h"

namespace foretoken {
namespace {

/// At most so many rows, of so many values in all, does every thread prepare for itself.
constexpr int64_t kOwnRows = 8, kOwnValues = 16384;

/// Asks for what nothing in a panel asks for: its first bytes, which come from memory while inputs are prepared.
void fetchFirst(const PackedMatrix& w, int64_t panel) {
  constexpr size_t kBytes = 8192, kLine = 64;
  const uint8_t* const start = w.bytes + kHeaderBytes + panel * w.layout.panelBytes;
  for (size_t i = 0; i < kBytes; i += kLine) __builtin_prefetch(start + i, 0, 2);
}

}  // namespace

size_t Linear::preparedBytes(int64_t rows) const {
  size_t bytes = 0;
  for (const Format format : {Format::f32, Format::q8_0})  // all others are like one of them
    bytes = std::max(bytes, kernels_.preparedBytes(format, cols_, rows));
  return bytes;
}

void Linear::reserve(int64_t rows, int64_t cols) {
  if (rows <= rows_ && cols <= cols_) return;
  rows_ = std::max(rows, rows_);
  cols_ = std::max(cols, cols_);
  scratchBytes_ = (kernels_.scratchBytes(static_cast<int>(rows_)) + 63) / 64 * 64;
  ownPreparedBytes_ = preparedBytes(std::min(rows_, kOwnRows));
  prepared_ = Memory(preparedBytes(rows_), "scratch of matrix products");
  ownPrepared_ = Memory(ownPreparedBytes_ * threads_.size(), "scratch of matrix products");
  scratch_ = Memory(scratchBytes_ * threads_.size(), "scratch of matrix products");
}

void Linear::run(const PackedMatrix& w, const InputRows& in, int count, float* out, int64_t outWidth,
                 Epilogue epilogue) {
  if (count == 0) return;
  if (count > rows_ || w.layout.cols > cols_)
    throw Error("INTERNAL_ERROR", "a matrix product that no room was made for");
  const auto prepare = [&](int64_t first, int64_t last, uint8_t* to) {
    for (int64_t i = first; i < last; ++i) {
      const float* row = in.rows + (in.gather ? in.gather[i] : i) * in.width;
      kernels_.prepare(w.format, row, w.layout.cols, in.norm, in.eps, to, i);
    }
  };
  const bool alone = count == 1 || (count <= kOwnRows && count * w.layout.cols <= kOwnValues);
  if (!alone) {
    const int64_t parts = std::min(count, threads_.size());
    threads_.run(parts, [&](int64_t first, int64_t last, int) {
      prepare(count * first / parts, count * last / parts, prepared_.data());
    });
  }
  ++product_;
  threads_.run(w.layout.panels, [&](int64_t first, int64_t last, int thread) {
    uint8_t* rows = alone ? ownPrepared_.data() + thread * ownPreparedBytes_ : prepared_.data();
    if (alone && std::exchange(own_[thread].product, product_) != product_) {
      fetchFirst(w, first);
      prepare(0, count, rows);
    }
    kernels_.multiply({w.format, w.layout, w.bytes, rows, count, out, outWidth, epilogue}, first, last,
                      scratch_.data() + thread * scratchBytes_);
  });
}

}  // namespace foretoken
