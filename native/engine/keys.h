// How an engine makes keys of hidden states: which layer, which projection.
#pragma once
#include <array>
#include <span>
#include <vector>

#include "backend.h"
#include "model/model.h"

namespace foretoken {

class KeyMaker {
 public:
  explicit KeyMaker(const ModelConfig& config);

  /// The layer whose residual stream is projected, as in Capture: 90 % of the depth. Of all layers of a small model a
  /// late one told best where the text goes on, better than the last.
  int layer() const { return layer_; }
  const KeyProjection& projection() const { return projection_; }
  /// Takes the mean of hidden states [rows][width] off all keys; without it they are as they are.
  void centre(std::span<const float> hidden, int rows);

 private:
  const int layer_, width_;
  std::vector<uint32_t> signs_;
  std::array<float, kKeyWidth> centre_{};
  KeyProjection projection_;
};

}  // namespace foretoken
