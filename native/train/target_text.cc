#include "train/target_text.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/error.h"
#include "model/architecture.h"
#include "model/scaled_fp8.h"
#include "quant/float_codecs.h"

namespace foretoken::train {
namespace {

/// Rows of one prefill pass.
constexpr int kPassRows = 512;

/// A matrix of a file by its name among the architecture's needs, expanded.
Floats readMatrix(const ModelSource& source, const WeightNeeds& needs, const std::string& name) {
  Floats values;
  for (const MatrixNeed& need : needs.matrices) {
    if (need.name != name) continue;
    for (const TensorNeed& part : need.sources) {
      const TensorInfo* tensor = source.tensors->find(part.name);
      const size_t at = values.size();
      values.resize(at + tensor->elements());
      if (needs.fp8Scales && tensor->type == FileType::e4m3) {
        const std::vector<float> weights = Fp8Scales(*source.tensors, *tensor).expand(*tensor);
        std::copy(weights.begin(), weights.end(), values.begin() + static_cast<ptrdiff_t>(at));
        continue;
      }
      dequantize(tensor->type, tensor->data, values.data() + at, tensor->elements());
    }
  }
  return values;
}

Floats readVector(const ModelSource& source, const WeightNeeds& needs, const std::string& name) {
  Floats values;
  for (const VectorNeed& need : needs.vectors) {
    if (need.name != name) continue;
    const TensorInfo* tensor = source.tensors->find(need.source);
    values.resize(tensor->elements());
    dequantize(tensor->type, tensor->data, values.data(), tensor->elements());
  }
  return values;
}

}  // namespace

TrainTarget::TrainTarget(const std::string& path, const std::string& weights, const std::string& cacheFolder,
                         const CpuOptions& cpu)
    : backend_(createCpuBackend(cpu)) {
  ModelOptions options;
  options.weights = weights;
  options.cacheFolder = cacheFolder;
  options.maxRows = kPassRows;
  options.maxLogitRows = 1;
  model_ = loadModel(path, *backend_, options);
  const ModelConfig& config = model_->config();
  pages_.resize(kMostTokens / kPageSize);
  std::iota(pages_.begin(), pages_.end(), 0);
  backend_->allocateKv({config.layers, config.kvHeads, config.headDim, static_cast<int>(pages_.size()), 0});
  const ModelSource source = ModelSource::open(path);
  const WeightNeeds needs = architectureOf(source).needs(config, namingOf(source));
  const Floats embedding = readMatrix(source, needs, config.tiedHead ? "head" : "embedding");
  embedding_.resize(embedding.size());
  std::transform(embedding.begin(), embedding.end(), embedding_.begin(), floatToBf16);
  if (!config.tiedHead) output_ = readMatrix(source, needs, "head");
  outputNorm_ = readVector(source, needs, "head_norm");
}

TargetTables TrainTarget::tables(std::vector<int32_t> draft) const {
  const int64_t width = config().width, tokens = config().vocabulary;
  std::vector<bool> known(tokens);
  for (const int32_t token : draft) {
    if (token < 0 || token >= tokens || known[token])
      throw Error("INVALID_ARGUMENT", "a draft vocabulary has to be tokens of the target, each once");
    known[token] = true;
  }
  TargetTables tables{embedding_.data(), std::move(draft), {}, {}, [this, width](std::span<const int32_t> wanted) {
                        Floats rows;
                        rows.reserve(wanted.size() * width);
                        for (const int64_t token : wanted)
                          for (int64_t c = token * width; c < (token + 1) * width; ++c)
                            rows.push_back(output_.empty() ? bf16ToFloat(embedding_[c]) : output_[c]);
                        return rows;
                      }};
  tables.output = tables.rowsOf(tables.draft);
  tables.place = placesOf(tables.draft, tokens);
  return tables;
}

void TrainTarget::compute(std::span<const int32_t> token, std::span<const int> layers, std::vector<Floats>& features,
                          Floats& state) {
  const ModelConfig& c = config();
  const auto length = static_cast<int>(token.size());
  const int64_t width = c.width;
  Capture capture{.layers = {layers.begin(), layers.end()}};
  capture.layers.push_back(c.layers);
  features.resize(layers.size());
  for (Floats& f : features) f.resize(length * width);
  state.resize(length * width);
  std::vector<int32_t> position(length), base(length), sequence(length, 0), none(length + 1, 0);
  std::iota(position.begin(), position.end(), 0);
  std::iota(base.begin(), base.end(), 1);
  const int32_t* const pages = pages_.data();
  for (int first = 0; first < length; first += kPassRows) {
    Pass pass;
    pass.rows = std::min(kPassRows, length - first);
    pass.token = token.data() + first;
    pass.position = pass.slot = position.data() + first;  // pages are in order
    pass.sequence = sequence.data();
    pass.base = base.data() + first;
    pass.ancestorBegin = none.data();
    pass.pages = &pages;
    pass.prompts = true;
    Floats kept(capture.layers.size() * pass.rows * width);
    capture.out = kept.data();
    model_->forward(pass, &capture);
    for (size_t l = 0; l < capture.layers.size(); ++l) {
      Floats& into = l < layers.size() ? features[l] : state;
      std::copy_n(kept.data() + l * pass.rows * width, pass.rows * width, into.data() + first * width);
    }
  }
  for (int64_t r = 0; r < length; ++r) {  // the norm before the output layer
    float* const row = state.data() + r * width;
    double squares = 0;
    for (int64_t i = 0; i < width; ++i) squares += static_cast<double>(row[i]) * row[i];
    const auto inverse = static_cast<float>(1 / std::sqrt(squares / static_cast<double>(width) + c.normEps));
    for (int64_t i = 0; i < width; ++i) row[i] = formula::norm(row[i], inverse, outputNorm_[i]);
  }
}

float TrainTarget::outputScale(std::span<const int32_t> token) {
  std::vector<Floats> none;
  Floats state;
  compute(token, {}, none, state);
  double squares = 0;
  for (const float x : state) squares += static_cast<double>(x) * x;
  return static_cast<float>(std::sqrt(squares / static_cast<double>(state.size())));
}

TargetText::TargetText(TrainTarget& target, std::vector<TextToLearn> texts, std::vector<int> layers)
    : target_(target), texts_(std::move(texts)), layers_(std::move(layers)) {
  for (const TextToLearn& text : texts_) {
    const auto length = static_cast<int64_t>(text.token.size());
    if (length > target.mostTokens())
      throw Error("CONTEXT_EXCEEDED", "a text of " + std::to_string(length) + " tokens: training takes at most " +
                                          std::to_string(target.mostTokens()));
    for (const int32_t token : text.token)
      if (token < 0 || token >= target.config().vocabulary)
        throw Error("INVALID_ARGUMENT", "the target has no token " + std::to_string(token));
  }
}

std::vector<TrainSequence> TargetText::read(std::span<const int64_t> indices) {
  std::vector<TrainSequence> out(indices.size());
  for (size_t n = 0; n < indices.size(); ++n) {
    const TextToLearn& text = texts_[indices[n]];
    out[n].token = text.token;
    out[n].answer = text.answer;
    target_.compute(text.token, layers_, out[n].features, out[n].state);
  }
  return out;
}

std::string TargetText::origin() const {
  std::string origin = target_.model().weightsDescription() + ", layers";
  for (const int layer : layers_) origin += ' ' + std::to_string(layer);
  return origin;
}

std::vector<int> defaultFusedLayers(const ModelConfig& config) {
  const int last = config.layers * 9 / 10;
  return {std::max(1, config.layers / 10), std::max(1, config.layers / 2), std::max(1, last)};
}

BlockHeadShape headShapeFor(const ModelConfig& config, int64_t fused, int64_t vocabulary, int64_t rank, int64_t slots) {
  BlockHeadShape shape{};
  shape.width = config.width;
  shape.fused = fused;
  shape.layers = 1;
  shape.inner = config.ffn;
  shape.heads = {config.heads, config.kvHeads, config.headDim};
  shape.vocabulary = vocabulary;
  shape.rank = rank;
  shape.slots = slots;
  shape.positions = config.contextLength;
  shape.epsilon = config.normEps;
  // The target's own base; where its angles are scaled for long contexts, the head's are not.
  const std::vector<float>& frequency = config.ropeFrequency;
  shape.rotaryBase = config.headDim > 2 ? std::pow(static_cast<double>(frequency[1]) / frequency[0],
                                                   -static_cast<double>(config.headDim) / 2)
                                        : 10000;
  return shape;
}

}  // namespace foretoken::train
