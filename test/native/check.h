// The few lines a native test needs: CHECK reports file and line, failures() is the exit code.
#pragma once
#include <atomic>
#include <cstdio>

namespace foretoken::test {
// Threads of what is tested check, too.
inline std::atomic<int>& failureCount() {
  static std::atomic<int> count = 0;
  return count;
}
inline std::atomic<int>& checkCount() {
  static std::atomic<int> count = 0;
  return count;
}
/// Prints the summary line and returns the process's exit code.
inline int finish(const char* name) {
  std::printf("%s: %d checks, %d failed\n", name, checkCount().load(), failureCount().load());
  return failureCount() == 0 ? 0 : 1;
}
}  // namespace foretoken::test

#define CHECK(condition)                                                                                              \
  do {                                                                                                                \
    ++foretoken::test::checkCount();                                                                                  \
    if (!(condition)) {                                                                                               \
      if (++foretoken::test::failureCount() <= 20) std::printf("FAILED %s:%d: %s\n", __FILE__, __LINE__, #condition); \
    }                                                                                                                 \
  } while (0)
