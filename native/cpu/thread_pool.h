// One loop at a time over a fixed set of threads. The caller is thread 0.
//
// A forward pass runs some hundred loops in three milliseconds, on cores that other programs may want too. So a loop is
// cut into chunks, a few per thread; a thread takes its own share front to back, then chunks off the back of others'
// shares. Whoever is not running when a loop starts is not waited for: the rest does its share, and it finds nothing
// left when it comes. Only a chunk that somebody has begun is waited for. Who waits spins for a moment, longer than any
// gap inside a pass or between two, and then sleeps: sleepers leave the core to whoever holds things up, and get it
// back first.
//
// Who computes what never changes a bit: a job gives one output element to one call.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace foretoken {

class ThreadPool {
 public:
  /// Throws OUT_OF_MEMORY where the system does not give so many.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return threads_; }

  /// Calls job(first, last, thread) for ranges that cover [0, items) once, and returns when all calls have. `thread`,
  /// in [0, size()), is who calls: no two calls at a time have the same. The job must not throw and must not call run.
  /// One caller at a time.
  template <class Job>
  void run(int64_t items, const Job& job) {
    if (threads_ == 1 || items <= 1) {
      if (items > 0) job(int64_t{0}, items, 0);
      return;
    }
    dispatch(items, &job, [](const void* context, int64_t first, int64_t last, int thread) {
      (*static_cast<const Job*>(context))(first, last, thread);
    });
  }

 private:
  using Entry = void (*)(const void* job, int64_t first, int64_t last, int thread);

  /// What a thread has to do. Everything behind `left` may be read by who has taken a chunk, until that chunk is done.
  struct alignas(128) Share {
    std::atomic<uint32_t> left{0};  ///< chunks not taken yet: the first in the low half, the end in the high half
    int chunks;                     ///< of the whole loop
    int64_t items;
    const void* job;
    Entry entry;
  };

  void dispatch(int64_t items, const void* job, Entry entry);
  void work(int thread);
  void stop();
  int takeAll(int thread, int after);
  static int take(Share& share, bool own);
  template <class Condition>
  uint32_t await(const std::atomic<uint32_t>& value, std::chrono::microseconds patience, Condition&& met) const;

  int threads_;
  bool spins_;  ///< for a moment before going to sleep; not where there are more threads than CPUs
  std::unique_ptr<Share[]> shares_;
  alignas(128) std::atomic<uint32_t> finished_{0};  ///< chunks that threads other than the caller have done
  std::vector<std::thread> workers_;
};

}  // namespace foretoken
