#include "train/block_head.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "common/error.h"
#include "common/philox.h"

namespace foretoken::train {
namespace {

/// Rows of logits that exist at a time when drafting.
constexpr int64_t kDraftRows = 384;

/// Blocks of one sequence after the other: a row sees the context up to its anchor and its block up to itself.
AttentionPlan planOf(const BlockBatch& batch, int64_t slots) {
  AttentionPlan plan;
  const int64_t sequences = static_cast<int64_t>(batch.firstRow.size()) - 1;
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t first = batch.firstAnchor[s], end = batch.firstAnchor[s + 1], rows = batch.rows();
    const int64_t context = batch.firstRow[s + 1] - batch.firstRow[s];
    plan.keyRows.push_back({batch.firstRow[s], batch.firstRow[s + 1]});
    plan.keyRows.push_back({rows + first * slots, rows + end * slots});
    plan.firstKeyRows.push_back(static_cast<int64_t>(plan.keyRows.size()));
    for (int64_t a = first; a < end; ++a)
      for (int64_t slot = 0; slot < slots; ++slot) {
        const int64_t block = context + (a - first) * slots;
        plan.ranges.push_back({0, batch.anchor[a] - batch.firstRow[s] + 1});
        plan.ranges.push_back({block, block + slot + 1});
        plan.firstRange.push_back(static_cast<int64_t>(plan.ranges.size()));
      }
    plan.firstQuery.push_back(end * slots);
  }
  return plan;
}

void requireShape(const BlockHeadShape& s) {
  const bool whole = s.width % kRowMultiple == 0 && s.inner % kRowMultiple == 0 && s.vocabulary % kRowMultiple == 0 &&
                     s.heads.width % kRowMultiple == 0 && s.heads.keys > 0 && s.heads.queries % s.heads.keys == 0;
  if (whole && s.fused > 0 && s.layers > 0 && s.rank > 0 && s.slots > 0 && s.vocabulary >= kHeadCandidates) return;
  throw Error("SHAPE_MISMATCH",
              "a draft head of these sizes can't be trained: widths of rows, heads and the draft vocabulary must be "
              "multiples of 16, query heads a multiple of key heads, and everything at least 1");
}

/// Normal numbers addressed by (seed, index), by Box and Muller.
float normalNumber(uint64_t seed, int64_t index) {
  const double u = 1 - positionNoise(seed, 2 * index), v = positionNoise(seed, 2 * index + 1);
  return static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * v));
}

}  // namespace

std::vector<int32_t> placesOf(const std::vector<int32_t>& draft, int64_t tokens) {
  std::vector<int32_t> places(tokens, static_cast<int32_t>(draft.size()));
  for (size_t i = 0; i < draft.size(); ++i) {
    if (draft[i] < 0 || draft[i] >= tokens)
      throw Error("HEAD_MISMATCH", "a draft head drafts token " + std::to_string(draft[i]) + " of a model that has " +
                                       std::to_string(tokens));
    places[draft[i]] = static_cast<int32_t>(i);
  }
  return places;
}

BlockHead::Layer::Layer(Parameters& parameters, const std::string& prefix, const BlockHeadShape& shape)
    : norm(parameters, prefix + "attention_norm", shape.width, shape.epsilon),
      attention(parameters, prefix, shape.heads, shape.width, shape.width),
      mlp(parameters, prefix, shape.width, shape.inner, shape.epsilon) {}

BlockHead::BlockHead(const BlockHeadShape& shape) : BlockHead(shape, shape.positions + shape.slots + 1) {}

BlockHead::BlockHead(const BlockHeadShape& shape, int64_t positions)
    : shape_((requireShape(shape), shape)),
      rotary_(positions, shape.heads.width, shape.rotaryBase),
      fusion_(parameters_, shape.fused, shape.width, shape.epsilon),
      contextNorm_(parameters_, "context_norm", shape.width, shape.epsilon),
      tokenNorm_(parameters_, "token_norm", shape.width, shape.epsilon),
      join_(parameters_, "join", shape.width, 2 * shape.width),
      mask_(parameters_.add("mask", shape.slots - 1, shape.width)),
      inject_(parameters_, "inject", shape.width, shape.width),
      layers_([&] {
        std::vector<Layer> layers;
        for (int64_t l = 0; l < shape.layers; ++l)
          layers.emplace_back(parameters_, "layers." + std::to_string(l) + ".", shape);
        return layers;
      }()),
      outputNorm_(parameters_, "output_norm", shape.width, shape.epsilon),
      before_(parameters_.add("before.weight", shape.vocabulary + 1, shape.rank)),
      after_(parameters_.add("after", shape.vocabulary, shape.rank)) {}

std::vector<Rule> BlockHead::rules() const {
  std::vector<Rule> rules;
  for (const Parameter& p : parameters_.all()) {
    const bool ofTokens = p.name == "mask" || p.name == "before.weight" || p.name == "after";
    rules.push_back(p.isMatrix() && !ofTokens ? Rule::muon : Rule::adamw);
  }
  return rules;
}

Floats BlockHead::initial(uint64_t seed, float outputScale) const {
  Floats weights(parameters_.size());
  for (const Parameter& p : parameters_.all()) {
    float* const w = weights.data() + p.offset;
    const auto fill = [&](float spread) {
      for (int64_t i = 0; i < p.size(); ++i) w[i] = spread * normalNumber(seed, p.offset + i);
    };
    const auto addIdentity = [&] {  // on the last columns
      for (int64_t r = 0; r < p.rows; ++r) w[(r + 1) * p.columns - p.rows + r] += 1;
    };
    const float spread = 1 / std::sqrt(static_cast<float>(p.columns));
    if (p.name == "mask") {
      fill(0.5f);
    } else if (p.name == "output_norm.weight") {
      std::fill_n(w, p.size(), 0.25f * outputScale);  // as sure as a guess should be
    } else if (p.name.ends_with("norm.weight") || p.name.starts_with("feature_norms.")) {
      std::fill_n(w, p.size(), 1.0f);
    } else if (p.name == "fc.weight" || p.name == "join.weight") {
      fill((p.name == "fc.weight" ? 0.1f : 0.5f) * spread);
      addIdentity();
    } else if (p.name == "inject.weight") {
      addIdentity();
    } else if (p.name != "after" && !p.name.ends_with(".o.weight") && !p.name.ends_with(".down.weight")) {
      fill(spread);
    }
  }
  return weights;
}

/// The rows of the blocks: the newest token and the anchor's fused feature, or a mask and the feature.
void BlockHead::start(const LayerPass& pass, const TargetTables& target, const BlockBatch& batch, Floats& x) {
  const int64_t anchors = batch.anchors(), width = shape_.width, slots = shape_.slots;
  std::vector<int32_t> first(anchors);
  for (int64_t a = 0; a < anchors; ++a) first[a] = batch.token[a * slots];
  embedded_.resize(anchors * width), tokenInverse_.resize(anchors);
  anchored_.resize(anchors * width), pair_.resize(2 * anchors * width);
  pass.ops.embed(target.embedding, first, width, embedded_.data());
  Floats normed(anchors * width), joined(anchors * width), injected(anchors * width);
  tokenNorm_.forward(pass, embedded_.data(), anchors, normed.data(), tokenInverse_.data());
  for (int64_t a = 0; a < anchors; ++a) {
    const float* const h = h_.data() + batch.anchor[a] * width;
    std::copy_n(h, width, anchored_.data() + a * width);
    std::copy_n(normed.data() + a * width, width, pair_.data() + 2 * a * width);
    std::copy_n(h, width, pair_.data() + (2 * a + 1) * width);
  }
  join_.forward(pass, pair_.data(), anchors, joined.data());
  inject_.forward(pass, anchored_.data(), anchors, injected.data());
  const float* const mask = pass.weight + parameters_[mask_].offset;
  x.resize(anchors * slots * width);
  pass.ops.threads().run(anchors, [&](int64_t begin, int64_t end, int) {
    for (int64_t a = begin; a < end; ++a) {
      std::copy_n(joined.data() + a * width, width, x.data() + a * slots * width);
      for (int64_t s = 1; s < slots; ++s)
        for (int64_t i = 0; i < width; ++i)
          x[(a * slots + s) * width + i] = mask[(s - 1) * width + i] + injected[a * width + i];
    }
  });
}

void BlockHead::startBackward(const LayerPass& pass, const BlockBatch& batch, const Floats& dx, Floats& dh) {
  const int64_t anchors = batch.anchors(), width = shape_.width, slots = shape_.slots;
  Floats djoined(anchors * width), dinjected(anchors * width), dpair(2 * anchors * width), danchored(anchors * width);
  float* const dmask = pass.gradient + parameters_[mask_].offset;
  // By columns, so that one thread adds all anchors, in order.
  pass.ops.threads().run(width / kRowMultiple, [&](int64_t begin, int64_t end, int) {
    for (int64_t a = 0; a < anchors; ++a)
      for (int64_t i = begin * kRowMultiple; i < end * kRowMultiple; ++i) {
        djoined[a * width + i] = dx[a * slots * width + i];
        for (int64_t s = 1; s < slots; ++s) {
          const float d = dx[(a * slots + s) * width + i];
          dmask[(s - 1) * width + i] += d;
          dinjected[a * width + i] += d;
        }
      }
  });
  join_.backward(pass, pair_.data(), djoined.data(), anchors, dpair.data());
  inject_.backward(pass, anchored_.data(), dinjected.data(), anchors, danchored.data());
  Floats dnormed(anchors * width);
  for (int64_t a = 0; a < anchors; ++a) {
    std::copy_n(dpair.data() + 2 * a * width, width, dnormed.data() + a * width);
    for (int64_t i = 0; i < width; ++i)
      dh[batch.anchor[a] * width + i] += danchored[a * width + i] + dpair[(2 * a + 1) * width + i];
  }
  tokenNorm_.backward(pass, embedded_.data(), tokenInverse_.data(), dnormed.data(), anchors, nullptr);
}

void BlockHead::forwardLayer(const LayerPass& pass, const BlockBatch& batch, Layer& layer, Floats& x) {
  const auto blocks = static_cast<int64_t>(blockPosition_.size());
  const int64_t keyWidth = layer.attention.keyWidth(), own = batch.rows() * keyWidth;
  layer.x = x;
  layer.y.resize(x.size()), layer.inverse.resize(blocks);
  layer.norm.forward(pass, x.data(), blocks, layer.y.data(), layer.inverse.data());
  layer.key.resize((batch.rows() + blocks) * keyWidth), layer.value.resize(layer.key.size());
  layer.attention.keys(pass, rotary_, h_.data(), batch.position, layer.key.data(), layer.value.data());
  layer.attention.keys(pass, rotary_, layer.y.data(), blockPosition_, layer.key.data() + own, layer.value.data() + own);
  layer.attention.forward(pass, rotary_, plan_, layer.y.data(), blockPosition_, layer.key.data(), layer.value.data(),
                          x.data(), layer.attended);
  layer.mlp.forward(pass, blocks, x.data(), layer.expanded);
}

void BlockHead::backwardLayer(const LayerPass& pass, const BlockBatch& batch, Layer& layer, Floats& dx, Floats& dh) {
  const auto blocks = static_cast<int64_t>(blockPosition_.size());
  const int64_t own = batch.rows() * layer.attention.keyWidth();
  layer.mlp.backward(pass, blocks, layer.expanded, dx.data());
  Floats dkey(layer.key.size()), dvalue(layer.key.size()), dy(dx.size());
  layer.attention.backward(pass, rotary_, plan_, layer.y.data(), blockPosition_, layer.key.data(), layer.value.data(),
                           layer.attended, dx.data(), dkey.data(), dvalue.data(), dy.data());
  layer.attention.keysBackward(pass, rotary_, h_.data(), batch.position, dkey.data(), dvalue.data(), dh.data());
  layer.attention.keysBackward(pass, rotary_, layer.y.data(), blockPosition_, dkey.data() + own, dvalue.data() + own,
                               dy.data());
  layer.norm.backward(pass, layer.x.data(), layer.inverse.data(), dy.data(), blocks, dx.data());
}

void BlockHead::forward(const LayerPass& pass, const TargetTables& target, const BlockBatch& batch) {
  const int64_t rows = batch.rows(), width = shape_.width, blocks = batch.anchors() * shape_.slots;
  std::vector<const float*> features;
  for (const Floats& f : batch.features) features.push_back(f.data());
  g_.resize(rows * width), h_.resize(rows * width), contextInverse_.resize(rows);
  fusion_.forward(pass, features, rows, g_.data(), fused_);
  contextNorm_.forward(pass, g_.data(), rows, h_.data(), contextInverse_.data());
  plan_ = planOf(batch, shape_.slots);
  blockPosition_.clear();
  for (const int32_t a : batch.anchor)
    for (int64_t s = 0; s < shape_.slots; ++s)
      blockPosition_.push_back(batch.position[a] + 1 + static_cast<int32_t>(s));
  start(pass, target, batch, x_);
  for (Layer& layer : layers_) forwardLayer(pass, batch, layer, x_);
  z_.resize(blocks * width), outputInverse_.resize(blocks);
  outputNorm_.forward(pass, x_.data(), blocks, z_.data(), outputInverse_.data());
}

/// Back from the gradient of the last layer's output.
void BlockHead::backward(const LayerPass& pass, const BlockBatch& batch, Floats& dx) {
  Floats dh(h_.size()), dg(g_.size());
  for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) backwardLayer(pass, batch, *layer, dx, dh);
  startBackward(pass, batch, dx, dh);
  contextNorm_.backward(pass, g_.data(), contextInverse_.data(), dh.data(), batch.rows(), dg.data());
  std::vector<const float*> features;
  for (const Floats& f : batch.features) features.push_back(f.data());
  fusion_.backward(pass, features, batch.rows(), fused_, dg.data());
}

/// The rows of `before` for the token before each slot.
void BlockHead::gatherBefore(const LayerPass& pass, const TargetTables& target, const BlockBatch& batch) {
  const float* const before = pass.weight + parameters_[before_].offset;
  markov_.resize(batch.token.size() * shape_.rank);
  for (size_t r = 0; r < batch.token.size(); ++r)
    std::copy_n(before + target.place[batch.token[r]] * shape_.rank, shape_.rank, markov_.data() + r * shape_.rank);
}

std::vector<RowLoss> BlockHead::train(const LayerPass& pass, const TargetTables& target, const BlockBatch& batch,
                                      const Labels& labels, const LossWeights& weights, const float* weight) {
  const int64_t blocks = batch.anchors() * shape_.slots, rank = shape_.rank;
  forward(pass, target, batch);
  gatherBefore(pass, target, batch);
  Floats dz(z_.size()), dmarkov(markov_.size()), dx(x_.size());
  const int64_t after = parameters_[after_].offset;
  const LinearTerm terms[] = {
      {z_.data(), target.output.data(), shape_.width, dz.data(), nullptr},
      {markov_.data(), pass.weight + after, rank, dmarkov.data(), pass.gradient + after},
  };
  std::vector<RowLoss> loss(blocks);
  pass.ops.linearLoss(terms, blocks, shape_.vocabulary, labels, weights, weight, loss);
  float* const dbefore = pass.gradient + parameters_[before_].offset;
  for (int64_t r = 0; r < blocks; ++r)
    for (int64_t i = 0; i < rank; ++i) dbefore[target.place[batch.token[r]] * rank + i] += dmarkov[r * rank + i];
  outputNorm_.backward(pass, x_.data(), outputInverse_.data(), dz.data(), blocks, dx.data());
  backward(pass, batch, dx);
  return loss;
}

void BlockHead::candidates(const float* logits, std::span<int32_t, kHeadCandidates> out) const {
  int64_t count = 0;
  for (int32_t i = 0; i < static_cast<int32_t>(shape_.vocabulary); ++i) {
    // Of equals the lower index comes first, so that one which is no likelier than the last has no place.
    if (count == kHeadCandidates && !(logits[i] > logits[out[count - 1]])) continue;
    int64_t at = count < kHeadCandidates ? count++ : count - 1;
    for (; at > 0 && logits[i] > logits[out[at - 1]]; --at) out[at] = out[at - 1];
    out[at] = i;
  }
}

/// In each slot the best of the likeliest candidates after the Markov term's correction; the first of them where none
/// has a number, as logits of a damaged head may not.
void BlockHead::walk(const float* markov, const float* logits, int32_t previous, int32_t* proposed) const {
  std::array<int32_t, kHeadCandidates> likeliest;
  for (int64_t s = 0; s < shape_.slots; ++s, logits += shape_.vocabulary) {
    const float* const given = markov + previous * shape_.rank;
    candidates(logits, likeliest);
    previous = likeliest[0];
    float most = -INFINITY;
    for (const int32_t c : likeliest) {
      const float* const row = markov + after() + c * shape_.rank;
      float corrected = logits[c];
      for (int64_t i = 0; i < shape_.rank; ++i) corrected += row[i] * given[i];
      if (corrected > most) most = corrected, previous = c;
    }
    proposed[s] = previous;
  }
}

SlotLogits BlockHead::logits(const LayerPass& pass, const TargetTables& target, const BlockBatch& batch) {
  forward(pass, target, batch);
  const int64_t rows = batch.anchors() * shape_.slots;
  SlotLogits out{z_, Floats(rows * shape_.vocabulary)};
  pass.ops.linear(z_.data(), target.output.data(), rows, shape_.width, shape_.vocabulary, out.logits.data());
  return out;
}

std::vector<int32_t> BlockHead::draft(const LayerPass& pass, const TargetTables& target, const BlockBatch& batch) {
  const int64_t slots = shape_.slots, vocabulary = shape_.vocabulary, width = shape_.width;
  const int64_t atOnce = std::max<int64_t>(1, kDraftRows / slots);
  forward(pass, target, batch);
  std::vector<int32_t> drafted(batch.token.size());
  Floats logits(atOnce * slots * vocabulary);
  for (int64_t first = 0; first < batch.anchors(); first += atOnce) {
    const int64_t count = std::min(atOnce, batch.anchors() - first);
    pass.ops.linear(z_.data() + first * slots * width, target.output.data(), count * slots, width, vocabulary,
                    logits.data());
    pass.ops.threads().run(count, [&](int64_t begin, int64_t end, int) {
      for (int64_t a = begin; a < end; ++a)
        walk(pass.weight + before(), logits.data() + a * slots * vocabulary,
             target.place[batch.token[(first + a) * slots]], drafted.data() + (first + a) * slots);
    });
  }
  for (int32_t& token : drafted) token = target.draft[token];
  return drafted;
}

}  // namespace foretoken::train
