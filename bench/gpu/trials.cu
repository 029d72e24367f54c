#include "bench/gpu/trials.h"

#include <cmath>
#include <limits>

namespace foretoken::bench {

std::vector<Trial> trials() {
  std::vector<Trial> all;
  for (const auto& some : {backendTrials(), draftTrials(), productTrials(), trainingTrials()})
    all.insert(all.end(), some.begin(), some.end());
  return all;
}

double deviation(const std::vector<float>& got, const std::vector<float>& expected) {
  if (got.size() != expected.size()) return std::numeric_limits<double>::infinity();
  double largest = 0, apart = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    if (!std::isfinite(got[i]) || !std::isfinite(expected[i])) return std::numeric_limits<double>::infinity();
    largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
    apart = std::max(apart, std::abs(static_cast<double>(got[i]) - expected[i]));
  }
  return largest > 0 ? apart / largest : apart;
}

}  // namespace foretoken::bench
