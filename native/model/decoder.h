// The transformer that most open models are: RMSNorm, grouped-query attention with rotary positions, a gated MLP. What
// its architectures add to that (llama.cc, qwen.cc) stands in the configuration: biases, norms of heads, the gate.
#pragma once
#include <memory>
#include <string>

#include "model/architecture.h"

namespace foretoken {

/// The configuration, of a GGUF file by keys below `architecture`. Throws UNSUPPORTED_ARCHITECTURE for an activation
/// that no gate has, and what readGgufConfig and readJsonConfig throw.
ModelConfig decoderConfig(const ModelSource&, const std::string& architecture);
WeightNeeds decoderNeeds(const ModelConfig&, Naming);
std::unique_ptr<Model> createDecoder(const ModelConfig&, Weights, Backend&, const ModelOptions&);

}  // namespace foretoken
