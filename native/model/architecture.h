// The architectures that can be loaded. Each is one file: how to read its configuration, which tensors it needs, and
// its forward pass (docs/adding-an-architecture.md).
#pragma once
#include <memory>
#include <span>
#include <string_view>

#include "model/model.h"
#include "model/source.h"
#include "model/weights.h"

namespace foretoken {

struct Architecture {
  /// general.architecture of a GGUF file and model_type of a config.json.
  std::string_view name;
  /// The configuration, with everything refused that the forward pass would not honour.
  ModelConfig (*configure)(const ModelSource&);
  /// The tensors of such a model, by the names that the source uses.
  WeightNeeds (*needs)(const ModelConfig&, const ModelSource&);
  std::unique_ptr<Model> (*create)(const ModelConfig&, Weights, Backend&, const ModelOptions&);
};

extern const Architecture kLlama;

std::span<const Architecture* const> architectures();

}  // namespace foretoken
