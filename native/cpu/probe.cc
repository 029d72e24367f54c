#include "cpu/probe.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>
#include <vector>

namespace foretoken {
namespace {

constexpr size_t kReadBytes = size_t{200} << 20;
constexpr double kPeakSeconds = 2e-3;

using Clock = std::chrono::steady_clock;
double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

}  // namespace

Probe::Probe(ThreadPool& threads, Isa isa)
    : threads_(threads), kernels_(kernels(isa)), memory_(kReadBytes, "the read-bandwidth test") {
  std::memset(memory_.data(), 1, kReadBytes);  // pages that were never written would all be one and the same
}

double Probe::readGBs() {
  constexpr int64_t kStep = 512;
  std::atomic<uint64_t> sum{0};
  const auto start = Clock::now();
  threads_.run(kReadBytes / kStep, [&](int64_t first, int64_t last, int) {
    sum += kernels_.readAll(memory_.data() + first * kStep, (last - first) * kStep);
  });
  return kReadBytes / since(start) * 1e-9;
}

double Probe::peak(int64_t (*run)(int64_t), int64_t& rounds) {
  for (;;) {
    std::atomic<int64_t> macs{0};
    const auto start = Clock::now();
    threads_.run(threads_.size(), [&](int64_t, int64_t, int) { macs += run(rounds); });
    const double seconds = since(start);
    if (seconds >= kPeakSeconds / 2) return macs / seconds * 1e-9;
    rounds *= 2;
  }
}

double Probe::meetingNs() {
  constexpr int kMeetings = 1001, kPatience = 100000;
  const int size = threads_.size();
  if (size == 1) return 0;
  std::vector<double> seconds(kMeetings);
  for (double& each : seconds) {
    std::atomic<int> here{0};
    const auto start = Clock::now();
    threads_.run(size, [&](int64_t, int64_t, int) {
      ++here;
      for (int looks = 0; here.load() < size; ++looks)
        if (looks > kPatience) std::this_thread::yield();
    });
    each = since(start);
  }
  std::nth_element(seconds.begin(), seconds.begin() + kMeetings / 2, seconds.end());
  return seconds[kMeetings / 2] * 1e9;
}

double Probe::int8GMACs() { return peak(kernels_.peakInt8, int8Rounds_); }
double Probe::bf16GMACs() { return peak(kernels_.peakBf16, bf16Rounds_); }

}  // namespace foretoken
