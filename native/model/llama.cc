// Llama: RMSNorm, grouped-query attention with rotary positions, SwiGLU. Also SmolLM2 and every checkpoint that calls
// itself "llama".
#include <cstring>

#include "common/error.h"
#include "model/architecture.h"
#include "model/config.h"

namespace foretoken {
namespace {

class Llama final : public Model {
 public:
  Llama(const ModelConfig& config, Weights weights, Backend& backend, const ModelOptions& options)
      : config_(config), weights_(std::move(weights)), backend_(backend) {
    for (int i = 0; i < config.layers; ++i) layers_.push_back(layer("blk." + std::to_string(i) + "."));
    embedding_ = &weights_.matrix(config.tiedHead ? "head" : "embedding");
    head_ = &weights_.matrix("head");
    headNorm_ = weights_.vector("head_norm");
    hidden_ = backend.tensor(options.maxRows, config.width);
    qkv_ = backend.tensor(options.maxRows, (config.heads + 2 * config.kvHeads) * config.headDim);
    attended_ = backend.tensor(options.maxRows, config.heads * config.headDim);
    gated_ = backend.tensor(options.maxRows, config.ffn);
    logits_ = backend.tensor(options.maxLogitRows, config.vocabulary);
  }

  void forward(const Pass& pass, const Capture* capture) override {
    const float eps = config_.normEps;
    const Rope rope{config_.ropeFrequency, config_.ropeInterleaved};
    backend_.embed(pass, *embedding_, *hidden_);
    keep(pass, capture, 0);
    for (int i = 0; i < config_.layers; ++i) {
      const Layer& layer = layers_[i];
      backend_.linear(pass, *layer.qkv, *hidden_, layer.attentionNorm, eps, *qkv_, Epilogue::store);
      backend_.attention(pass, i, config_.heads, rope, *qkv_, *attended_);
      backend_.linear(pass, *layer.output, *attended_, nullptr, eps, *hidden_, Epilogue::add);
      backend_.linear(pass, *layer.gateUp, *hidden_, layer.ffnNorm, eps, *gated_, Epilogue::swiglu);
      backend_.linear(pass, *layer.down, *gated_, nullptr, eps, *hidden_, Epilogue::add);
      keep(pass, capture, i + 1);
    }
    if (pass.logitRows > 0) backend_.logits(pass, *head_, *hidden_, headNorm_, eps, *logits_);
  }

  const ModelConfig& config() const override { return config_; }
  const Tensor& logits() const override { return *logits_; }
  size_t weightBytes() const override { return weights_.bytesPerStep(); }
  std::string weightsDescription() const override { return weights_.description(); }
  std::string sourceHash() const override { return weights_.sourceHash(); }

 private:
  struct Layer {
    const float *attentionNorm, *ffnNorm;
    const Matrix *qkv, *output, *gateUp, *down;
  };

  Layer layer(const std::string& prefix) const {
    return {weights_.vector(prefix + "attn_norm"), weights_.vector(prefix + "ffn_norm"),
            &weights_.matrix(prefix + "qkv"),      &weights_.matrix(prefix + "output"),
            &weights_.matrix(prefix + "gate_up"),  &weights_.matrix(prefix + "down")};
  }

  /// Copies the residual stream after `layer` to where the caller wants it, and makes keys of it.
  void keep(const Pass& pass, const Capture* capture, int layer) {
    if (!capture) return;
    if (capture->projection && capture->keyLayer == layer) backend_.project(pass, *hidden_, *capture->projection);
    const size_t values = static_cast<size_t>(pass.rows) * config_.width;
    for (size_t i = 0; i < capture->layers.size(); ++i)
      if (capture->layers[i] == layer)
        std::memcpy(capture->out + i * values, backend_.read(*hidden_, pass.rows), values * sizeof(float));
  }

  ModelConfig config_;
  Weights weights_;
  Backend& backend_;
  std::vector<Layer> layers_;
  const Matrix *embedding_, *head_;
  const float* headNorm_;
  std::unique_ptr<Tensor> hidden_, qkv_, attended_, gated_, logits_;
};

/// What a GGUF file and a Hugging Face folder call the same tensor; those of a layer follow its prefix.
struct Names {
  const char *embedding, *headNorm, *head, *layerPrefix;
  const char *attentionNorm, *q, *k, *v, *output, *ffnNorm, *gate, *up, *down;
};
constexpr Names kGgufNames = {"token_embd", "output_norm", "output",   "blk.",     "attn_norm", "attn_q",  "attn_k",
                              "attn_v",     "attn_output", "ffn_norm", "ffn_gate", "ffn_up",    "ffn_down"};
constexpr Names kJsonNames = {
    "model.embed_tokens", "model.norm",       "lm_head",          "model.layers.",    "input_layernorm",
    "self_attn.q_proj",   "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "post_attention_layernorm",
    "mlp.gate_proj",      "mlp.up_proj",      "mlp.down_proj"};

void addLayer(const ModelConfig& config, const Names& names, int index, WeightNeeds& needs) {
  const std::string ours = "blk." + std::to_string(index) + ".";
  const auto theirs = [&](const char* part) {
    return names.layerPrefix + std::to_string(index) + "." + part + ".weight";
  };
  const int64_t q = config.heads * config.headDim, kv = config.kvHeads * config.headDim;
  needs.vectors.push_back({ours + "attn_norm", theirs(names.attentionNorm), config.width});
  needs.vectors.push_back({ours + "ffn_norm", theirs(names.ffnNorm), config.width});
  needs.matrices.push_back(
      {ours + "qkv", {{theirs(names.q), q}, {theirs(names.k), kv}, {theirs(names.v), kv}}, config.width});
  needs.matrices.push_back({ours + "output", {{theirs(names.output), config.width}}, q});
  needs.matrices.push_back({ours + "gate_up",
                            {{theirs(names.gate), config.ffn}, {theirs(names.up), config.ffn}},
                            config.width,
                            /*interleave=*/true});
  needs.matrices.push_back({ours + "down", {{theirs(names.down), config.width}}, config.ffn});
}

WeightNeeds llamaNeeds(const ModelConfig& config, const ModelSource& source) {
  const Names& names = source.gguf ? kGgufNames : kJsonNames;
  const auto weight = [](const char* tensor) { return std::string(tensor) + ".weight"; };
  WeightNeeds needs;
  const std::string embedding = weight(names.embedding), head = weight(names.head);
  needs.matrices.push_back({"head", {{config.tiedHead ? embedding : head, config.vocabulary}}, config.width});
  if (!config.tiedHead)
    needs.matrices.push_back({"embedding", {{embedding, config.vocabulary}}, config.width, false, /*readWhole=*/false});
  needs.vectors.push_back({"head_norm", weight(names.headNorm), config.width});
  for (int i = 0; i < config.layers; ++i) addLayer(config, names, i, needs);
  // Frequencies are in the configuration already; some tied checkpoints store the head a second time.
  needs.ignored = {"rope_freqs.weight", "rotary_emb.inv_freq"};
  if (config.tiedHead && !source.gguf) needs.ignored.push_back(head);
  return needs;
}

ModelConfig llamaConfig(const ModelSource& source) {
  if (source.gguf) return readGgufConfig(*source.gguf, "llama");
  const Json& json = source.config->root();
  const std::string activation = json.stringOr("hidden_act", "silu");
  if (activation != "silu")
    throw Error("UNSUPPORTED_ARCHITECTURE", "llama with activation '" + activation + "' (" + source.path + ")");
  return readJsonConfig(*source.config);
}

std::unique_ptr<Model> createLlama(const ModelConfig& config, Weights weights, Backend& backend,
                                   const ModelOptions& options) {
  return std::make_unique<Llama>(config, std::move(weights), backend, options);
}

}  // namespace

const Architecture kLlama = {"llama", llamaConfig, llamaNeeds, createLlama};

}  // namespace foretoken
