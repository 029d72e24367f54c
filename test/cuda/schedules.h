// What tests of kernels share: the schedules to run under, whether a launch fails, random numbers, how long to take.
#pragma once
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "cuda/common/device.cuh"

namespace foretoken::test {

/// FORETOKEN_LONG=1: more shapes, seeds and schedules.
inline bool longRun() {
  const char* value = std::getenv("FORETOKEN_LONG");
  return value && value[0] == '1';
}

/// Runs `body` under schedules of the executor: all in order first, then random ones, in which asynchronous work is
/// early, late or either.
inline void forEachSchedule(int seeds, const std::function<void()>& body) {
  using simt::Completion;
  constexpr Completion kCompletions[] = {Completion::early, Completion::late, Completion::random};
  for (int seed = 0; seed < seeds; ++seed) {
    simt::schedule = {static_cast<uint64_t>(seed), kCompletions[seed % 3]};
    body();
  }
  simt::schedule = {};
}

/// What stopped the launches in `body`; empty if nothing did.
inline std::string failureOf(const std::function<void()>& body) {
  try {
    body();
  } catch (const simt::Failure& failure) {
    return failure.what();
  }
  return "";
}

inline std::vector<float> normalFloats(std::mt19937& random, size_t count, float deviation = 1) {
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

}  // namespace foretoken::test
