#include "cuda/train/device_layers.h"

#include <algorithm>

#include "cuda/train/layer_pass.cuh"
#include "cuda/train/small_moments.cuh"
#include "quant/float_codecs.h"

namespace foretoken::cuda {
namespace {

/// Arrays one after the other in one piece of memory; without one it is counted what they take.
class Arrays {
 public:
  explicit Arrays(uint8_t* base = nullptr) : base_(base) {}
  template <class T>
  void take(T*& array, int64_t count) {
    if (base_) array = reinterpret_cast<T*>(base_ + bytes_);
    bytes_ += roundUp(static_cast<size_t>(count) * sizeof(T), size_t{256});
  }
  size_t bytes() const { return bytes_; }

 private:
  uint8_t* base_;
  size_t bytes_ = 0;
};

std::vector<uint16_t> inBf16(const train::Floats& values) {
  std::vector<uint16_t> codes(values.size());
  std::transform(values.begin(), values.end(), codes.begin(), [](float x) { return floatToBf16(x); });
  return codes;
}

void requireShape(const train::BlockHeadShape& s) {
  if (s.slots <= kMostSlots && s.heads.width <= kMostHeadWidth && s.rank % 8 == 0) return;
  throw Error("SHAPE_MISMATCH", "layers of a draft head of these sizes can't learn on a device");
}

class DeviceLayerSteps final : public learn::LayerSteps {
 public:
  DeviceLayerSteps(int device, const learn::LayerStart& start);

  bool step(const train::LabelledBlocks&) override;
  void setRows(std::shared_ptr<const learn::HeadRows>) override;
  learn::LearnedHead learned() override;
  size_t bytes() const override { return place_.size() * sizeof(int32_t); }
  size_t deviceBytes() const override { return kept_.size() + memory_.size(); }

 private:
  HeadTensor tensor(const std::string& name);
  void nameTensors();
  size_t placeKept(Arrays arrays);
  size_t placePass(Arrays arrays);
  void makeRoom(const train::BlockBatch&);
  void send(const train::LabelledBlocks&);
  bool move();
  template <class T>
  void send(T* to, const std::vector<T>& values) {
    if (!values.empty()) stream_.copyIn(to, values.data(), values.size() * sizeof(T));
  }

  const int device_;
  Stream stream_;
  const LayerOps ops_;
  const train::BlockHead& head_;
  const train::BlockHeadShape& shape_;
  const train::TargetTables& target_;
  const learn::LayerOptions options_;
  const train::RotaryTable rotary_;
  std::shared_ptr<const learn::HeadRows> rows_;
  std::vector<int32_t> place_;  ///< which of the head's tokens each token is
  HeadTensors tensors_{};
  std::vector<StepRun> learned_;  ///< a run for each tensor that moves
  int64_t learnedSize_ = 0, steps_ = 0;
  DeviceMemory kept_, memory_;  ///< from step to step, of a step
  HeadOnDevice onDevice_{};
  StepRun* runs_ = nullptr;    ///< learned_
  double* partial_ = nullptr;  ///< of the gradient's norm
  Clip* clip_ = nullptr;
  PassSize size_{};
  PassInput input_{};
  std::vector<LayerSaved> saved_;
  PassScratch scratch_{};
};

DeviceLayerSteps::DeviceLayerSteps(int device, const learn::LayerStart& start)
    : device_((useDevice(device), device)),
      stream_(Stream::Priority::low),
      ops_(stream_, multiprocessors()),
      head_(start.head),
      shape_((requireShape(start.head.shape()), start.head.shape())),
      target_(start.target),
      options_(start.options),
      rotary_(shape_.positions + shape_.slots + 1, shape_.heads.width, shape_.rotaryBase),
      saved_(static_cast<size_t>(shape_.layers)) {
  nameTensors();
  kept_ = DeviceMemory(placeKept(Arrays()));
  placeKept(Arrays(kept_.data()));
  send(onDevice_.weight, *start.live.layers);
  send(onDevice_.rounded, inBf16(*start.live.layers));
  send(runs_, learned_);
  for (float* const moments : {onDevice_.mean, onDevice_.square})
    stream_.clear(moments, static_cast<size_t>(learnedSize_) * sizeof(float));
  setRows(start.live.rows);
}

HeadTensor DeviceLayerSteps::tensor(const std::string& name) {
  const auto& all = head_.parameters().all();
  const auto p = std::find_if(all.begin(), all.end(), [&](const train::Parameter& each) { return each.name == name; });
  HeadTensor out{static_cast<int>(p->rows), static_cast<int>(p->columns), p->offset, -1};
  if (!learn::isLearned(*p)) return out;
  out.learned = learnedSize_;
  learnedSize_ += out.size();
  learned_.push_back({learnedSize_, out.offset - out.learned});
  return out;
}

void DeviceLayerSteps::nameTensors() {
  HeadTensors& t = tensors_;
  for (int64_t l = 0; l < shape_.fused; ++l)
    t.featureNorms.push_back(tensor("feature_norms." + std::to_string(l) + ".weight"));
  t.fc = tensor("fc.weight"), t.contextNorm = tensor("context_norm.weight");
  t.tokenNorm = tensor("token_norm.weight"), t.join = tensor("join.weight");
  t.mask = tensor("mask"), t.inject = tensor("inject.weight");
  for (int64_t l = 0; l < shape_.layers; ++l) {
    const auto of = [&](const char* name) { return tensor("layers." + std::to_string(l) + "." + name + ".weight"); };
    t.layers.push_back({.attentionNorm = of("attention_norm"),
                        .q = of("attention.q"),
                        .k = of("attention.k"),
                        .v = of("attention.v"),
                        .o = of("attention.o"),
                        .mlpNorm = of("mlp_norm"),
                        .gate = of("mlp.gate"),
                        .up = of("mlp.up"),
                        .down = of("mlp.down")});
  }
  t.outputNorm = tensor("output_norm.weight"), t.before = tensor("before.weight"), t.after = tensor("after");
}

size_t DeviceLayerSteps::placeKept(Arrays arrays) {
  const int64_t weights = head_.parameters().size(), rows = shape_.vocabulary * shape_.width;
  arrays.take(onDevice_.weight, weights), arrays.take(onDevice_.rounded, weights);
  for (float** each : {&onDevice_.gradient, &onDevice_.mean, &onDevice_.square}) arrays.take(*each, learnedSize_);
  arrays.take(onDevice_.still, rows), arrays.take(onDevice_.moved, rows);
  arrays.take(runs_, static_cast<int64_t>(learned_.size()));
  arrays.take(partial_, ceilDiv(learnedSize_, int64_t{kNormPiece})), arrays.take(clip_, 1);
  return arrays.bytes();
}

size_t DeviceLayerSteps::placePass(Arrays arrays) {
  const int64_t rows = size_.rows, anchors = size_.anchors, blocks = size_.blocks, all = rows + blocks;
  const int64_t width = shape_.width, inner = shape_.inner, half = shape_.heads.width / 2;
  const int64_t queries = shape_.heads.queries * shape_.heads.width, keys = shape_.heads.keys * shape_.heads.width;
  const auto take = [&](int64_t count, auto*&... each) { (arrays.take(each, count), ...); };
  PassInput& in = input_;
  take(shape_.fused * rows * width, in.features), take(anchors * width, in.embedded);
  take(all * half, in.cosine, in.sine), take(anchors, in.anchor, in.begin), take(blocks, in.before, in.weight);
  take(blocks * width, in.state);
  for (LayerSaved& s : saved_) {
    take(blocks * width, s.x, s.mlpX), take(blocks * width, s.y, s.mlpY), take(blocks, s.inverse, s.mlpInverse);
    take(all * keys, s.key, s.value), take(blocks * queries, s.query, s.out), take(blocks * queries, s.attended);
    take(blocks * shape_.heads.queries, s.logSum), take(blocks * inner, s.gate, s.up), take(blocks * inner, s.product);
  }
  PassScratch& s = scratch_;
  take(rows * width, s.fused), take(rows * width, s.normed, s.context), take(rows, s.inverse);
  take(anchors * width, s.joined, s.injected), take(anchors * width, s.anchored);
  take(blocks * width, s.x, s.dx, s.dy), take(blocks * width, s.z, s.dx16), take(blocks * shape_.rank, s.markov);
  take(blocks, s.outputInverse, s.kl, s.acceptance), take(blocks, s.top), take(blocks * shape_.heads.queries, s.sum);
  take(blocks * inner, s.dproduct), take(blocks * inner, s.dgate, s.dup);
  take(blocks * queries, s.dout, s.dq), take(blocks * queries, s.dq16);
  take(blocks * keys, s.dkey, s.dvalue), take(blocks * keys, s.dkey16, s.dvalue16);
  const int64_t logits = int64_t{kChunkRows} * shape_.vocabulary;
  take(logits, s.loss.logits, s.loss.target), take(logits, s.loss.gradient);
  return arrays.bytes();
}

/// Memory of a step with these blocks. Rows of the context behind the last anchor are left out.
void DeviceLayerSteps::makeRoom(const train::BlockBatch& batch) {
  size_.rows = batch.anchor.back() + 1, size_.anchors = static_cast<int>(batch.anchors());
  size_.blocks = size_.anchors * static_cast<int>(shape_.slots),
  size_.keys = size_.rows + static_cast<int>(shape_.slots);
  const size_t bytes = placePass(Arrays());
  if (memory_.size() < bytes) memory_.renew(bytes);
  placePass(Arrays(memory_.data()));
}

void DeviceLayerSteps::send(const train::LabelledBlocks& labelled) {
  const train::BlockBatch& batch = labelled.blocks;
  const int64_t width = shape_.width, half = rotary_.width() / 2;
  for (int64_t l = 0; l < shape_.fused; ++l)
    stream_.copyIn(input_.features + l * size_.rows * width, batch.features[static_cast<size_t>(l)].data(),
                   static_cast<size_t>(size_.rows * width) * sizeof(float));
  train::Floats embedded, cosine, sine;
  std::vector<int32_t> begin, before, position(batch.position.begin(), batch.position.begin() + size_.rows);
  for (size_t a = 0; a < batch.anchor.size(); ++a) {
    const auto next = std::upper_bound(batch.firstRow.begin(), batch.firstRow.end(), batch.anchor[a]);
    begin.push_back(static_cast<int32_t>(next[-1]));
    const uint16_t* const row = target_.embedding + batch.token[a * shape_.slots] * width;
    for (int64_t i = 0; i < width; ++i) embedded.push_back(bf16ToFloat(row[i]));
    for (int32_t s = 1; s <= static_cast<int32_t>(shape_.slots); ++s)
      position.push_back(batch.position[batch.anchor[a]] + s);
  }
  for (const int32_t token : batch.token) before.push_back(place_[token]);
  for (const int32_t p : position) {
    cosine.insert(cosine.end(), rotary_.cosine(p), rotary_.cosine(p) + half);
    sine.insert(sine.end(), rotary_.sine(p), rotary_.sine(p) + half);
  }
  send(input_.embedded, embedded), send(input_.cosine, cosine), send(input_.sine, sine);
  send(input_.anchor, batch.anchor), send(input_.begin, begin), send(input_.before, before);
  send(input_.state, inBf16(labelled.state)), send(input_.weight, labelled.weight);
}

/// AdamW on what has learned; false where its gradient is not finite.
bool DeviceLayerSteps::move() {
  const formula::AdamW rule = train::adamwAt(steps_ + 1, options_.rate, options_.optimiser);
  const HeadOnDevice& d = onDevice_;
  ops_.clip(d.gradient, learnedSize_, options_.optimiser.clip, partial_, clip_);
  ops_.adamw({d.gradient, d.weight, d.rounded, d.mean, d.square, learnedSize_, runs_}, rule, clip_);
  Clip clip{};
  stream_.copyOut(&clip, clip_, sizeof clip);
  stream_.synchronise();
  steps_ += clip.finite;
  return clip.finite != 0;
}

bool DeviceLayerSteps::step(const train::LabelledBlocks& batch) {
  useDevice(device_);
  makeRoom(batch.blocks);
  send(batch);
  HeadPass(ops_, shape_, tensors_, onDevice_, size_, input_, saved_, scratch_).run();
  return move();
}

void DeviceLayerSteps::setRows(std::shared_ptr<const learn::HeadRows> rows) {
  useDevice(device_);
  rows_ = std::move(rows);
  send(onDevice_.weight + head_.before(), rows_->markov);
  send(onDevice_.rounded + head_.before(), inBf16(rows_->markov));
  train::TargetTables tables = learn::tablesFor(rows_->draft, target_);
  send(onDevice_.still, inBf16(tables.output));
  learn::addDelta(rows_->delta, shape_.width, tables.output);
  send(onDevice_.moved, inBf16(tables.output));
  place_ = std::move(tables.place);
}

learn::LearnedHead DeviceLayerSteps::learned() {
  useDevice(device_);
  train::Floats layers(static_cast<size_t>(head_.before()));
  stream_.copyOut(layers.data(), onDevice_.weight, layers.size() * sizeof(float));
  stream_.synchronise();
  return {std::make_shared<const train::Floats>(std::move(layers)), rows_};
}

}  // namespace

/// In the library as well, though no step takes them yet.
[[gnu::used]] static const void* const kOtherSteps[] = {reinterpret_cast<const void*>(sgdStep),
                                                        reinterpret_cast<const void*>(smallAdamwStep)};

std::unique_ptr<learn::LayerSteps> createLayerSteps(int device, const learn::LayerStart& start) {
  return std::make_unique<DeviceLayerSteps>(device, start);
}

}  // namespace foretoken::cuda
