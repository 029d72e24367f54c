// How many sequences the engines of this process decode, for who works only where there are none. Any thread may ask.
#pragma once
#include <atomic>
#include <chrono>

namespace foretoken {

/// What one engine has of it.
class Load {
 public:
  Load() = default;
  ~Load() { set(0); }
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  /// Sequences that decode or wait for a place: not those that wait for their readers.
  void set(int sequences) {
    if (sequences == own_) return;
    since_ = Clock::now();  // first, so that nobody takes the time of before for a long calm
    all_ += sequences - own_;
    own_ = sequences;
  }

  /// Of all engines.
  static int now() { return all_; }
  /// How long there have been none.
  static std::chrono::duration<double> calm() {
    return all_ == 0 ? Clock::now() - since_.load() : Clock::duration::zero();
  }

 private:
  using Clock = std::chrono::steady_clock;
  int own_ = 0;
  inline static std::atomic<int> all_{0};
  inline static std::atomic<Clock::time_point> since_{};
};

}  // namespace foretoken
