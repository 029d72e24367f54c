// Texts with what a target makes of them, computed when a trainer asks: a prefill gives a label at every position.
#pragma once
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "model/model.h"
#include "train/trainer.h"

namespace foretoken::train {

/// The target itself, loaded for prefill alone.
class TrainTarget {
 public:
  /// weights: as in ModelOptions. Throws what loadModel throws.
  TrainTarget(const std::string& path, const std::string& weights, const std::string& cacheFolder,
              const CpuOptions& cpu);

  const ModelConfig& config() const { return model_->config(); }
  const Model& model() const { return *model_; }
  /// Embedding and output rows of a draft vocabulary; each token once. The tables refer to this object.
  TargetTables tables(std::vector<int32_t> draft) const;
  /// Root mean square of what the output layer sees, over a text.
  float outputScale(std::span<const int32_t> token);
  /// Residual streams after `layers` and what the output layer sees.
  void compute(std::span<const int32_t> token, std::span<const int> layers, std::vector<Floats>& features,
               Floats& state);
  /// Most tokens of a text: no more than the model's context has.
  static constexpr int64_t kMostTokens = 4096;
  int64_t mostTokens() const { return std::min<int64_t>(kMostTokens, config().contextLength); }

 private:
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Model> model_;
  std::vector<uint16_t> embedding_;  ///< bf16 [vocabulary, width]
  Floats output_, outputNorm_;       ///< output empty where it is the embedding
  std::vector<int32_t> pages_;
};

/// Texts as a source of sequences.
class TargetText final : public SequenceSource {
 public:
  /// `target` outlives the source. Texts longer than its mostTokens() are refused with CONTEXT_EXCEEDED, tokens that it
  /// has not with INVALID_ARGUMENT.
  TargetText(TrainTarget& target, std::vector<TextToLearn> texts, std::vector<int> layers);

  int64_t count() const override { return static_cast<int64_t>(texts_.size()); }
  const TextToLearn& text(int64_t index) const override { return texts_[index]; }
  std::string origin() const override;
  std::vector<TrainSequence> read(std::span<const int64_t> indices) override;

 private:
  TrainTarget& target_;
  std::vector<TextToLearn> texts_;
  std::vector<int> layers_;
};

/// The layers that a head fuses by default: early, middle, and the late one that tells best where the text goes on.
std::vector<int> defaultFusedLayers(const ModelConfig&);

/// A head for this target: one layer as wide as its own.
BlockHeadShape headShapeFor(const ModelConfig&, int64_t fused, int64_t vocabulary, int64_t rank, int64_t slots);

}  // namespace foretoken::train
