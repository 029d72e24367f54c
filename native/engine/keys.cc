#include "engine/keys.h"

#include <algorithm>
#include <cmath>

namespace foretoken {

KeyMaker::KeyMaker(const ModelConfig& config)
    : layer_(std::max(1, (9 * config.layers + 5) / 10)),
      width_(config.width),
      signs_(static_cast<size_t>(config.width) * kKeyWidth),
      projection_{signs_.data(), centre_.data()} {
  uint64_t state = 0;
  for (float& sign : signs_) {  // splitmix64: the same signs everywhere and for ever, for keys outlive the process
    uint64_t z = state += 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    sign = (z ^ (z >> 31)) >> 63 ? -1.0f : 1.0f;
  }
}

/// In double and in order; positions count alike whatever their length.
void KeyMaker::centre(std::span<const float> hidden, int rows) {
  std::array<double, kKeyWidth> sum{};
  int counted = 0;
  for (int row = 0; row < rows; ++row) {
    const float* h = hidden.data() + static_cast<size_t>(row) * width_;
    std::array<double, kKeyWidth> p{};
    double squares = 0;
    for (int k = 0; k < width_; ++k) {
      squares += double{h[k]} * h[k];
      for (int j = 0; j < kKeyWidth; ++j) p[j] += double{h[k]} * signs_[static_cast<size_t>(k) * kKeyWidth + j];
    }
    if (!(squares > 0) || !std::isfinite(squares)) continue;
    for (int j = 0; j < kKeyWidth; ++j) sum[j] += p[j] / std::sqrt(squares);
    ++counted;
  }
  for (int j = 0; j < kKeyWidth && counted > 0; ++j) centre_[j] = static_cast<float>(sum[j] / counted);
}

}  // namespace foretoken
