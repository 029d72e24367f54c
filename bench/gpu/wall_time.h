// Time as the host sees it, until it has the result.
#pragma once
#include <algorithm>
#include <chrono>
#include <vector>

namespace foretoken::bench {

/// Median seconds of `run()`, which waits for what it began.
template <class Run>
double medianWallSeconds(const Run& run, int repeats = 20, int warmUp = 5) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> seconds;
  for (int i = 0; i < warmUp + repeats; ++i) {
    const auto begin = Clock::now();
    run();
    if (i >= warmUp) seconds.push_back(std::chrono::duration<double>(Clock::now() - begin).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + repeats / 2, seconds.end());
  return seconds[static_cast<size_t>(repeats / 2)];
}

}  // namespace foretoken::bench
