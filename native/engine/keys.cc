#include "engine/keys.h"

#include <algorithm>
#include <cmath>

namespace foretoken {

KeyMaker::KeyMaker(const ModelConfig& config)
    : layer_(std::max(1, (9 * config.layers + 5) / 10)),
      width_(config.width),
      signs_(static_cast<size_t>(config.width + 31) / 32 * kKeyWidth),
      projection_{signs_.data(), centre_.data()} {
  uint64_t state = 0;  // splitmix64: the same signs everywhere and for ever, for keys outlive the process
  for (int k = 0; k < width_; ++k) {
    for (int j = 0; j < kKeyWidth; ++j) {
      uint64_t z = state += 0x9e3779b97f4a7c15ull;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
      const auto minus = static_cast<uint32_t>((z ^ (z >> 31)) >> 63);
      signs_[static_cast<size_t>(k / 32) * kKeyWidth + j] |= minus << (31 - k % 32);
    }
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
      const uint32_t* signs = signs_.data() + static_cast<size_t>(k / 32) * kKeyWidth;
      for (int j = 0; j < kKeyWidth; ++j) p[j] += signs[j] >> (31 - k % 32) & 1 ? -double{h[k]} : double{h[k]};
    }
    if (!(squares > 0) || !std::isfinite(squares)) continue;
    for (int j = 0; j < kKeyWidth; ++j) sum[j] += p[j] / std::sqrt(squares);
    ++counted;
  }
  for (int j = 0; j < kKeyWidth && counted > 0; ++j) centre_[j] = static_cast<float>(sum[j] / counted);
}

}  // namespace foretoken
