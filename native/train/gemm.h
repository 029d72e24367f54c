// Matrix products of fp32 matrices on bf16 arithmetic: operands rounded to bf16 (nearest even), sums in fp32. A result
// depends neither on the number of threads nor on how many rows are computed at once.
#pragma once
#include "common/memory.h"
#include "cpu/thread_pool.h"
#include "train/kernels.h"

namespace foretoken::train {

class Gemm {
 public:
  Gemm(ThreadPool& threads, const TrainKernels& kernels) : threads_(threads), kernels_(kernels) {}

  /// out [a.rows, b.columns] = a b, or += with `accumulate`; rows of out are `stride` apart.
  void multiply(MatrixView a, MatrixView b, float* out, int64_t stride, bool accumulate = false);
  /// The same into rows without gaps.
  void multiply(MatrixView a, MatrixView b, float* out, bool accumulate = false) {
    multiply(a, b, out, b.columns, accumulate);
  }

 private:
  ThreadPool& threads_;
  const TrainKernels& kernels_;
  Memory panels_;  ///< of both operands; grows to the largest product
};

}  // namespace foretoken::train
