// Calls of the runtime that fail, so that tests see what host code makes of it.
#pragma once
#include <cstdint>
#include <mutex>
#include <optional>

using cudaError_t = int;
constexpr cudaError_t cudaSuccess = 0, cudaErrorMemoryAllocation = 2, cudaErrorInvalidResourceHandle = 400,
                      cudaErrorIllegalAddress = 700, cudaErrorNotSupported = 801,
                      cudaErrorStreamCaptureUnsupported = 900;

namespace foretoken::simt {

/// What a call of the runtime is for.
enum class Call : uint8_t { allocate, copy, launch, wait, other };

/// One call that is to fail.
struct Fault {
  std::optional<Call> of;  ///< none: whichever call is next
  int64_t after = 0;       ///< such calls that succeed before
  cudaError_t error = cudaErrorIllegalAddress;
};

/// As CUDA has it, lack of memory is told once, and after any other error every call fails with it.
class Faults {
 public:
  void arm(const Fault& fault) {
    const std::lock_guard lock(mutex_);
    next_ = fault, lost_ = cudaSuccess;
  }
  /// Whether the fault has been met; all is well from now on.
  bool mend() {
    const std::lock_guard lock(mutex_);
    const bool met = !next_ && met_;
    next_.reset(), met_ = false, lost_ = cudaSuccess;
    return met;
  }
  /// What a call returns.
  cudaError_t meet(Call call) {
    const std::lock_guard lock(mutex_);
    if (lost_ != cudaSuccess || !next_ || (next_->of && *next_->of != call) || next_->after-- > 0) return lost_;
    const cudaError_t error = next_->error;
    next_.reset(), met_ = true;
    if (error != cudaErrorMemoryAllocation) lost_ = error;
    return error;
  }

 private:
  std::mutex mutex_;
  std::optional<Fault> next_;
  bool met_ = false;
  cudaError_t lost_ = cudaSuccess;
};

inline Faults faults;

}  // namespace foretoken::simt
