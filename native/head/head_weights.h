// A draft head as decoding runs it (its equations: train/block_head.h): matrices packed for a backend, never changed
// once made. A head that learns is a new object, swapped in between two rounds.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "backend.h"
#include "common/memory.h"
#include "model/model.h"
#include "train/block_head.h"

namespace foretoken {

/// In which formats a head's matrices are computed: those of its own, and the rows over its draft vocabulary. By
/// default the fastest: with a trained head of the default model as many tokens were right as in bf16.
struct HeadFormats {
  Format own = Format::nvfp4, output = Format::nvfp4;
};

/// Rows of a target's matrix as the numbers that they stand for, one call of `each` a row, or all together.
void overRows(const Matrix& matrix, std::span<const int32_t> rows, Backend& backend,
              const std::function<void(const float*)>& each);
std::vector<float> rowsOf(const Matrix& matrix, std::span<const int32_t> rows, Backend& backend);

/// A head to be packed.
struct HeadSource {
  train::BlockHeadShape shape;
  std::vector<int> fusedLayers;    ///< of the target, as in Capture
  std::vector<int32_t> draft;      ///< the token of each draft index
  std::span<const float> weights;  ///< as train::BlockHead::layoutOf(shape) says
  train::OutputDelta delta;        ///< to the target's output rows
};

/// Matrices of fp32 numbers, packed one after the other.
class MatrixSet {
 public:
  /// Takes a matrix in; its index. q8_0 becomes bf16 where rows are no whole blocks.
  int add(Format format, int64_t rows, int64_t cols, std::vector<float> values);
  /// Packs all that was added, once.
  void pack(Backend& packing);
  const Matrix& operator[](int index) const { return *packed_[index]; }
  size_t bytes() const { return memory_.size(); }

 private:
  struct Planned {
    Format format;
    int64_t rows, cols;
    std::vector<float> values;
  };
  std::vector<Planned> planned_;
  std::vector<std::unique_ptr<Matrix>> packed_;
  Memory memory_;
};

/// What keys and values of the positions before depend on: they are kept with the positions, so that heads which share
/// a context can be swapped without computing them again.
class HeadContext {
 public:
  HeadContext(const HeadSource& source, const train::Parameters& layout, Backend& packing, Format format);

  /// Never 0, of no other context in this process: marks the positions whose keys and values are there.
  uint32_t serial() const { return serial_; }
  /// Of fused layer l.
  const float* featureNorm(int64_t l) const { return featureNorms_.data() + l * width_; }
  const Matrix& fusion(int64_t l) const { return matrices_[static_cast<int>(l)]; }
  const float* norm() const { return norm_.data(); }
  /// Keys and values of layer l together.
  const Matrix& keys(int64_t l) const { return matrices_[static_cast<int>(fused_ + l)]; }
  Rope rope() const { return {frequency_, false}; }
  size_t bytes() const { return matrices_.bytes(); }

 private:
  uint32_t serial_;
  int64_t width_, fused_;
  std::vector<float> featureNorms_, norm_, frequency_;
  MatrixSet matrices_;
};

/// Packed parts that a head has in common with another one, which differs in the rest alone; null = of its own.
struct HeadParts {
  std::shared_ptr<const HeadContext> context = {};
  std::shared_ptr<const MatrixSet> layers = {};  ///< and what blocks begin with
  std::shared_ptr<const MatrixSet> output = {};  ///< rows over the draft vocabulary
};

class HeadWeights {
 public:
  /// Places in HeadParts::layers: what blocks begin with, then four matrices a layer.
  static constexpr int kJoinToken = 0, kJoinFeature = 1, kInject = 2, kMasks = 3, kBlockMatrices = 4;
  struct Layer {
    const float *attentionNorm, *mlpNorm;
    const Matrix *qkv, *output, *gateUp, *down;
  };

  /// `packing` may be another backend than the one that decodes, of the same kind. `shared`: parts of a head for the
  /// same target, whose numbers there are those of `source`. Throws HEAD_MISMATCH where the head does not fit the
  /// target.
  HeadWeights(const HeadSource& source, const Model& target, Backend& packing, const HeadFormats& formats = {},
              HeadParts shared = {});
  /// The same head for a target whose weights alone are others: it shares all but the rows over its vocabulary, which
  /// are those of the target and what the head adds to them.
  std::shared_ptr<const HeadWeights> updated(const Model& target, Backend& packing) const;

  const train::BlockHeadShape& shape() const { return own_->shape; }
  const std::vector<int>& fusedLayers() const { return own_->fusedLayers; }
  const std::shared_ptr<const HeadContext>& context() const { return parts_.context; }
  const HeadParts& parts() const { return parts_; }
  /// The token of a draft index, and the other way round: shape().vocabulary for tokens that it has none for.
  int32_t token(int32_t index) const { return own_->draft[index]; }
  int32_t place(int32_t token) const { return own_->place[token]; }

  const float* tokenNorm() const { return own_->tokenNorm.data(); }
  const Matrix& joinToken() const { return (*parts_.layers)[kJoinToken]; }
  const Matrix& joinFeature() const { return (*parts_.layers)[kJoinFeature]; }
  const Matrix& inject() const { return (*parts_.layers)[kInject]; }
  /// Row s for slot s; the first one is 0.
  const Matrix& masks() const { return (*parts_.layers)[kMasks]; }
  const std::vector<Layer>& layers() const { return own_->layers; }
  const float* outputNorm() const { return own_->outputNorm.data(); }
  const Matrix& output() const { return (*parts_.output)[0]; }
  /// The Markov term of draft index `next` after draft index `previous`.
  float markov(int32_t previous, int32_t next) const;
  /// Bytes of its packed parts and Markov rows.
  size_t bytes() const;
  /// … less those of parts that it shares with another head.
  size_t bytesBeside(const HeadWeights& other) const;

 private:
  /// All that does not depend on the target's weights.
  struct Own {
    train::BlockHeadShape shape;
    std::vector<int> fusedLayers;
    std::vector<int32_t> draft, place;
    train::OutputDelta delta;
    std::vector<float> tokenNorm, outputNorm, before, after;
    std::vector<std::vector<float>> layerNorms;  ///< attention, MLP, attention, …
    std::vector<Layer> layers;
  };

  HeadWeights(const HeadWeights& other) = default;
  std::shared_ptr<const MatrixSet> outputOf(const Model& target, Backend& packing) const;

  std::shared_ptr<const Own> own_;
  HeadParts parts_;
  Format outputFormat_;
};

}  // namespace foretoken
