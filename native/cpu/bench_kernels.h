// Times one matrix product alone, for `bench kernels`: random weights, as many copies in turn as caches cannot hold.
#pragma once
#include "common/memory.h"
#include "cpu/linear.h"
#include "cpu/thread_pool.h"

namespace foretoken {

class KernelBench {
 public:
  /// W [rows, cols] in `format` times `count` input rows. Copies of W together exceed `rotateBytes`.
  KernelBench(ThreadPool&, Isa, Format, int64_t rows, int64_t cols, int count, size_t rotateBytes = size_t{200} << 20);

  /// Seconds of one product, rows normalised and rounded within it: the mean over one turn through all copies.
  double seconds();
  /// Unpadded bytes of W and multiply-adds of one product.
  double bytes() const { return static_cast<double>(unpaddedBytes(format_, layout_.rows, layout_.cols)); }
  double macs() const { return static_cast<double>(layout_.rows) * layout_.cols * count_; }

 private:
  Format format_;
  Layout layout_;
  int count_;
  int64_t copies_;
  Linear linear_;
  Memory weights_, in_, out_;
};

}  // namespace foretoken
