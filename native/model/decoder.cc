#include "model/decoder.h"

#include <cstring>

#include "common/error.h"
#include "model/config.h"

namespace foretoken {
namespace {

/// What a pass computes on the way: of all versions of a model's weights, of which one runs at a time.
struct Scratch {
  std::unique_ptr<Tensor> hidden, qkv, attended, gated, logits;
};

class Decoder final : public Model {
 public:
  Decoder(const ModelConfig& config, Weights weights, Backend& backend, std::shared_ptr<const Scratch> scratch)
      : config_(config), weights_(std::move(weights)), backend_(backend), scratch_(std::move(scratch)) {
    for (int i = 0; i < config.layers; ++i) layers_.push_back(layer("blk." + std::to_string(i) + "."));
    embedding_ = &weights_.matrix(config.tiedHead ? "head" : "embedding");
    head_ = &weights_.matrix("head");
    headNorm_ = weights_.vector("head_norm");
  }

  std::unique_ptr<Model> updated(const TensorFile& update, Backend& packing) const override {
    const Naming naming = namingOf(update, decoderNeeds(config_, Naming::gguf));
    Weights weights = weights_.updated(update, decoderNeeds(config_, naming), packing);
    return std::make_unique<Decoder>(config_, std::move(weights), backend_, scratch_);
  }

  void forward(const Pass& pass, const Capture* capture) override {
    const float eps = config_.normEps;
    const Rope rope{config_.ropeFrequency, config_.ropeInterleaved};
    const Epilogue gated = config_.gelu ? Epilogue::geglu : Epilogue::swiglu;
    backend_.embed(pass, *embedding_, *scratch_->hidden);
    keep(pass, capture, 0);
    for (int i = 0; i < config_.layers; ++i) {
      const Layer& layer = layers_[i];
      backend_.linear(pass, *layer.qkv, *scratch_->hidden, layer.attentionNorm, eps, *scratch_->qkv, Epilogue::store);
      if (config_.qkvBias || config_.headNorms) backend_.adjustHeads(pass, config_.heads, layer.heads, *scratch_->qkv);
      backend_.attention(pass, i, config_.heads, rope, *scratch_->qkv, *scratch_->attended);
      backend_.linear(pass, *layer.output, *scratch_->attended, nullptr, eps, *scratch_->hidden, Epilogue::add);
      backend_.linear(pass, *layer.gateUp, *scratch_->hidden, layer.ffnNorm, eps, *scratch_->gated, gated);
      backend_.linear(pass, *layer.down, *scratch_->gated, nullptr, eps, *scratch_->hidden, Epilogue::add);
      keep(pass, capture, i + 1);
    }
    if (pass.logitRows > 0) backend_.logits(pass, *head_, *scratch_->hidden, headNorm_, eps, *scratch_->logits);
  }

  const ModelConfig& config() const override { return config_; }
  const Tensor& logits() const override { return *scratch_->logits; }
  const Matrix& embedding() const override { return *embedding_; }
  const Matrix& output() const override { return *head_; }
  const float* outputNorm() const override { return headNorm_; }
  size_t weightBytes() const override { return weights_.bytesPerStep(); }
  std::string weightsDescription() const override { return weights_.description(); }
  std::string sourceHash() const override { return weights_.sourceHash(); }

 private:
  struct Layer {
    const float *attentionNorm, *ffnNorm;
    const Matrix *qkv, *output, *gateUp, *down;
    HeadRules heads;
  };

  Layer layer(const std::string& prefix) const {
    return {weights_.vector(prefix + "attn_norm"),
            weights_.vector(prefix + "ffn_norm"),
            &weights_.matrix(prefix + "qkv"),
            &weights_.matrix(prefix + "output"),
            &weights_.matrix(prefix + "gate_up"),
            &weights_.matrix(prefix + "down"),
            headRules(prefix)};
  }

  HeadRules headRules(const std::string& prefix) const {
    HeadRules rules;
    rules.eps = config_.normEps;
    const auto vector = [&](const char* part) { return weights_.vector(prefix + part); };
    if (config_.qkvBias)
      rules.queryBias = vector("q_bias"), rules.keyBias = vector("k_bias"), rules.valueBias = vector("v_bias");
    if (config_.headNorms) rules.queryNorm = vector("q_norm"), rules.keyNorm = vector("k_norm");
    return rules;
  }

  /// Copies the residual stream after `layer` to where the caller wants it, and makes keys of it.
  void keep(const Pass& pass, const Capture* capture, int layer) {
    if (!capture) return;
    if (capture->projection && capture->keyLayer == layer)
      backend_.project(pass, *scratch_->hidden, *capture->projection);
    for (size_t i = 0; i < capture->keptLayers.size(); ++i)
      if (capture->keptLayers[i] == layer)
        backend_.keep(pass, *scratch_->hidden,
                      capture->keptOffset + static_cast<int32_t>(i * config_.width * sizeof(uint16_t)));
    const size_t values = static_cast<size_t>(pass.rows) * config_.width;
    for (size_t i = 0; i < capture->layers.size(); ++i)
      if (capture->layers[i] == layer)
        std::memcpy(capture->out + i * values, backend_.read(*scratch_->hidden, pass.rows), values * sizeof(float));
  }

  ModelConfig config_;
  Weights weights_;
  Backend& backend_;
  std::shared_ptr<const Scratch> scratch_;
  std::vector<Layer> layers_;
  const Matrix *embedding_, *head_;
  const float* headNorm_;
};

/// What a GGUF file and a Hugging Face folder call the same tensor; those of a layer follow its prefix.
struct Names {
  const char *embedding, *headNorm, *head, *layerPrefix;
  const char *attentionNorm, *q, *k, *v, *queryNorm, *keyNorm, *output, *ffnNorm, *gate, *up, *down;
};
constexpr Names kGgufNames = {"token_embd",  "output_norm", "output",   "blk.",        "attn_norm",
                              "attn_q",      "attn_k",      "attn_v",   "attn_q_norm", "attn_k_norm",
                              "attn_output", "ffn_norm",    "ffn_gate", "ffn_up",      "ffn_down"};
constexpr Names kJsonNames = {"model.embed_tokens", "model.norm",       "lm_head",          "model.layers.",
                              "input_layernorm",    "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                              "self_attn.q_norm",   "self_attn.k_norm", "self_attn.o_proj", "post_attention_layernorm",
                              "mlp.gate_proj",      "mlp.up_proj",      "mlp.down_proj"};

/// What becomes of the rows of queries and keys that come under these names.
RowOrder rotaryOrder(const ModelConfig& config, const Names& names) {
  const bool interleaved = &names == &kGgufNames && config.ggufInterleaved;
  if (interleaved == config.ropeInterleaved) return RowOrder::kept;
  return interleaved ? RowOrder::halvesFromPairs : RowOrder::pairsFromHalves;
}

void addLayer(const ModelConfig& config, const Names& names, int index, WeightNeeds& needs) {
  const std::string ours = "blk." + std::to_string(index) + ".";
  const auto theirs = [&](const char* part, const char* kind = ".weight") {
    return names.layerPrefix + std::to_string(index) + "." + part + kind;
  };
  const int64_t q = config.heads * config.headDim, kv = config.kvHeads * config.headDim;
  if (config.qkvBias) {
    needs.vectors.push_back({ours + "q_bias", theirs(names.q, ".bias"), q});
    needs.vectors.push_back({ours + "k_bias", theirs(names.k, ".bias"), kv});
    needs.vectors.push_back({ours + "v_bias", theirs(names.v, ".bias"), kv});
  }
  if (config.headNorms) {
    needs.vectors.push_back({ours + "q_norm", theirs(names.queryNorm), config.headDim});
    needs.vectors.push_back({ours + "k_norm", theirs(names.keyNorm), config.headDim});
  }
  needs.vectors.push_back({ours + "attn_norm", theirs(names.attentionNorm), config.width});
  needs.vectors.push_back({ours + "ffn_norm", theirs(names.ffnNorm), config.width});
  const RowOrder order = rotaryOrder(config, names);
  needs.matrices.push_back({ours + "qkv",
                            {{theirs(names.q), q, order, config.headDim},
                             {theirs(names.k), kv, order, config.headDim},
                             {theirs(names.v), kv}},
                            config.width});
  needs.matrices.push_back({ours + "output", {{theirs(names.output), config.width}}, q});
  needs.matrices.push_back({ours + "gate_up",
                            {{theirs(names.gate), config.ffn}, {theirs(names.up), config.ffn}},
                            config.width,
                            /*interleave=*/true});
  needs.matrices.back().sensitive = true;
  needs.matrices.push_back({ours + "down", {{theirs(names.down), config.width}}, config.ffn});
}

}  // namespace

WeightNeeds decoderNeeds(const ModelConfig& config, Naming naming) {
  const Names& names = naming == Naming::gguf ? kGgufNames : kJsonNames;
  const auto weight = [](const char* tensor) { return std::string(tensor) + ".weight"; };
  WeightNeeds needs;
  const std::string embedding = weight(names.embedding), head = weight(names.head);
  needs.matrices.push_back({"head", {{config.tiedHead ? embedding : head, config.vocabulary}}, config.width});
  needs.matrices.back().sensitive = true;
  if (!config.tiedHead)
    needs.matrices.push_back({"embedding", {{embedding, config.vocabulary}}, config.width, false, /*readWhole=*/false});
  needs.vectors.push_back({"head_norm", weight(names.headNorm), config.width});
  for (int i = 0; i < config.layers; ++i) addLayer(config, names, i, needs);
  // Frequencies are in the configuration already; some tied checkpoints store the head a second time.
  needs.ignored = {"rope_freqs.weight", "rotary_emb.inv_freq"};
  if (config.tiedHead && naming == Naming::huggingFace) needs.ignored.push_back(head);
  // Those of weights are found beside them; inputs, keys and values have scales of their own here.
  needs.fp8Scales = config.fp8Scales && naming == Naming::huggingFace;
  if (needs.fp8Scales) needs.ignored.insert(needs.ignored.end(), {"_scale", "_scale_inv"});
  return needs;
}

ModelConfig decoderConfig(const ModelSource& source, const std::string& architecture) {
  if (source.gguf) return readGgufConfig(*source.gguf, architecture);
  const Json& json = source.config->root();
  const std::string activation = json.stringOr("hidden_act", "silu");
  const bool gelu = activation == "gelu_pytorch_tanh";
  if (activation != "silu" && !gelu)
    throw Error("UNSUPPORTED_ARCHITECTURE",
                architecture + " with activation '" + activation + "' (" + source.path + ")");
  ModelConfig config = readJsonConfig(*source.config);
  config.gelu = gelu;
  return config;
}

std::unique_ptr<Model> createDecoder(const ModelConfig& config, Weights weights, Backend& backend,
                                     const ModelOptions& options) {
  auto scratch = std::make_shared<Scratch>();
  scratch->hidden = backend.tensor(options.maxRows, config.width);
  scratch->qkv = backend.tensor(options.maxRows, (config.heads + 2 * config.kvHeads) * config.headDim);
  scratch->attended = backend.tensor(options.maxRows, config.heads * config.headDim);
  scratch->gated = backend.tensor(options.maxRows, config.ffn);
  scratch->logits = backend.tensor(options.maxLogitRows, config.vocabulary);
  return std::make_unique<Decoder>(config, std::move(weights), backend, std::move(scratch));
}

}  // namespace foretoken
