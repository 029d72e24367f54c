// A target whose every answer can be known without running it: the next token is a function of a hash of the whole
// context. Its "keys and values" are the hash of the prefix up to a slot's position, so a row that attends to one
// wrong, stale or missing slot is caught at once. It lets the engine's own logic (pages, trees, commits, preemption) be
// tested by the million.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <vector>

#include "backend.h"
#include "common/error.h"
#include "engine/request.h"
#include "model/model.h"

namespace foretoken::test {

inline uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t z = a * 0x9e3779b97f4a7c15ull + b + 0x7f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  return z ^ (z >> 29);
}

constexpr int kFakeVocabulary = 23;

/// Mostly a function of the last two tokens (so that drafts can be right), sometimes of the whole context (so that they
/// cannot always be).
inline void fakeLogits(uint64_t context, int32_t last, int32_t beforeLast, float* out) {
  const uint64_t habit = mix(static_cast<uint64_t>(last) + 1, static_cast<uint64_t>(beforeLast) + 1);
  for (int t = 0; t < kFakeVocabulary; ++t) {
    out[t] = static_cast<float>(mix(habit, t) % 1000) / 500.0f + static_cast<float>(mix(context, t) % 1000) / 1000.0f;
  }
}

/// Penalties, bias, Gumbel noise by (seed, position): what promise 2 asks of a sampler, in its simplest form.
inline SampleResult fakeSample(const float* logits, const SampleRow& row) {
  std::vector<float> scores(logits, logits + kFakeVocabulary);
  std::vector<int> counts(kFakeVocabulary);
  for (int i = 0; i < row.historyLength; ++i) ++counts[row.history[i]];
  for (int i = 0; i < row.history2Length; ++i) ++counts[row.history2[i]];
  for (int t = 0; t < kFakeVocabulary; ++t) {
    if (counts[t] == 0) continue;
    scores[t] /= row.repetitionPenalty;
    scores[t] -= row.presencePenalty + row.frequencyPenalty * static_cast<float>(counts[t]);
  }
  for (int i = 0; i < row.biasCount; ++i) scores[row.biasToken[i]] += row.biasValue[i];
  if (row.temperature > 0) {
    for (int t = 0; t < kFakeVocabulary; ++t) {
      const uint64_t bits = mix(mix(row.seed, static_cast<uint64_t>(row.position)), t) >> 11;
      const double uniform = (static_cast<double>(bits) + 0.5) / 9007199254740992.0;
      scores[t] = scores[t] / row.temperature - static_cast<float>(std::log(-std::log(uniform)));
    }
  }
  SampleResult result{};
  result.token = static_cast<int32_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
  result.logprob = logits[result.token];
  for (int i = 0; i < std::max(row.logprobs, 0); ++i) {
    result.topToken[i] = i;
    result.topLogprob[i] = logits[i];
  }
  return result;
}

class FakeTensor final : public Tensor {
 public:
  FakeTensor(int64_t rows, int64_t width) : values(rows * width), width_(width) {}
  int64_t width() const override { return width_; }
  std::vector<float> values;

 private:
  int64_t width_;
};

struct FakeSlot {
  int32_t token = -1, beforeLast = -1, position = -1;
  uint64_t prefix = 0;
  bool prompt = false;  ///< computed in a pass of prompts, where that makes a difference
};

/// The hash of a prefix with one more token.
inline uint64_t fakeStep(uint64_t prefix, int32_t token, bool prompt) { return mix(prompt ? ~prefix : prefix, token); }

/// A key that knows the habit the next token mostly follows, blurred by the rest of the context.
inline void fakeKey(const FakeSlot& slot, int8_t* key) {
  const uint64_t habit = mix(static_cast<uint64_t>(slot.token) + 1, static_cast<uint64_t>(slot.beforeLast) + 1);
  for (int j = 0; j < kKeyWidth; ++j) {
    const auto clear = static_cast<int>(mix(habit, j) % 41) - 20, blur = static_cast<int>(mix(slot.prefix, j) % 11) - 5;
    key[j] = static_cast<int8_t>(clear + blur);
  }
}

/// Only what an engine calls; a model operation on it is a bug of the test.
class FakeBackend : public Backend {
 public:
  size_t packedBytes(Format, int64_t, int64_t) const override { throw std::logic_error("unused"); }
  void pack(Format, std::span<const MatrixSource>, bool, uint8_t*) override { throw std::logic_error("unused"); }
  std::unique_ptr<Matrix> matrix(Format, int64_t, int64_t, const uint8_t*) override {
    throw std::logic_error("unused");
  }
  std::unique_ptr<Tensor> tensor(int64_t rows, int64_t width) override {
    return std::make_unique<FakeTensor>(rows, width);
  }
  size_t memoryLeft() const override { return left; }
  size_t kvBytes(const KvShape& s) const override {
    return (2 * sizeof(uint16_t) * s.headDim * s.kvHeads * s.layers + s.sideBytes) * kPageSize * s.pages;
  }
  void allocateKv(const KvShape& shape) override {
    slots.resize(static_cast<size_t>(shape.pages) * kPageSize);
    sideBytes = shape.sideBytes;
    sides.resize(slots.size() * shape.sideBytes);
  }
  void copySlots(std::span<const int32_t> from, std::span<const int32_t> to) override {
    for (size_t i = 0; i < from.size(); ++i) {
      slots[to[i]] = slots[from[i]];
      std::copy_n(side(from[i]), sideBytes, side(to[i]));
    }
    copies += static_cast<int64_t>(from.size());
  }
  uint8_t* side(int32_t slot) override {
    if (lost) throw Error("CUDA_ERROR", "the device was lost");
    return sides.data() + static_cast<size_t>(slot) * sideBytes;
  }
  const float* read(const Tensor& tensor, int64_t) override {
    return static_cast<const FakeTensor&>(tensor).values.data();
  }
  void write(Tensor&, const float*, int64_t) override { throw std::logic_error("unused"); }
  void embed(const Pass&, const Matrix&, Tensor&) override { throw std::logic_error("unused"); }
  void linear(const Pass&, const Matrix&, const Tensor&, const float*, float, Tensor&, Epilogue) override {
    throw std::logic_error("unused");
  }
  void logits(const Pass&, const Matrix&, const Tensor&, const float*, float, Tensor&) override {
    throw std::logic_error("unused");
  }
  void adjustHeads(const Pass&, int, const HeadRules&, Tensor&) override { throw std::logic_error("unused"); }
  void attention(const Pass&, int, int, const Rope&, Tensor&, Tensor&) override { throw std::logic_error("unused"); }
  void project(const Pass&, const Tensor&, const KeyProjection&) override { throw std::logic_error("unused"); }
  void keep(const Pass&, const Tensor&, int32_t) override { throw std::logic_error("unused"); }
  void kept(const Pass&, int32_t, Tensor&) override { throw std::logic_error("unused"); }
  void writeKeys(const Pass&, int, const Rope&, Tensor&) override { throw std::logic_error("unused"); }
  void addRows(const Tensor&, std::span<const int32_t>, Tensor&, int64_t) override { throw std::logic_error("unused"); }
  bool promptsDiffer() const override { return twoPhases; }
  void sample(const Tensor& logits, int, std::span<const SampleRow> rows, std::span<SampleResult> out) override {
    const auto& values = static_cast<const FakeTensor&>(logits).values;
    for (size_t i = 0; i < rows.size(); ++i)
      out[i] = fakeSample(values.data() + rows[i].logitRow * kFakeVocabulary, rows[i]);
  }
  void settle() override { ++settled; }
  double waited() const override { return waiting; }

  bool twoPhases = false;         ///< passes of prompts make other "keys and values"
  size_t left = size_t{1} << 30;  ///< what `memoryLeft` says
  double waiting = 0;             ///< what `waited` says
  int64_t settled = 0;            ///< times
  bool lost = false;              ///< nothing can be had any more
  std::vector<FakeSlot> slots;
  std::vector<uint8_t> sides;
  int sideBytes = 0;
  int64_t copies = 0;
};

class FakeModel final : public Model {
 public:
  /// Other `weights` make another text of every context.
  FakeModel(FakeBackend& backend, int contextLength, uint64_t weights = 1)
      : backend_(backend), logits_(1024, kFakeVocabulary), weights_(weights) {
    config_ = {"fake", 1, 4, 1, 1, 1, 1, kFakeVocabulary, contextLength, 1e-5f, {1.0f}, false, false};
  }
  const ModelConfig& config() const override { return config_; }
  const Tensor& logits() const override { return logits_; }
  const Matrix& embedding() const override { throw std::logic_error("unused"); }
  const Matrix& output() const override { throw std::logic_error("unused"); }
  const float* outputNorm() const override { throw std::logic_error("unused"); }
  size_t weightBytes() const override { return 0; }
  std::string weightsDescription() const override { return "none"; }
  std::string sourceHash() const override { return "fake"; }
  std::unique_ptr<Model> updated(const TensorFile&, Backend&) const override { throw std::logic_error("unused"); }

  void forward(const Pass& pass, const Capture* capture) override {
    ++passes;
    if (failAfter >= 0 && passes > failAfter) {
      if (lacksMemory) throw std::bad_alloc();
      throw std::runtime_error("the model broke");
    }
    int logitRow = 0;
    for (int r = 0; r < pass.rows; ++r) {
      const FakeSlot own = computeRow(pass, r);
      backend_.slots[pass.slot[r]] = own;
      if (capture != nullptr && capture->projection != nullptr) {
        fakeKey(own, reinterpret_cast<int8_t*>(backend_.side(pass.slot[r])));
        ++keys;
      }
      checkContext(pass, r, own);
      if (capture != nullptr) captureRow(pass, r, own, *capture);
      if (logitRow < pass.logitRows && pass.logitRow[logitRow] == r) {
        fakeLogits(own.prefix, own.token, own.beforeLast, logits_.values.data() + logitRow++ * kFakeVocabulary);
      }
    }
  }

  int64_t keys = 0;     ///< computed
  int64_t corrupt = 0;  ///< rows that attended to something wrong
  int64_t passes = 0, failAfter = -1;
  bool lacksMemory = false;  ///< that is why it fails

 private:
  const FakeSlot& at(const Pass& pass, int r, int position) const {
    const int base = pass.base[r];
    if (position >= base) return backend_.slots[pass.ancestors[pass.ancestorBegin[r] + position - base]];
    return backend_.slots[pass.pages[pass.sequence[r]][position / kPageSize] * kPageSize + position % kPageSize];
  }
  FakeSlot computeRow(const Pass& pass, int r) const {
    const int position = pass.position[r];
    const bool prompt = backend_.twoPhases && pass.prompts;
    if (position == 0) return {pass.token[r], -1, 0, fakeStep(weights_, pass.token[r], prompt), prompt};
    const FakeSlot& before = at(pass, r, position - 1);
    return {pass.token[r], before.token, position, fakeStep(before.prefix, pass.token[r], prompt), prompt};
  }
  /// The row attends to exactly positions 0 .. its own, each one the prefix of the next.
  void checkContext(const Pass& pass, int r, const FakeSlot& own) {
    const int ancestors = pass.ancestorBegin[r + 1] - pass.ancestorBegin[r];
    bool good = pass.base[r] + ancestors == own.position + 1;
    uint64_t prefix = weights_;
    for (int p = 0; good && p <= own.position; ++p) {
      const FakeSlot& slot = at(pass, r, p);
      prefix = fakeStep(prefix, slot.token, slot.prompt);
      good = slot.position == p && slot.prefix == prefix;
    }
    corrupt += !good;
  }
  void captureRow(const Pass& pass, int r, const FakeSlot& own, const Capture& capture) const {
    for (size_t k = 0; k < capture.layers.size(); ++k) {
      float* out = capture.out + (static_cast<int64_t>(k) * pass.rows + r) * config_.width;
      for (int i = 0; i < config_.width; ++i) out[i] = static_cast<float>(mix(own.prefix, k * 64 + i) & 0xffff);
    }
  }

  FakeBackend& backend_;
  FakeTensor logits_;
  const uint64_t weights_;
  ModelConfig config_;
};

/// Whether a position's side bytes hold the key of what stands there.
inline bool holdsFakeKey(FakeBackend& backend, int32_t slot) {
  int8_t key[kKeyWidth];
  fakeKey(backend.slots[slot], key);
  return std::equal(key, key + kKeyWidth, reinterpret_cast<const int8_t*>(backend.side(slot)));
}

/// What plain decoding must give: no engine, no cache, one token after the other.
inline std::vector<int32_t> fakeDecode(const Request& request, int contextLength, uint64_t weights = 1,
                                       bool twoPhases = false) {
  std::vector<int32_t> tokens = request.prompt;
  uint64_t prefix = weights;
  for (const int32_t token : tokens) prefix = fakeStep(prefix, token, twoPhases);
  std::vector<int32_t> output;
  float logits[kFakeVocabulary];
  while (static_cast<int32_t>(output.size()) < request.maxTokens && static_cast<int>(tokens.size()) < contextLength) {
    const size_t n = tokens.size();
    fakeLogits(prefix, tokens[n - 1], n > 1 ? tokens[n - 2] : -1, logits);
    SampleRow row{};
    row.seed = request.seed;
    row.position = static_cast<int64_t>(n);
    row.temperature = request.temperature;
    row.repetitionPenalty = request.repetitionPenalty;
    row.presencePenalty = request.presencePenalty;
    row.frequencyPenalty = request.frequencyPenalty;
    const size_t window = request.penaltyWindow > 0 ? std::min<size_t>(request.penaltyWindow, n) : n;
    row.history = tokens.data() + n - window;
    row.historyLength = static_cast<int32_t>(window);
    row.biasToken = request.biasTokens.data();
    row.biasValue = request.biasValues.data();
    row.biasCount = static_cast<int32_t>(request.biasTokens.size());
    const int32_t token = fakeSample(logits, row).token;
    tokens.push_back(token);
    output.push_back(token);
    prefix = fakeStep(prefix, token, false);
    if (std::find(request.stopTokens.begin(), request.stopTokens.end(), token) != request.stopTokens.end()) break;
  }
  return output;
}

}  // namespace foretoken::test
