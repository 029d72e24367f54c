// A fiber: a stack of its own, left and entered at will, known to AddressSanitizer.
#pragma once
#include <sys/mman.h>

#include <cstdint>
#include <new>

#include "cuda/simt/context.h"
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace foretoken::simt {

/// Stacks for the largest block, mapped once; only pages that are used take memory.
class Stacks {
 public:
#ifdef __SANITIZE_ADDRESS__
  static constexpr size_t kBytes = 256 * 1024;
#else
  static constexpr size_t kBytes = 64 * 1024;
#endif
  static constexpr int kCount = 1024;

  Stacks() {
    // One more at the bottom, so that the first fiber's overflow is found rather than fatal.
    void* memory = mmap(nullptr, kBytes * (kCount + 1), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    memory_ = static_cast<unsigned char*>(memory);
  }
  unsigned char* bottom(int fiber) const { return memory_ + (fiber + 1) * kBytes; }

 private:
  unsigned char* memory_;
};

inline const Stacks& stacks() {
  static const Stacks all;
  return all;
}

class Fiber {
 public:
  /// Prepares stack `number` so that the first `enter` calls `entry`.
  void reset(int number, void (*entry)()) {
    bottom_ = stacks().bottom(number);
    *canary() = kCanary;
#ifdef __SANITIZE_ADDRESS__
    __asan_unpoison_memory_region(bottom_, Stacks::kBytes);  // an abandoned launch leaves its frames marked
    fake_ = nullptr;
#endif
    // Tops at multiples of the stack size would all fall into one set of the first-level cache.
    context_ = freshContext(bottom_ + Stacks::kBytes - number % 53 * 64, entry);
  }

  /// From the scheduler into the fiber, until it leaves.
  void enter() {
#ifdef __SANITIZE_ADDRESS__
    void* fake = nullptr;
    __sanitizer_start_switch_fiber(&fake, bottom_, Stacks::kBytes);
#endif
    foretoken_simt_switch(&home_, context_);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
  }

  /// First thing on the fiber's own stack.
  void begin() {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(nullptr, &homeBottom_, &homeBytes_);
#endif
  }

  /// From the fiber back to the scheduler; returns at the next `enter`.
  void leave(bool forGood = false) {
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_start_switch_fiber(forGood ? nullptr : &fake_, homeBottom_, homeBytes_);
#endif
    (void)forGood;
    foretoken_simt_switch(&context_, home_);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_finish_switch_fiber(fake_, &homeBottom_, &homeBytes_);
#endif
  }

  bool overflowed() const { return *canary() != kCanary; }

 private:
  static constexpr uint64_t kCanary = 0x00c0ffee0ddf00d5;
  uint64_t* canary() const { return reinterpret_cast<uint64_t*>(bottom_); }

  unsigned char* bottom_ = nullptr;
  void* context_ = nullptr;
  static inline void* home_ = nullptr;  // the scheduler's own context: there is one
#ifdef __SANITIZE_ADDRESS__
  void* fake_ = nullptr;
  static inline const void* homeBottom_ = nullptr;
  static inline size_t homeBytes_ = 0;
#endif
};

}  // namespace foretoken::simt
