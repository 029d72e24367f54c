// The few lines a native test needs: CHECK reports file and line, failures() is the exit code.
#pragma once
#include <cstdio>

namespace foretoken::test {
inline int& failureCount() {
  static int count = 0;
  return count;
}
inline int& checkCount() {
  static int count = 0;
  return count;
}
/// Prints the summary line and returns the process's exit code.
inline int finish(const char* name) {
  std::printf("%s: %d checks, %d failed\n", name, checkCount(), failureCount());
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
