#include "train/head_fit.h"

#include <algorithm>
#include <string>

#include "common/error.h"

namespace foretoken::train {

void requireFit(const BlockHeadShape& shape, std::span<const int> fusedLayers, std::span<const int32_t> draft,
                const ModelConfig& config) {
  const auto refuse = [](const std::string& why) {
    throw Error("HEAD_MISMATCH", "the draft head does not fit this model: " + why + "; train one for it");
  };
  if (shape.width != config.width || shape.heads.keys != config.kvHeads || shape.heads.width != config.headDim)
    refuse("it is " + std::to_string(shape.width) + " wide with " + std::to_string(shape.heads.keys) +
           " key heads of " + std::to_string(shape.heads.width) + ", the model " + std::to_string(config.width) +
           " with " + std::to_string(config.kvHeads) + " of " + std::to_string(config.headDim));
  if (shape.positions < config.contextLength)
    refuse("it knows " + std::to_string(shape.positions) + " positions, the model's context has " +
           std::to_string(config.contextLength));
  // Angles are made of all of them, and of a usual number they cost little.
  constexpr int64_t kUsual = 1 << 20;
  if (shape.positions > std::max<int64_t>(config.contextLength, kUsual))
    refuse("it says " + std::to_string(shape.positions) + " positions, more than the model's context has");
  for (const int layer : fusedLayers)
    if (layer < 0 || layer > config.layers) refuse("it looks at layer " + std::to_string(layer));
  for (const int32_t token : draft)
    if (token < 0 || token >= config.vocabulary) refuse("it drafts token " + std::to_string(token));
}

}  // namespace foretoken::train
