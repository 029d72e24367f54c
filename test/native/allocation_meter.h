// Counts what the program allocates, so that a test can assert that a lying file inflated nothing.
// Include it in one file of a program: it replaces the global operators new and delete.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace foretoken::test {

inline std::atomic<size_t> allocatedBytes{0};

/// Bytes allocated by `work`, freed ones included.
template <typename Work>
size_t bytesAllocatedBy(Work work) {
  const size_t before = allocatedBytes;
  work();
  return allocatedBytes - before;
}

}  // namespace foretoken::test

void* operator new(size_t size, const std::nothrow_t&) noexcept {
  foretoken::test::allocatedBytes += size;
  return std::malloc(size == 0 ? 1 : size);
}
void* operator new(size_t size) {
  if (void* memory = operator new(size, std::nothrow)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
