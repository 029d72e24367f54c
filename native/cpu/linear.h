// One matrix product over all threads: input rows are normalised and rounded, then every thread computes its panels.
//
// Few rows every thread prepares for itself: what another core has written takes longer to come here than computing it
// again, and nobody waits for anybody.
#pragma once
#include <memory>

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
  Linear(ThreadPool& threads, const Kernels& kernels)
      : threads_(threads), kernels_(kernels), own_(new Own[threads.size()]) {}

  /// Makes room for so many rows of inputs and for matrices of so many columns, so that run never allocates. What was
  /// asked for before stays there: tensors say how many rows there may be, matrices how wide those are.
  void reserve(int64_t rows, int64_t cols);

  /// out[i] (epilogue)= W · norm(in[i]) for i < count; out rows are `outWidth` apart. `out` must not be read as input.
  /// Throws INTERNAL_ERROR where no room was made.
  void run(const PackedMatrix&, const InputRows&, int count, float* out, int64_t outWidth, Epilogue);

 private:
  /// What a thread alone writes.
  struct alignas(128) Own {
    uint64_t product = 0;  ///< the last one whose rows it has prepared for itself
  };

  size_t preparedBytes(int64_t rows) const;

  ThreadPool& threads_;
  const Kernels& kernels_;
  int64_t rows_ = 0, cols_ = 0;
  Memory prepared_;     ///< rows as kernels read them
  Memory ownPrepared_;  ///< few of them, ownPreparedBytes_ for each thread
  Memory scratch_;      ///< scratchBytes_ for each thread
  size_t ownPreparedBytes_ = 0, scratchBytes_ = 0;
  std::unique_ptr<Own[]> own_;
  uint64_t product_ = 0;  ///< counts them
};

}  // namespace foretoken
