// How a launch is scheduled: tests run kernels under many schedules, which must all give the same bits.
#pragma once
#include <cstdint>
#include <random>

namespace foretoken::simt {

/// When asynchronous work (copies, TMA, wgmma) takes place between its issue and the wait for it.
enum class Completion : uint8_t { early, late, random };

struct Schedule {
  /// 0: blocks, warps and lanes in order, each as far as it gets. Otherwise the seed of a random order, in which warps
  /// stop at any point where they could go on, and one of them may go on only when no other can.
  uint64_t seed = 0;
  Completion completion = Completion::early;
};

/// Of the launches to come.
inline Schedule schedule;

/// The random choices of one launch.
class Chance {
 public:
  explicit Chance(uint64_t seed) : random_(seed), any_(seed != 0) {}
  bool any() const { return any_; }
  bool oneIn(int n) { return any_ && random_() % static_cast<unsigned>(n) == 0; }
  int below(int n) { return static_cast<int>(random_() % static_cast<unsigned>(n)); }
  template <class List>
  void shuffle(List& list) {
    if (any_) std::shuffle(list.begin(), list.end(), random_);
  }
  /// Whether work that is issued now is done at once.
  bool atOnce(Completion completion) {
    return completion == Completion::early || (completion == Completion::random && random_() % 2 == 0);
  }

 private:
  std::mt19937_64 random_;
  bool any_;
};

}  // namespace foretoken::simt
