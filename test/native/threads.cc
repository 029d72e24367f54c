// The thread pool: every thread runs every job once, barriers hold, sleepers wake, pools of any size come and go.
#include <atomic>
#include <chrono>
#include <vector>

#include "check.h"
#include "cpu/thread_pool.h"
#include "cpu/topology.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;

void testEveryThreadRunsOnce(int size) {
  ThreadPool pool(size);
  CHECK(pool.size() == size);
  std::vector<int> runs(size, 0);
  for (int job = 0; job < 2000; ++job) pool.run([&](int thread) { ++runs[thread]; });
  for (int count : runs) CHECK(count == 2000);
}

/// After a barrier a thread sees what all others wrote before it.
void testBarriers(int size) {
  ThreadPool pool(size);
  std::vector<int> step(size, 0);
  std::atomic<int> late{0};
  pool.run([&](int thread) {
    for (int i = 1; i <= 500; ++i) {
      step[thread] = i;
      pool.barrier();
      for (int other = 0; other < size; ++other)
        if (step[other] != i) ++late;
      pool.barrier();
    }
  });
  CHECK(late == 0);
}

void testSharesCoverEverythingOnce() {
  for (int size : {1, 2, 3, 7}) {
    ThreadPool pool(size);
    for (int64_t items : {0, 1, 5, 36, 1000003}) {
      int64_t next = 0;
      for (int thread = 0; thread < size; ++thread) {
        const auto [first, last] = pool.share(items, thread);
        CHECK(first == next && last >= first && last - first <= items / size + 1);
        next = last;
      }
      CHECK(next == items);
    }
  }
}

void testSleepersWake() {
  ThreadPool pool(3);
  std::atomic<int> runs{0};
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // longer than workers stay awake
    pool.run([&](int) { ++runs; });
  }
  CHECK(runs == 15);
}

}  // namespace

int main() {
  for (int size : {1, 2, 3, 4, 9}) {
    testEveryThreadRunsOnce(size);
    testBarriers(size);
  }
  testSharesCoverEverythingOnce();
  testSleepersWake();
  CHECK(defaultThreads() >= 1 && defaultThreads() <= allowedCpus());
  return finish("threads");
}
