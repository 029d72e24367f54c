// The thread pool: loops cover every item once, threads see what loops before wrote, a stuck thread's share is done by
// the others, sleepers wake, pools of any size come and go; where the system has no threads left there is an error.
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <string>
#include <vector>

#include "check.h"
#include "common/error.h"
#include "cpu/thread_pool.h"
#include "cpu/topology.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;

using Clock = std::chrono::steady_clock;

/// Plain integers, so that a sanitizer sees two threads at one item, or two calls at a time with one thread's number.
void testEveryItemOnce(int size) {
  ThreadPool pool(size);
  CHECK(pool.size() == size);
  for (const int64_t items : {0, 1, 2, 5, 36, 1000, 100003}) {
    std::vector<int> done(items, 0), calls(size, 0);
    const int loops = items > 1000 ? 3 : 300;
    for (int loop = 0; loop < loops; ++loop)
      pool.run(items, [&](int64_t first, int64_t last, int thread) {
        ++calls[thread];
        for (int64_t i = first; i < last; ++i) ++done[i];
      });
    int wrong = 0, total = 0, needless = 0;
    for (const int count : done) wrong += count != loops;
    for (const int count : calls) total += count;
    for (int64_t thread = items; thread < size; ++thread) needless += calls[thread];
    CHECK(wrong == 0);
    CHECK(needless == 0);  // nobody is woken up for whom there is nothing
    CHECK(total <= loops * std::min<int64_t>(items, 8 * size));
  }
}

/// Every loop reads what all threads wrote in the loop before: the sum of both neighbours, around a ring.
void testLoopsSeeWhatCameBefore(int size) {
  constexpr int kItems = 37, kLoops = 3000;
  const auto next = [](const std::vector<uint32_t>& from, std::vector<uint32_t>& to, int64_t i) {
    to[i] = from[(i + 1) % kItems] + from[(i + kItems - 1) % kItems];
  };
  std::vector<uint32_t> even(kItems), odd(kItems), expected(kItems), other(kItems);
  for (int i = 0; i < kItems; ++i) even[i] = expected[i] = static_cast<uint32_t>(i * i);
  ThreadPool pool(size);
  for (int loop = 0; loop < kLoops; ++loop) {
    pool.run(kItems, [&](int64_t first, int64_t last, int) {
      for (int64_t i = first; i < last; ++i) next(even, odd, i);
    });
    for (int i = 0; i < kItems; ++i) next(expected, other, i);
    std::swap(even, odd), std::swap(expected, other);
  }
  CHECK(even == expected);
}

/// One thread, whichever it is, is stuck in its first chunk until all other chunks are done.
void testOthersDoTheShareOfWhoIsStuck(int size) {
  ThreadPool pool(size);
  for (int loop = 0; loop < 50; ++loop) {
    constexpr int64_t kItems = 100;
    std::atomic<int64_t> done{0};
    std::atomic<bool> taken{false};
    bool inTime = false;
    pool.run(kItems, [&](int64_t first, int64_t last, int) {
      if (first < kItems * (loop % size + 1) / size && last > kItems * (loop % size) / size && !taken.exchange(true)) {
        const auto deadline = Clock::now() + std::chrono::seconds(20);
        while (done < kItems - (last - first) && Clock::now() < deadline) std::this_thread::yield();
        inTime = done == kItems - (last - first);
      }
      done += last - first;
    });
    CHECK(taken && inTime && done == kItems);
  }
}

void testSleepersWake() {
  ThreadPool pool(2);
  int met = 0;
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // longer than anybody spins
    std::atomic<int> here{0};
    pool.run(2, [&](int64_t, int64_t, int) {  // each waits for the other: the worker must come
      ++here;
      const auto deadline = Clock::now() + std::chrono::seconds(20);
      while (here < 2 && Clock::now() < deadline) std::this_thread::yield();
    });
    met += here == 2;
  }
  CHECK(met == 5);
}

void testPoolsComeAndGo() {
  std::atomic<int> items{0};
  for (int i = 0; i < 200; ++i) {
    ThreadPool idle(3), pool(1 + i % 5);
    pool.run(3, [&](int64_t first, int64_t last, int) { items += static_cast<int>(last - first); });
  }
  CHECK(items == 600);
}

/// In a process that may map so much more and no more: the stacks of some threads.
void testThreadsThatThereAreNot() {
  std::ifstream file("/proc/self/statm");
  rlim_t pages = 0;
  file >> pages;
  rlimit before{};
  CHECK(getrlimit(RLIMIT_AS, &before) == 0);
  const rlimit tight{pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + (rlim_t{200} << 20), before.rlim_max};
  CHECK(setrlimit(RLIMIT_AS, &tight) == 0);
  std::string code, message;
  try {
    ThreadPool pool(900);
  } catch (const Error& error) {
    code = error.code(), message = error.what();
  }
  CHECK(setrlimit(RLIMIT_AS, &before) == 0);
  CHECK(code == "OUT_OF_MEMORY" && message.find("a pool of 900") != std::string::npos);
  CHECK(message.find("fewer `threads`") != std::string::npos);
  testEveryItemOnce(3);
}

}  // namespace

int main() {
  for (const int size : {1, 2, 3, 4, 9}) {
    testEveryItemOnce(size);
    testLoopsSeeWhatCameBefore(size);
    if (size > 1) testOthersDoTheShareOfWhoIsStuck(size);
  }
  testSleepersWake();
  testPoolsComeAndGo();
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)  // which map what they like
  testThreadsThatThereAreNot();
#endif
  CHECK(defaultThreads() >= 1 && defaultThreads() <= allowedCpus());
  return finish("threads");
}
