// Shared memory of the one block that runs: static variables and the dynamic part. Before a block starts all of it is
// NaN (as floats) and -1 (as integers), so that whoever reads what nobody wrote gets nothing that looks right.
#pragma once
#include <cstddef>
#include <cstring>

#include "cuda/simt/failure.h"
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

extern "C" unsigned char simt_shared_begin[], simt_shared_end[];  // cuda/simt/shared.ld

namespace foretoken::simt {

/// What a block of Hopper and Blackwell may have at most.
constexpr size_t kMaxSharedBytes = 227 * 1024;
constexpr size_t kGuardBytes = 1024;
constexpr unsigned char kPoison = 0xff;

inline unsigned char* dynamicSharedMemory() {
  alignas(1024) static unsigned char bytes[kMaxSharedBytes + kGuardBytes];
  return bytes;
}
inline size_t& dynamicSharedBytes() {
  static size_t bytes = 0;
  return bytes;
}

/// Byte by byte, because sanitizers keep zones between variables that only they may know of.
__attribute__((no_sanitize("address"))) inline void poison(unsigned char* begin, unsigned char* end) {
  for (volatile unsigned char* byte = begin; byte < end; ++byte) *byte = kPoison;
}

inline void prepareSharedMemory(size_t bytes) {
  unsigned char* dynamic = dynamicSharedMemory();
  dynamicSharedBytes() = bytes;
  poison(simt_shared_begin, simt_shared_end);
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(dynamic, kMaxSharedBytes + kGuardBytes);
  poison(dynamic, dynamic + bytes);
  __asan_poison_memory_region(dynamic + bytes, kMaxSharedBytes + kGuardBytes - bytes);
#else
  std::memset(dynamic, kPoison, bytes + kGuardBytes);
#endif
}

/// Whether nobody wrote just behind the dynamic part.
inline bool guardIntact() {
#ifndef __SANITIZE_ADDRESS__
  const unsigned char* guard = dynamicSharedMemory() + dynamicSharedBytes();
  for (size_t i = 0; i < kGuardBytes; ++i)
    if (guard[i] != kPoison) return false;
#endif
  return true;
}

}  // namespace foretoken::simt
