// Fork-join over a fixed set of threads. The caller is thread 0.
//
// A forward pass forks some hundred times in two milliseconds, so waiting threads spin; after about a millisecond
// without work they sleep, so that an idle engine burns no CPU. How a job is split never changes its bits: every
// operation gives one output element to one thread.
#pragma once
#include <atomic>
#include <cstdint>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace foretoken {

class ThreadPool {
 public:
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return threads_; }

  /// Calls job(thread) for every thread in [0, size()) and returns when all have returned. The job must not throw
  /// and must not call run. One caller at a time.
  template <class Job>
  void run(Job&& job) {
    using Function = std::remove_reference_t<Job>;
    dispatch([](void* context, int thread) { (*static_cast<Function*>(context))(thread); }, &job);
  }

  /// Inside a job: waits until every thread of the job has called it.
  void barrier();

  /// Items [first, second) of `items` that `thread` takes: contiguous, sizes differ by one at most.
  std::pair<int64_t, int64_t> share(int64_t items, int thread) const {
    return {items * thread / threads_, items * (thread + 1) / threads_};
  }

 private:
  using Entry = void (*)(void*, int);
  void dispatch(Entry entry, void* context);
  void work(int thread);
  template <class Condition>
  void spin(Condition&& done) const;

  // Each on its own cache line: the caller writes the first, the workers the second, all of them the third.
  alignas(64) std::atomic<uint32_t> generation_{0};
  alignas(64) std::atomic<int> running_{0};
  alignas(64) std::atomic<int> arrived_{0};
  std::atomic<uint32_t> phase_{0};

  alignas(64) Entry entry_ = nullptr;
  void* context_ = nullptr;
  bool stop_ = false;
  int threads_;
  int spins_;  ///< how often to look before giving the CPU to somebody else; 0 when there are more threads than CPUs
  std::vector<std::thread> workers_;
};

}  // namespace foretoken
