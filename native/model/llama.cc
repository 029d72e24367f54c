// Llama and what took it over as it is: SmolLM2, and Mistral, which has a name of its own in Hugging Face's
// checkpoints.
#include "model/config.h"
#include "model/decoder.h"

namespace foretoken {
namespace {

ModelConfig llamaConfig(const ModelSource& source) {
  ModelConfig config = decoderConfig(source, "llama");
  config.ggufInterleaved = true;
  config.ropeInterleaved = source.gguf != nullptr;
  return config;
}

ModelConfig mistralConfig(const ModelSource& source) {
  ModelConfig config = decoderConfig(source, "mistral");
  if (source.config) refuseWindow(*source.config, config);
  return config;
}

}  // namespace

const Architecture kLlama = {"llama", llamaConfig, decoderNeeds, createDecoder};
const Architecture kMistral = {"mistral", mistralConfig, decoderNeeds, createDecoder};

}  // namespace foretoken
