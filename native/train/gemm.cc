#include "train/gemm.h"

#include <algorithm>

#include "common/error.h"

namespace foretoken::train {
namespace {

/// Rows of a that a thread takes at once against one panel of b, which stays in its cache meanwhile.
constexpr int64_t kRowsAtOnce = 128;

constexpr int64_t ceilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

void Gemm::multiply(MatrixView a, MatrixView b, float* out, int64_t stride, bool accumulate) {
  if (a.columns != b.rows)
    throw Error("SHAPE_MISMATCH", "a matrix product of " + std::to_string(a.columns) + " columns with " +
                                      std::to_string(b.rows) + " rows");
  const int64_t tileRows = kernels_.tileRows, tileColumns = kernels_.tileColumns;
  const int64_t pairs = ceilDivide(a.columns, 2), down = ceilDivide(a.rows, tileRows);
  const int64_t across = ceilDivide(b.columns, tileColumns);
  const int64_t panelA = pairs * tileRows * kernels_.bytesPerPair, panelB = pairs * tileColumns * kernels_.bytesPerPair;
  const size_t bytes = static_cast<size_t>(down * panelA + across * panelB);
  if (panels_.size() < bytes) panels_ = Memory(bytes, "packed operands of a matrix product");
  uint8_t* const left = panels_.data();
  uint8_t* const right = left + down * panelA;

  const MatrixView columns = b.transposed();
  threads_.run(down + across, [&](int64_t first, int64_t last, int) {
    for (int64_t i = first; i < last; ++i) {
      if (i < down)
        kernels_.pack(a, i * tileRows, tileRows, left + i * panelA);
      else
        kernels_.pack(columns, (i - down) * tileColumns, tileColumns, right + (i - down) * panelB);
    }
  });

  const int64_t group = kRowsAtOnce / tileRows, groups = ceilDivide(down, group);
  threads_.run(across * groups, [&](int64_t first, int64_t last, int) {
    for (int64_t item = first; item < last; ++item) {
      const int64_t c = item / groups, column = c * tileColumns;
      const int64_t begin = item % groups * group, end = std::min(down, begin + group);
      for (int64_t r = begin; r < end; ++r)
        kernels_.multiplyTile(left + r * panelA, right + c * panelB, pairs, out + r * tileRows * stride + column,
                              stride, std::min(tileRows, a.rows - r * tileRows),
                              std::min(tileColumns, b.columns - column), accumulate);
    }
  });
}

}  // namespace foretoken::train
