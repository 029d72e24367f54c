// A head's pass over blocks on the device, forward and backward: BlockHead's equations (native/train/block_head.h),
// with gradients of what layers learn alone. What the context's rows are made of does not learn, so gradients end at
// the rows of blocks.
#pragma once
#include <string>

#include "cuda/train/layer_ops.cuh"
#include "train/block_head.h"

namespace foretoken::cuda {

/// Where a tensor lies in the run of weights; `learned`: where its gradient and moments do in theirs, -1 = it stays.
struct HeadTensor {
  int outputs, inputs;
  int64_t offset, learned;

  int64_t size() const { return int64_t{outputs} * inputs; }
};
struct LayerTensors {
  HeadTensor attentionNorm, q, k, v, o, mlpNorm, gate, up, down;
};
struct HeadTensors {
  std::vector<HeadTensor> featureNorms;
  HeadTensor fc, contextNorm, tokenNorm, join, mask, inject, outputNorm, before, after;
  std::vector<LayerTensors> layers;
};

/// What stays from step to step.
struct HeadOnDevice {
  float* weight;      ///< all weights
  uint16_t* rounded;  ///< the same in bf16
  float *gradient, *mean, *square;
  uint16_t *still, *moved;  ///< bf16 [draft tokens][width]: output rows of the target, and of the head
};

/// How much a pass is about.
struct PassSize {
  int rows, anchors, blocks;  ///< of the context; blocks: rows of theirs, anchors * slots
  int keys;                   ///< that a block sees at most
};

/// What a pass is given.
struct PassInput {
  float* features;          ///< [fused layers][rows][width]
  float* embedded;          ///< [anchors][width] of the newest tokens
  float *cosine, *sine;     ///< [rows, then blocks][half of a head]
  int32_t *anchor, *begin;  ///< [anchors] rows of the context: theirs, the first of their sequence
  int32_t* before;          ///< [blocks] the Markov row of the token before
  uint16_t* state;          ///< bf16 [blocks][width] what the target's output layer sees
  float* weight;            ///< [blocks] what a slot counts
};

/// What a layer keeps for its backward pass.
struct LayerSaved {
  float *x, *inverse, *key, *value, *query, *out, *logSum, *mlpX, *mlpInverse, *gate, *up;
  uint16_t *y, *attended, *mlpY, *product;
};

/// All else.
struct PassScratch {
  float *fused, *inverse, *joined, *injected, *x, *outputInverse, *sum;
  uint16_t *normed, *context, *anchored, *z, *markov;
  float *dx, *dy, *dproduct, *dout, *dq, *dkey, *dvalue;
  uint16_t *dx16, *dgate, *dup, *dq16, *dkey16, *dvalue16;
  float *kl, *acceptance;
  int32_t* top;
  LossScratch loss;
};

class HeadPass {
 public:
  HeadPass(const LayerOps& ops, const train::BlockHeadShape& shape, const HeadTensors& tensors,
           const HeadOnDevice& head, const PassSize& size, const PassInput& input, const std::vector<LayerSaved>& saved,
           const PassScratch& scratch)
      : ops_(ops), shape_(shape), t_(tensors), head_(head), size_(size), in_(input), saved_(saved), s_(scratch) {}

  /// Gradients of what learns, overwritten.
  void run() const {
    fuse();
    start();
    for (size_t l = 0; l < saved_.size(); ++l) forward(t_.layers[l], saved_[l]);
    loss();
    for (size_t l = saved_.size(); l-- > 0;) {
      backwardMlp(t_.layers[l], saved_[l]);
      backwardAttention(t_.layers[l], saved_[l], l == 0);
    }
  }

 private:
  int width() const { return static_cast<int>(shape_.width); }
  int queryHeads() const { return static_cast<int>(shape_.heads.queries); }
  int keyHeads() const { return static_cast<int>(shape_.heads.keys); }
  int half() const { return static_cast<int>(shape_.heads.width / 2); }
  const uint16_t* rounded(const HeadTensor& t) const { return head_.rounded + t.offset; }
  LinearWeights linear(const HeadTensor& t) const { return {rounded(t), t.outputs, t.inputs, t.inputs}; }
  /// `width` columns of a linear layer.
  LinearWeights columns(const HeadTensor& t, int first) const {
    return {rounded(t) + first, t.outputs, width(), t.inputs};
  }
  NormRows norm(const HeadTensor& t, const float* x, float* inverse) const {
    return {x, head_.weight + t.offset, shape_.epsilon, t.inputs, inverse};
  }
  /// Rotates rows of blocks' queries or keys; or, from row 0 of the context on, all keys.
  void rotate(float* x, int heads, int firstRow, int rows, bool back, uint16_t* result) const {
    const int64_t at = int64_t{firstRow} * half();
    ops_.rotate({x, heads, half(), in_.cosine + at, in_.sine + at, result}, rows, back);
  }
  void learn(const HeadTensor& t, const uint16_t* dy, const uint16_t* x) const {
    ops_.weightGradient(dy, x, linear(t), size_.blocks, head_.gradient + t.learned);
  }
  BlockAttention attention(const LayerSaved& s) const {
    return {size_.anchors, static_cast<int>(shape_.slots),
            queryHeads(),  keyHeads(),
            2 * half(),    size_.rows,
            in_.begin,     in_.anchor,
            s.query,       s.key,
            s.value,       s.out,
            s.logSum,      s_.sum};
  }

  /// The context's rows h.
  void fuse() const {
    for (int l = 0; l < static_cast<int>(shape_.fused); ++l) {
      const float* const features = in_.features + int64_t{l} * size_.rows * width();
      ops_.norm(norm(t_.featureNorms[static_cast<size_t>(l)], features, s_.inverse), size_.rows, s_.normed);
      ops_.linear(s_.normed, columns(t_.fc, l * width()), size_.rows, s_.fused, l > 0);
    }
    ops_.norm(norm(t_.contextNorm, s_.fused, s_.inverse), size_.rows, s_.context);
  }

  /// The rows of blocks before their first layer.
  void start() const {
    ops_.norm(norm(t_.tokenNorm, in_.embedded, s_.inverse), size_.anchors, s_.normed);
    ops_.gather(s_.context, in_.anchor, size_.anchors, width(), s_.anchored);
    ops_.linear(s_.normed, columns(t_.join, 0), size_.anchors, s_.joined);
    ops_.linear(s_.anchored, columns(t_.join, width()), size_.anchors, s_.joined, true);
    ops_.linear(s_.anchored, linear(t_.inject), size_.anchors, s_.injected);
    ops_.start(s_.joined, s_.injected, head_.weight + t_.mask.offset, static_cast<int>(shape_.slots), width(),
               size_.blocks, s_.x);
  }

  void forward(const LayerTensors& t, const LayerSaved& s) const {
    const int64_t own = int64_t{size_.rows} * t.k.outputs, count = int64_t{size_.blocks} * t.gate.outputs;
    ops_.norm(norm(t.attentionNorm, s_.x, s.inverse), size_.blocks, s.y, s.x);
    ops_.linear(s_.context, linear(t.k), size_.rows, s.key);
    ops_.linear(s_.context, linear(t.v), size_.rows, s.value);
    ops_.linear(s.y, linear(t.k), size_.blocks, s.key + own);
    ops_.linear(s.y, linear(t.v), size_.blocks, s.value + own);
    ops_.linear(s.y, linear(t.q), size_.blocks, s.query);
    rotate(s.key, keyHeads(), 0, size_.rows + size_.blocks, false, nullptr);
    rotate(s.query, queryHeads(), size_.rows, size_.blocks, false, nullptr);
    ops_.attend(attention(s), size_.keys, s.attended);
    ops_.linear(s.attended, linear(t.o), size_.blocks, s_.x, true);
    ops_.norm(norm(t.mlpNorm, s_.x, s.mlpInverse), size_.blocks, s.mlpY, s.mlpX);
    ops_.linear(s.mlpY, linear(t.gate), size_.blocks, s.gate);
    ops_.linear(s.mlpY, linear(t.up), size_.blocks, s.up);
    ops_.gate(s.gate, s.up, count, s.product);
    ops_.linear(s.product, linear(t.down), size_.blocks, s_.x, true);
  }

  /// And the gradient of the last layer's output.
  void loss() const {
    const NormRows output = norm(t_.outputNorm, s_.x, s_.outputInverse);
    const train::LossWeights parts;
    LossArgs loss{};
    loss.vocabulary = static_cast<int>(shape_.vocabulary), loss.kl = parts.kl, loss.rejection = parts.rejection;
    loss.weight = in_.weight, loss.klOut = s_.kl, loss.acceptance = s_.acceptance, loss.top = s_.top;
    const LossTerm terms[] = {{s_.z, head_.moved, width(), s_.dy, nullptr},
                              {s_.markov, rounded(t_.after), t_.after.inputs, nullptr, nullptr}};
    ops_.norm(output, size_.blocks, s_.z);
    ops_.gather(rounded(t_.before), in_.before, size_.blocks, t_.before.inputs, s_.markov);
    ops_.loss(terms, {in_.state, head_.still, width()}, size_.blocks, loss, s_.loss);
    ops_.normBack(output, size_.blocks, s_.dy, s_.dx, false);
  }

  void backwardMlp(const LayerTensors& t, const LayerSaved& s) const {
    ops_.round(s_.dx, int64_t{size_.blocks} * width(), s_.dx16);
    ops_.inputGradient(s_.dx16, linear(t.down), size_.blocks, s_.dproduct);
    learn(t.down, s_.dx16, s.product);
    ops_.gateBack(s.gate, s.up, s_.dproduct, int64_t{size_.blocks} * t.gate.outputs, s_.dgate, s_.dup);
    learn(t.gate, s_.dgate, s.mlpY);
    learn(t.up, s_.dup, s.mlpY);
    ops_.inputGradient(s_.dgate, linear(t.gate), size_.blocks, s_.dy);
    ops_.inputGradient(s_.dup, linear(t.up), size_.blocks, s_.dy, true);
    ops_.normBack(norm(t.mlpNorm, s.mlpX, s.mlpInverse), size_.blocks, s_.dy, s_.dx, true);
  }

  /// Nothing before the first layer learns.
  void backwardAttention(const LayerTensors& t, const LayerSaved& s, bool first) const {
    ops_.round(s_.dx, int64_t{size_.blocks} * width(), s_.dx16);
    ops_.inputGradient(s_.dx16, linear(t.o), size_.blocks, s_.dout);
    learn(t.o, s_.dx16, s.attended);
    ops_.attendBack(attention(s), size_.keys, {s_.dout, s_.dq, s_.dkey, s_.dvalue});
    rotate(s_.dq, queryHeads(), size_.rows, size_.blocks, true, s_.dq16);
    learn(t.q, s_.dq16, s.y);
    if (first) return;
    rotate(s_.dkey, keyHeads(), size_.rows, size_.blocks, true, s_.dkey16);
    ops_.round(s_.dvalue, int64_t{size_.blocks} * t.v.outputs, s_.dvalue16);
    ops_.inputGradient(s_.dq16, linear(t.q), size_.blocks, s_.dy);
    ops_.inputGradient(s_.dkey16, linear(t.k), size_.blocks, s_.dy, true);
    ops_.inputGradient(s_.dvalue16, linear(t.v), size_.blocks, s_.dy, true);
    ops_.normBack(norm(t.attentionNorm, s.x, s.inverse), size_.blocks, s_.dy, s_.dx, true);
  }

  const LayerOps& ops_;
  const train::BlockHeadShape& shape_;
  const HeadTensors& t_;
  const HeadOnDevice& head_;
  const PassSize& size_;
  const PassInput& in_;
  const std::vector<LayerSaved>& saved_;
  const PassScratch& s_;
};

}  // namespace foretoken::cuda
