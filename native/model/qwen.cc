// Qwen2 and 2.5: Llama with biases on queries, keys and values. Qwen3 (dense): with a norm on each head of queries and
// keys instead.
#include "model/config.h"
#include "model/decoder.h"

namespace foretoken {
namespace {

ModelConfig qwenConfig(const ModelSource& source, const std::string& architecture) {
  ModelConfig config = decoderConfig(source, architecture);
  if (source.config && source.config->root().booleanOr("use_sliding_window", false))
    refuseWindow(*source.config, config);
  return config;
}

ModelConfig qwen2Config(const ModelSource& source) {
  ModelConfig config = qwenConfig(source, "qwen2");
  config.qkvBias = true;
  return config;
}

ModelConfig qwen3Config(const ModelSource& source) {
  ModelConfig config = qwenConfig(source, "qwen3");
  config.headNorms = true;
  return config;
}

}  // namespace

const Architecture kQwen2 = {"qwen2", qwen2Config, decoderNeeds, createDecoder};
const Architecture kQwen3 = {"qwen3", qwen3Config, decoderNeeds, createDecoder};

}  // namespace foretoken
