#include "model/config.h"

#include <cmath>
#include <cstdio>
#include <type_traits>

#include "common/error.h"

namespace foretoken {
namespace {

// Generous bounds: beyond them sizes would overflow or the file is nonsense.
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxWidth = 1 << 17;
constexpr int64_t kMaxHeads = 1024;
constexpr int64_t kMaxHeadDim = 1024;
constexpr int64_t kMaxFfn = 1 << 20;
constexpr int64_t kMaxVocabulary = 1 << 22;
constexpr int64_t kMaxContext = 1 << 26;

/// One value with the name and the place it was read from, for messages.
template <typename T>
struct Read {
  T value;
  std::string name;
  std::string file;
  uint64_t offset;

  [[noreturn]] void refuse(const std::string& why) const {
    throw FormatError("BAD_MODEL_CONFIG", name + " is " + text() + ": " + why, file, offset);
  }
  std::string text() const {
    if constexpr (std::is_integral_v<T>) return std::to_string(value);
    char digits[32];
    std::snprintf(digits, sizeof digits, "%g", static_cast<double>(value));
    return digits;
  }
};

int within(const Read<int64_t>& read, int64_t low, int64_t high) {
  if (read.value < low || read.value > high)
    read.refuse("must be " + std::to_string(low) + " to " + std::to_string(high));
  return static_cast<int>(read.value);
}

double positive(const Read<double>& read, double high) {
  if (!(read.value > 0) || !(read.value <= high)) read.refuse("must be positive and at most " + std::to_string(high));
  return read.value;
}

[[noreturn]] void unsupported(const std::string& feature, const std::string& file) {
  throw Error("UNSUPPORTED_ARCHITECTURE", feature + " is not supported (" + file + ")");
}

/// Reads keys below "llama." of a GGUF file.
class GgufKeys {
 public:
  GgufKeys(const GgufFile& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {}

  const GgufValue* find(const std::string& key) const { return file_.value(prefix_ + key); }
  Read<int64_t> integer(const std::string& key) const {
    const GgufValue& value = file_.required(prefix_ + key);
    return {value.integer(), prefix_ + key, file_.file(), value.offset()};
  }
  Read<int64_t> integer(const std::string& key, int64_t fallback) const {
    return find(key) ? integer(key) : Read<int64_t>{fallback, prefix_ + key, file_.file(), 0};
  }
  Read<double> number(const std::string& key) const {
    const GgufValue& value = file_.required(prefix_ + key);
    return {value.number(), prefix_ + key, file_.file(), value.offset()};
  }
  Read<double> number(const std::string& key, double fallback) const {
    return find(key) ? number(key) : Read<double>{fallback, prefix_ + key, file_.file(), 0};
  }
  const GgufFile& file() const { return file_; }

 private:
  const GgufFile& file_;
  std::string prefix_;
};

/// Reads members of an object of config.json.
class JsonKeys {
 public:
  JsonKeys(const Json& object, std::string file) : object_(object), file_(std::move(file)) {}

  const Json* find(const std::string& key) const {
    const Json* value = object_.find(key);
    return value && !value->isNull() ? value : nullptr;
  }
  Read<int64_t> integer(const std::string& key) const {
    const Json& value = object_.at(key);
    return {value.integer(), key, file_, value.offset()};
  }
  Read<int64_t> integer(const std::string& key, int64_t fallback) const {
    return find(key) ? integer(key) : Read<int64_t>{fallback, key, file_, object_.offset()};
  }
  Read<double> number(const std::string& key) const {
    const Json& value = object_.at(key);
    return {value.number(), key, file_, value.offset()};
  }
  Read<double> number(const std::string& key, double fallback) const {
    return find(key) ? number(key) : Read<double>{fallback, key, file_, object_.offset()};
  }
  std::string string(const std::string& key, const std::string& fallback) const {
    const Json* value = find(key);
    return value ? value->string() : fallback;
  }
  const Json& object() const { return object_; }
  const std::string& file() const { return file_; }

 private:
  const Json& object_;
  std::string file_;
};

/// Heads and their size, which must fit together.
void checkHeads(const ModelConfig& config, const Read<int64_t>& kvHeads, const Read<int64_t>& headDim) {
  if (config.heads % config.kvHeads != 0) kvHeads.refuse("must divide the number of heads");
  if (config.headDim % 2 != 0) headDim.refuse("must be even");
}

int defaultHeadDim(const ModelConfig& config, const Read<int64_t>& heads) {
  if (config.width % config.heads != 0) heads.refuse("must divide the width when the size of a head is not given");
  return config.width / config.heads;
}

void readGgufShape(const GgufKeys& keys, ModelConfig& config) {
  config.layers = within(keys.integer("block_count"), 1, kMaxLayers);
  config.width = within(keys.integer("embedding_length"), 1, kMaxWidth);
  config.ffn = within(keys.integer("feed_forward_length"), 1, kMaxFfn);
  const auto heads = keys.integer("attention.head_count");
  config.heads = within(heads, 1, kMaxHeads);
  const auto kvHeads = keys.integer("attention.head_count_kv", config.heads);
  config.kvHeads = within(kvHeads, 1, kMaxHeads);
  const bool given = keys.find("attention.key_length") != nullptr;
  const auto headDim = keys.integer("attention.key_length", given ? 0 : defaultHeadDim(config, heads));
  config.headDim = within(headDim, 2, kMaxHeadDim);
  checkHeads(config, kvHeads, headDim);
  const auto valueDim = keys.integer("attention.value_length", config.headDim);
  if (valueDim.value != config.headDim) valueDim.refuse("keys and values of different sizes are not supported");
  const auto rotated = keys.integer("rope.dimension_count", config.headDim);
  if (rotated.value != config.headDim) unsupported("rotation of a part of the head", keys.file().file());
  config.contextLength = within(keys.integer("context_length"), 2, kMaxContext);
}

/// The vocabulary's size: its own key, or the number of the tokenizer's tokens, or the rows of the embedding.
int readGgufVocabulary(const GgufKeys& keys) {
  const GgufFile& file = keys.file();
  if (keys.find("vocab_size")) return within(keys.integer("vocab_size"), 1, kMaxVocabulary);
  const GgufValue* tokens = file.value("tokenizer.ggml.tokens");
  const TensorInfo* embedding = file.find("token_embd.weight");
  const int64_t count = tokens ? static_cast<int64_t>(tokens->count()) : embedding ? embedding->rows() : 0;
  return within({count, "the number of tokens", file.file(), tokens ? tokens->offset() : 0}, 1, kMaxVocabulary);
}

/// Divides by the factors that GGUF files of Llama 3 models carry as a tensor.
void applyRopeFactors(const TensorInfo& factors, std::vector<float>& frequency) {
  const std::string file(factors.file);
  if (factors.type != FileType::f32 || factors.elements() != static_cast<int64_t>(frequency.size()))
    throw FormatError("WRONG_TENSOR_SHAPE",
                      factors.name + " must hold " + std::to_string(frequency.size()) + " values of type F32", file,
                      factors.offset);
  std::vector<float> values(frequency.size());
  dequantize(factors.type, factors.data, values.data(), factors.elements());
  for (size_t i = 0; i < values.size(); ++i) {
    const Read<double> factor{values[i], factors.name, file, factors.offset + i * sizeof(float)};
    frequency[i] = static_cast<float>(frequency[i] / positive(factor, 1e9));
  }
}

/// What positions are divided by, 1 where they are taken as they are. As llama.cpp reads it: scaling without a type is
/// linear, the factor has an older key, too, and 0 stands for none.
double readGgufScaling(const GgufKeys& keys) {
  const GgufValue* const type = keys.find("rope.scaling.type");
  const std::string kind(type ? type->string() : "linear");
  if (kind == "none") return 1;
  if (kind != "linear") unsupported("rotary scaling '" + kind + "'", keys.file().file());
  const bool old = keys.find("rope.scale_linear") && !keys.find("rope.scaling.factor");
  const char* const key = old ? "rope.scale_linear" : "rope.scaling.factor";
  if (!type && !keys.find(key)) return 1;
  const Read<double> factor = keys.number(key);
  return factor.value == 0 ? 1 : positive(factor, 1e6);
}

void readGgufRope(const GgufKeys& keys, ModelConfig& config) {
  const GgufFile& file = keys.file();
  config.ropeFrequency = ropeFrequencies(positive(keys.number("rope.freq_base", 10000.0), 1e12), config.headDim);
  const double scaling = readGgufScaling(keys);
  for (float& f : config.ropeFrequency) f = static_cast<float>(f / scaling);
  if (const TensorInfo* factors = file.find("rope_freqs.weight")) applyRopeFactors(*factors, config.ropeFrequency);
}

void readJsonShape(const JsonKeys& keys, ModelConfig& config) {
  config.layers = within(keys.integer("num_hidden_layers"), 1, kMaxLayers);
  config.width = within(keys.integer("hidden_size"), 1, kMaxWidth);
  config.ffn = within(keys.integer("intermediate_size"), 1, kMaxFfn);
  const auto heads = keys.integer("num_attention_heads");
  config.heads = within(heads, 1, kMaxHeads);
  const auto kvHeads = keys.integer("num_key_value_heads", config.heads);
  config.kvHeads = within(kvHeads, 1, kMaxHeads);
  const auto headDim = keys.integer("head_dim", keys.find("head_dim") ? 0 : defaultHeadDim(config, heads));
  config.headDim = within(headDim, 2, kMaxHeadDim);
  checkHeads(config, kvHeads, headDim);
  config.contextLength = within(keys.integer("max_position_embeddings"), 2, kMaxContext);
  config.vocabulary = within(keys.integer("vocab_size"), 1, kMaxVocabulary);
}

Llama3Scaling readLlama3(const JsonKeys& keys) {
  Llama3Scaling scaling{positive(keys.number("factor"), 1e6), positive(keys.number("low_freq_factor"), 1e6),
                        positive(keys.number("high_freq_factor"), 1e6),
                        positive(keys.number("original_max_position_embeddings"), kMaxContext)};
  if (scaling.highFactor <= scaling.lowFactor) keys.number("high_freq_factor").refuse("must exceed low_freq_factor");
  return scaling;
}

/// transformers 5 keeps everything in `rope_parameters`; before, the base was `rope_theta` and the rest `rope_scaling`.
void readJsonRope(const JsonKeys& keys, ModelConfig& config) {
  const Json* scaling = keys.find("rope_parameters");
  if (!scaling) scaling = keys.find("rope_scaling");
  const JsonKeys rope(scaling ? *scaling : keys.object(), keys.file());
  const JsonKeys& base = rope.find("rope_theta") ? rope : keys;
  config.ropeFrequency = ropeFrequencies(positive(base.number("rope_theta", 10000.0), 1e12), config.headDim);
  if (!scaling) return;
  const std::string kind = rope.string("rope_type", rope.string("type", "default"));  // `type` is the older name
  if (kind == "llama3") {
    config.ropeFrequency = scaleLlama3(std::move(config.ropeFrequency), readLlama3(rope));
  } else if (kind == "linear") {
    const double factor = positive(rope.number("factor"), 1e6);
    for (float& f : config.ropeFrequency) f = static_cast<float>(f / factor);
  } else if (kind != "default") {
    unsupported("rotary scaling '" + kind + "'", keys.file());
  }
}

/// Of checkpoints that are quantised only those in e4m3 are read, with scales of one number, of rows or of blocks of
/// 128.
void requireFp8(const JsonKeys& how) {
  const std::string method = how.string("quant_method", "");
  const std::string format = method == "compressed-tensors" ? " " + how.string("format", "") : "";
  if (method != "fp8" && method != "fbgemm_fp8" && method + format != "compressed-tensors float-quantized")
    unsupported("a checkpoint quantised by '" + method + format + "'", how.file());
  if (const Json* block = how.find("weight_block_size"))
    for (const Json& side : block->array())
      if (side.integer() != 128) unsupported("fp8 with scales of other blocks than 128 x 128", how.file());
}

}  // namespace

std::vector<float> ropeFrequencies(double theta, int headDim) {
  std::vector<float> frequency(headDim / 2);
  for (int i = 0; i < headDim / 2; ++i)
    frequency[i] = static_cast<float>(std::pow(theta, -2.0 * i / static_cast<double>(headDim)));
  return frequency;
}

std::vector<float> scaleLlama3(std::vector<float> frequency, const Llama3Scaling& scaling) {
  constexpr double kTurn = 6.283185307179586;
  for (float& f : frequency) {
    const double turns = scaling.originalContext * f / kTurn;  // rotations within the context the model was trained on
    const double smooth = (turns - scaling.lowFactor) / (scaling.highFactor - scaling.lowFactor);
    if (turns < scaling.lowFactor)
      f = static_cast<float>(f / scaling.factor);
    else if (turns <= scaling.highFactor)
      f = static_cast<float>((1 - smooth) * f / scaling.factor + smooth * f);
  }
  return frequency;
}

ModelConfig readGgufConfig(const GgufFile& file, const std::string& prefix) {
  const GgufKeys keys(file, prefix + ".");
  ModelConfig config{};
  config.architecture = prefix;
  readGgufShape(keys, config);
  config.vocabulary = readGgufVocabulary(keys);
  config.normEps = static_cast<float>(positive(keys.number("attention.layer_norm_rms_epsilon"), 1));
  config.tiedHead = file.find("output.weight") == nullptr;
  if (keys.integer("expert_count", 0).value != 0) unsupported("a mixture of experts", file.file());
  readGgufRope(keys, config);
  return config;
}

ModelConfig readJsonConfig(const JsonDocument& document) {
  const JsonKeys keys(document.root(), document.file());
  ModelConfig config{};
  config.architecture = document.root().at("model_type").string();
  readJsonShape(keys, config);
  config.normEps = static_cast<float>(positive(keys.number("rms_norm_eps"), 1));
  config.tiedHead = document.root().booleanOr("tie_word_embeddings", false);
  if (const Json* how = keys.find("quantization_config")) {
    requireFp8(JsonKeys(*how, document.file()));
    config.fp8Scales = true;
  }
  readJsonRope(keys, config);
  return config;
}

void refuseWindow(const JsonDocument& document, const ModelConfig& config) {
  const JsonKeys keys(document.root(), document.file());
  const auto window = keys.integer("sliding_window", config.contextLength);
  if (window.value < config.contextLength)
    unsupported("attention to the last " + std::to_string(window.value) + " positions alone", document.file());
}

}  // namespace foretoken
