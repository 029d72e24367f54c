// ModelConfig from GGUF metadata and from Hugging Face's config.json, every value checked before anything is sized by
// it.
#pragma once
#include "model/model.h"
#include "model/source.h"

namespace foretoken {

/// Reads what transformers of the Llama family have in common; `prefix` is the architecture's name in GGUF keys
/// ("llama" for llama.block_count). Throws FormatError BAD_MODEL_CONFIG for a value out of range, the readers' errors
/// for one that is absent or of the wrong kind, and UNSUPPORTED_ARCHITECTURE for a feature that would be ignored
/// (experts, a kind of rotary scaling, rotation of a part of the head).
ModelConfig readGgufConfig(const GgufFile& file, const std::string& prefix);
ModelConfig readJsonConfig(const JsonDocument& config);
/// Throws UNSUPPORTED_ARCHITECTURE where attention is to a window of positions that is smaller than the context.
void refuseWindow(const JsonDocument&, const ModelConfig&);

/// Rotary frequencies theta^(-2 i / headDim) for i < headDim / 2.
std::vector<float> ropeFrequencies(double theta, int headDim);

/// Llama 3's scaling: wavelengths beyond originalContext / lowFactor are stretched by `factor`, those below
/// originalContext / highFactor stay, those between blend (transformers: _compute_llama3_parameters).
struct Llama3Scaling {
  double factor, lowFactor, highFactor, originalContext;
};
std::vector<float> scaleLlama3(std::vector<float> frequency, const Llama3Scaling& scaling);

}  // namespace foretoken
