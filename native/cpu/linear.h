// One matrix product over all threads: input rows are normalised and rounded, then every thread computes its panels.
#pragma once
#include "common/memory.h"
#include "cpu/kernels.h"
#include "cpu/thread_pool.h"

namespace foretoken {

/// A packed matrix in memory.
struct PackedMatrix {
  Format format;
  Layout layout;
  const uint8_t* bytes;
};

/// Row i of a product's input is row gather[i] (i where null) of `rows`; RMSNorm unless `norm` is null.
struct InputRows {
  const float* rows;
  int64_t width;
  const int32_t* gather;
  const float* norm;
  float eps;
};

class Linear {
 public:
  Linear(ThreadPool& threads, const Kernels& kernels) : threads_(threads), kernels_(kernels) {}

  /// Makes room for so many rows and columns, so that run never allocates.
  void reserve(int64_t rows, int64_t cols);

  /// out[i] (epilogue)= W · norm(in[i]) for i < count; out rows are `outWidth` apart.
  void run(const PackedMatrix&, const InputRows&, int count, float* out, int64_t outWidth, Epilogue);

 private:
  ThreadPool& threads_;
  const Kernels& kernels_;
  int64_t rows_ = 0, cols_ = 0;
  Memory prepared_;  ///< rows as kernels read them
  Memory scratch_;   ///< scratchBytes_ for each thread
  size_t scratchBytes_ = 0;
};

}  // namespace foretoken
