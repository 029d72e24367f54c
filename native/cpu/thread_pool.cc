#include "cpu/thread_pool.h"

#include <chrono>

#include "cpu/topology.h"

namespace foretoken {
namespace {

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

constexpr int kSpins = 2000;  ///< 20 to 80 microseconds, longer than any gap inside a pass
constexpr std::chrono::microseconds kAwake{1000};

}  // namespace

ThreadPool::ThreadPool(int threads) : threads_(threads), spins_(threads > allowedCpus() ? 0 : kSpins) {
  for (int thread = 1; thread < threads_; ++thread) workers_.emplace_back([this, thread] { work(thread); });
}

ThreadPool::~ThreadPool() {
  stop_ = true;
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  for (auto& worker : workers_) worker.join();
}

/// Waits without sleeping: looks often first, then between turns of whoever else wants the CPU.
template <class Condition>
void ThreadPool::spin(Condition&& done) const {
  for (int i = 0; i < spins_; ++i) {
    if (done()) return;
    pause();
  }
  while (!done()) std::this_thread::yield();
}

void ThreadPool::dispatch(Entry entry, void* context) {
  if (threads_ == 1) return entry(context, 0);
  entry_ = entry;
  context_ = context;
  running_.store(threads_ - 1, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_seq_cst);
  generation_.notify_all();  // a load and nothing more unless somebody sleeps
  entry(context, 0);
  spin([this] { return running_.load(std::memory_order_acquire) == 0; });
}

void ThreadPool::work(int thread) {
  uint32_t seen = 0;
  for (;;) {
    const auto asleepAt = std::chrono::steady_clock::now() + kAwake;
    for (int i = 0; generation_.load(std::memory_order_acquire) == seen; ++i) {
      if (i < spins_) {
        pause();
      } else if (std::chrono::steady_clock::now() < asleepAt) {
        std::this_thread::yield();
      } else {
        generation_.wait(seen, std::memory_order_acquire);
      }
    }
    ++seen;
    if (stop_) return;
    entry_(context_, thread);
    running_.fetch_sub(1, std::memory_order_release);
  }
}

void ThreadPool::barrier() {
  if (threads_ == 1) return;
  const uint32_t phase = phase_.load(std::memory_order_relaxed);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads_ - 1) {
    arrived_.store(0, std::memory_order_relaxed);
    phase_.store(phase + 1, std::memory_order_release);
  } else {
    spin([&] { return phase_.load(std::memory_order_acquire) != phase; });
  }
}

}  // namespace foretoken
