#include "cpu/thread_pool.h"

#include <algorithm>

#include "common/start_thread.h"
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

/// Looks without a pause between them, a microsecond or two: most waits are shorter, and a pause is as long as it takes
/// what has been written to come here.
constexpr int kEagerSpins = 1000;
/// Chunks take less: who has begun one and takes longer may be waiting for a core.
constexpr std::chrono::microseconds kChunkPatience{100};
/// The serial parts of a pass and what comes between two passes, drafts for instance, take less: who slept then would
/// come late to the next pass, by the tenth of a millisecond that it takes to wake up.
constexpr std::chrono::microseconds kLoopPatience{500};
constexpr int kSpinsALook = 64;  ///< at the clock
/// Taking a chunk costs some ten nanoseconds; the chunks of a matrix product on one row take a microsecond and more.
constexpr int64_t kChunksPerThread = 8;
constexpr uint32_t kStop = ~uint32_t{0};  ///< an empty share that no loop leaves behind

constexpr uint32_t range(int64_t first, int64_t end) { return static_cast<uint32_t>(end << 16 | first); }
constexpr uint32_t firstOf(uint32_t range) { return range & 0xffff; }
constexpr uint32_t endOf(uint32_t range) { return range >> 16; }

}  // namespace

ThreadPool::ThreadPool(int threads) : threads_(threads), spins_(threads <= allowedCpus()), shares_(new Share[threads]) {
  workers_.reserve(threads_);
  try {
    for (int thread = 1; thread < threads_; ++thread)
      workers_.push_back(startThread("a pool of " + std::to_string(threads_), [this, thread] { work(thread); }));
  } catch (...) {
    stop();
    throw;
  }
}

ThreadPool::~ThreadPool() { stop(); }

void ThreadPool::stop() {
  for (size_t i = 0; i < workers_.size(); ++i) {
    shares_[i + 1].left.store(kStop);
    shares_[i + 1].left.notify_one();
  }
  for (auto& worker : workers_) worker.join();
}

/// Waits until `met` is true of `value`: awake for as long as patience lasts, then asleep.
template <class Condition>
uint32_t ThreadPool::await(const std::atomic<uint32_t>& value, std::chrono::microseconds patience,
                           Condition&& met) const {
  std::chrono::steady_clock::time_point begin;
  bool isPatient = spins_;
  for (int i = 0;; ++i) {
    const uint32_t now = value.load(std::memory_order_acquire);
    if (met(now)) return now;
    if (!isPatient) {
      value.wait(now, std::memory_order_acquire);
    } else if (i >= kEagerSpins) {
      pause();
      if (i == kEagerSpins) begin = std::chrono::steady_clock::now();
      if (i % kSpinsALook == 0) isPatient = std::chrono::steady_clock::now() - begin < patience;
    }
  }
}

void ThreadPool::dispatch(int64_t items, const void* job, Entry entry) {
  const int chunks = static_cast<int>(std::min(items, kChunksPerThread * threads_));
  const int takers = std::min(chunks, threads_);  // a thread without a chunk is not woken up
  finished_.store(0, std::memory_order_relaxed);
  // The caller's own share first: a worker that finds its share must find all that it may help with.
  for (int thread = 0; thread < takers; ++thread) {
    Share& share = shares_[thread];
    share.chunks = chunks, share.items = items, share.job = job, share.entry = entry;
    share.left.store(range(int64_t{chunks} * thread / takers, int64_t{chunks} * (thread + 1) / takers),
                     std::memory_order_release);
  }
  // Other cores hold these lines: one wait until they have let go of all of them.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  for (int thread = 1; thread < takers; ++thread)
    shares_[thread].left.notify_one();  // a load and nothing more unless its thread sleeps
  int own = 0;
  for (int i = 0; i < takers; ++i) own += takeAll(0, i);
  const uint32_t others = static_cast<uint32_t>(chunks - own);
  await(finished_, kChunkPatience, [&](uint32_t finished) { return finished == others; });
}

void ThreadPool::work(int thread) {
  for (;;) {
    const auto called = [](uint32_t left) { return firstOf(left) < endOf(left) || left == kStop; };
    if (await(shares_[thread].left, kLoopPatience, called) == kStop) return;
    for (int i = 0; i < threads_; ++i) {
      const int done = takeAll(thread, i);
      if (done == 0) continue;
      finished_.fetch_add(static_cast<uint32_t>(done));
      finished_.notify_one();
    }
  }
}

/// Does chunks of the share of the thread that is so many after this one until none is left; returns how many.
int ThreadPool::takeAll(int thread, int after) {
  int done = 0;
  Share& share = shares_[(thread + after) % threads_];
  for (int64_t chunk; (chunk = take(share, after == 0)) >= 0; ++done)
    share.entry(share.job, share.items * chunk / share.chunks, share.items * (chunk + 1) / share.chunks, thread);
  return done;
}

/// Takes a chunk of a share: the owner the first, everybody else the last; -1 = none is left. It does not matter if
/// the share has become one of the next loop in between: what was taken is taken of that.
int ThreadPool::take(Share& share, bool own) {
  uint32_t left = share.left.load(std::memory_order_relaxed);
  while (firstOf(left) < endOf(left)) {
    const uint32_t rest = own ? range(firstOf(left) + 1, endOf(left)) : range(firstOf(left), endOf(left) - 1);
    if (share.left.compare_exchange_weak(left, rest, std::memory_order_acquire, std::memory_order_relaxed))
      return static_cast<int>(own ? firstOf(left) : endOf(left) - 1);
  }
  return -1;
}

}  // namespace foretoken
