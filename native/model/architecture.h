// The architectures that can be loaded. Each is one file: how to read its configuration, which tensors it needs, and
// its forward pass (docs/adding-an-architecture.md).
#pragma once
#include <memory>
#include <string_view>

#include "model/model.h"
#include "model/source.h"
#include "model/weights.h"

namespace foretoken {

/// Who named the tensors: GGUF files and Hugging Face's checkpoints have names of their own.
enum class Naming : uint8_t { gguf, huggingFace };

struct Architecture {
  /// general.architecture of a GGUF file and model_type of a config.json.
  std::string_view name;
  /// The configuration, with everything refused that the forward pass would not honour.
  ModelConfig (*configure)(const ModelSource&);
  /// The tensors of such a model, by these names.
  WeightNeeds (*needs)(const ModelConfig&, Naming);
  std::unique_ptr<Model> (*create)(const ModelConfig&, Weights, Backend&, const ModelOptions&);
};

extern const Architecture kLlama, kMistral, kQwen2, kQwen3;

Naming namingOf(const ModelSource&);
/// The naming under which the first tensor of an update has a place; Hugging Face's if there is none. `ofGguf`: what
/// the architecture needs by GGUF's names.
Naming namingOf(const TensorFile& update, const WeightNeeds& ofGguf);

/// Throws UNSUPPORTED_ARCHITECTURE.
const Architecture& architectureOf(const ModelSource&);

}  // namespace foretoken
