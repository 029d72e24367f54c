// Lets the n-th allocation fail, or all from the n-th on, so that a test can go through every n: there is always a
// first one that finds no memory. Include it in one file of a program: it replaces the global operators new and delete.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace foretoken::test {

/// Allocations that still succeed on threads that starve, and how many then fail.
inline std::atomic<int> granted{0}, refused{0};
inline std::atomic<bool> starves{false};
/// Smaller ones always succeed.
inline std::atomic<size_t> least{0};
/// Threads that are not meant, or what they do while they are not.
inline thread_local bool isSpared = false;

/// Until it goes nothing that this thread allocates fails.
class Spared {
 public:
  Spared() : before_(isSpared) { isSpared = true; }
  ~Spared() { isSpared = before_; }
  Spared(const Spared&) = delete;
  Spared& operator=(const Spared&) = delete;

 private:
  const bool before_;
};

/// After `grant` more allocations of so many bytes or more the next `refuse` ones fail.
inline void starve(int grant, int refuse, size_t bytes = 0) {
  granted = grant, refused = refuse, least = bytes;
  starves = true;
}

/// Nothing fails any more. False where everything found its memory.
inline bool feed() {
  starves = false;
  return granted < 0;
}

inline void requireMemory(size_t size) {
  if (!starves || isSpared || size < least || granted-- > 0) return;
  if (refused-- > 0) throw std::bad_alloc();
}

}  // namespace foretoken::test

// Not inlined: the compiler would take malloc and free for a pair that does not belong together.
[[gnu::noinline]] void* operator new(size_t size) {
  foretoken::test::requireMemory(size);
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(size_t size, std::align_val_t alignment) {
  foretoken::test::requireMemory(size);
  const auto align = static_cast<size_t>(alignment);
  if (void* memory = std::aligned_alloc(align, (size + align - 1) / align * align)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(size_t size, const std::nothrow_t&) noexcept {
  try {
    return operator new(size);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
