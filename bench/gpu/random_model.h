// A model of random weights under any backend: what a decode step costs does not depend on what it says.
#pragma once
#include <cmath>
#include <memory>
#include <random>
#include <vector>

#include "backend.h"

namespace foretoken::bench {

struct ModelShape {
  int layers, width, inner, heads, kvHeads, headDim, vocabulary;
};

constexpr ModelShape kLlama8B{32, 4096, 14336, 32, 8, 128, 128256};
/// Different layers of it: of any format more bytes than three times L2.
constexpr int kLlamaDistinct = 4;

class RandomModel {
 public:
  /// Layers take turns with the weights of the first `distinct`. Room for passes of `maxRows` rows behind `context`
  /// positions.
  RandomModel(Backend& backend, const ModelShape& shape, KvFormat kv, Format format, int distinct, int context,
              int maxRows)
      : backend_(backend), shape_(shape), context_(context), norm_(shape.width, 1.0f), results_(maxRows) {
    const int qkv = (shape.heads + 2 * shape.kvHeads) * shape.headDim, attended = shape.heads * shape.headDim;
    embedding_ = random(Format::bf16, shape.vocabulary, shape.width);
    for (int l = 0; l < distinct; ++l)
      layers_.push_back({random(format, qkv, shape.width), random(format, shape.width, attended),
                         random(format, 2 * shape.inner, shape.width), random(format, shape.width, shape.inner)});
    x_ = backend.tensor(maxRows, shape.width), qkv_ = backend.tensor(maxRows, qkv);
    attended_ = backend.tensor(maxRows, attended), inner_ = backend.tensor(maxRows, shape.inner);
    logits_ = backend.tensor(maxRows, shape.vocabulary);
    const int pages = (context + maxRows + kPageSize - 1) / kPageSize;
    backend.allocateKv({shape.layers, shape.kvHeads, shape.headDim, pages, 0, kv});
    for (int i = 0; i < pages; ++i) pages_.push_back(i);
    for (int i = 0; i < shape.headDim / 2; ++i)
      frequency_.push_back(std::pow(500000.0f, -2.0f * static_cast<float>(i) / static_cast<float>(shape.headDim)));
  }

  /// Bytes of weights that a step reads.
  size_t bytes() const {
    const Layer& one = layers_.front();
    size_t layer = 0;
    for (const Weights* each : {&one.qkv, &one.output, &one.gateUp, &one.down}) layer += each->packed.size();
    return layer * shape_.layers + embedding_.packed.size();
  }

  /// One pass: a token and a chain of rows - 1 drafts behind `context` positions, greedy tokens for all of them.
  void step(int rows) {
    layOut(rows, /*prompt=*/false);
    run();
  }

  /// A piece of a prompt behind `context` positions, and the greedy token after it.
  void prompt(int rows) {
    layOut(rows, /*prompt=*/true);
    run();
  }

  /// Of the latest pass: the token that its first row drew, and the logits of its rows.
  int32_t first() const { return results_[0].token; }
  std::vector<float> logits(int rows) {
    const float* const read = backend_.read(*logits_, rows);
    return {read, read + static_cast<int64_t>(rows) * shape_.vocabulary};
  }

 private:
  void run() {
    const Rope rope{frequency_, false};
    backend_.embed(pass_, *embedding_.matrix, *x_);
    for (int l = 0; l < shape_.layers; ++l) {
      const Layer& layer = layers_[l % layers_.size()];
      backend_.linear(pass_, *layer.qkv.matrix, *x_, norm_.data(), 1e-5f, *qkv_, Epilogue::store);
      backend_.attention(pass_, l, shape_.heads, rope, *qkv_, *attended_);
      backend_.linear(pass_, *layer.output.matrix, *attended_, nullptr, 0, *x_, Epilogue::add);
      backend_.linear(pass_, *layer.gateUp.matrix, *x_, norm_.data(), 1e-5f, *inner_, Epilogue::swiglu);
      backend_.linear(pass_, *layer.down.matrix, *inner_, nullptr, 0, *x_, Epilogue::add);
    }
    backend_.logits(pass_, *embedding_.matrix, *x_, norm_.data(), 1e-5f, *logits_);
    backend_.sample(*logits_, shape_.vocabulary, sampled_, std::span(results_).first(sampled_.size()));
  }

  struct Weights {
    std::vector<uint8_t> packed;
    std::unique_ptr<Matrix> matrix;
  };
  struct Layer {
    Weights qkv, output, gateUp, down;
  };

  Weights random(Format format, int64_t rows, int64_t cols) {
    constexpr size_t kAlignment = 64;
    Weights weights;
    weights.packed.resize(backend_.packedBytes(format, rows, cols) + kAlignment);
    auto* const aligned = reinterpret_cast<uint8_t*>(
        (reinterpret_cast<uintptr_t>(weights.packed.data()) + kAlignment - 1) / kAlignment * kAlignment);
    std::minstd_rand numbers(static_cast<uint32_t>(rows + cols));
    std::vector<float> values(rows * cols);
    for (float& value : values) value = (static_cast<float>(numbers() >> 8) * 0x1p-22f - 1) * 0.05f;
    const MatrixSource source{FileType::f32, values.data(), rows, cols};
    backend_.pack(format, {&source, 1}, false, aligned);
    weights.matrix = backend_.matrix(format, rows, cols, aligned);
    return weights;
  }

  void layOut(int rows, bool prompt) {
    token_.resize(rows), position_.resize(rows), slot_.resize(rows);
    sequence_.assign(rows, 0), base_.resize(rows);
    ancestorBegin_.assign(1, 0), ancestors_.clear(), logitRow_.clear(), sampled_.clear();
    for (int r = 0; r < rows; ++r) {
      token_[r] = r + 1, position_[r] = slot_[r] = context_ + r;
      base_[r] = prompt ? context_ + r + 1 : context_;
      for (int a = 0; a <= r && !prompt; ++a) ancestors_.push_back(context_ + a);
      ancestorBegin_.push_back(static_cast<int32_t>(ancestors_.size()));
      if (prompt && r + 1 < rows) continue;
      SampleRow& draw = sampled_.emplace_back();
      draw.logitRow = static_cast<int32_t>(logitRow_.size()), draw.position = context_ + r + 1;
      logitRow_.push_back(r);
    }
    table_ = pages_.data();
    pass_ = {rows,
             token_.data(),
             position_.data(),
             slot_.data(),
             sequence_.data(),
             base_.data(),
             ancestorBegin_.data(),
             ancestors_.data(),
             &table_,
             static_cast<int>(logitRow_.size()),
             logitRow_.data(),
             prompt};
  }

  Backend& backend_;
  const ModelShape shape_;
  const int context_;
  const std::vector<float> norm_;
  std::vector<float> frequency_;
  Weights embedding_;
  std::vector<Layer> layers_;
  std::unique_ptr<Tensor> x_, qkv_, attended_, inner_, logits_;
  std::vector<int32_t> pages_, token_, position_, slot_, sequence_, base_, ancestorBegin_, ancestors_, logitRow_;
  const int32_t* table_ = nullptr;
  Pass pass_;
  std::vector<SampleRow> sampled_;
  std::vector<SampleResult> results_;
};

}  // namespace foretoken::bench
