// A draft head that proposes a block in one pass, for training.
//
// With i the last position that the target has computed, f_i its residual stream after some layers and x_{i+1} the
// token that it then said, slot s of the block at anchor i predicts x_{i+2+s}:
//
//     g_i = fc [norm_l(f_l,i)]_l            h_i = norm(g_i)               features of the target, fused
//     x_0 = join [norm(E[x_{i+1}]), h_i]    x_s = mask_{s-1} + inject h_i  rows of the block, at positions i + 1 + s
//     layers: attention over keys and values of h_j, j <= i, and of the block's rows up to s; then an MLP
//     logits_s = E_draft norm(x_s) + after before[x_{i+1+s}]              a Markov term on the token before
//
// E is the target's embedding and E_draft its output rows of the draft vocabulary; both stay as they are. Drafting,
// the Markov term corrects the likeliest candidates of each slot only, from left to right.
#pragma once
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "train/layers.h"
#include "train/optimiser.h"

namespace foretoken::train {

/// Candidates of a slot that the Markov term corrects when drafting.
constexpr int64_t kHeadCandidates = 16;

struct BlockHeadShape {
  int64_t width;   ///< of the target's residual stream
  int64_t fused;   ///< layers of the target whose features are fused
  int64_t layers;  ///< of the head
  int64_t inner;   ///< of its MLPs
  Heads heads;
  int64_t vocabulary;     ///< draft tokens; a multiple of 16
  int64_t rank;           ///< of the Markov term
  int64_t slots;          ///< tokens of a block at most
  int64_t positions;      ///< that a sequence can have
  float epsilon = 1e-5f;  ///< of norms
  double rotaryBase = 10000;

  bool operator==(const BlockHeadShape&) const = default;
};

/// What a head takes from its target as it is.
struct TargetTables {
  const uint16_t* embedding;   ///< bf16 [tokens, width]
  std::vector<int32_t> draft;  ///< the token of each draft index
  std::vector<int32_t> place;  ///< the draft index of each token; draft.size() where it has none
  Floats output;               ///< [draft tokens, width]
  /// Output rows of any tokens, one after the other.
  std::function<Floats(std::span<const int32_t>)> rowsOf;
};

/// What a head adds to its target's output rows of some draft tokens.
struct OutputDelta {
  std::vector<int32_t> place;  ///< draft indices, ascending
  Floats row;                  ///< [places, width]
};

/// A head as plain numbers.
struct HeadNumbers {
  Floats weights;              ///< as BlockHead::layoutOf(shape) says
  std::vector<int32_t> draft;  ///< the token of each draft index, each once
  OutputDelta delta;
};

/// What the output layer sees of blocks' slots, and their logits before the Markov term.
struct SlotLogits {
  Floats state;   ///< [slots of all blocks, width]
  Floats logits;  ///< [slots of all blocks, draft tokens]
};

/// The index of each of `tokens` tokens in a draft vocabulary; draft.size() where it has none. Throws HEAD_MISMATCH
/// where one of the vocabulary is none of them.
std::vector<int32_t> placesOf(const std::vector<int32_t>& draft, int64_t tokens);

/// Sequences with their features, and blocks at anchors in them.
struct BlockBatch {
  std::vector<Floats> features;         ///< of each fused layer [rows, width]
  std::vector<int32_t> position;        ///< of each row in its sequence
  std::vector<int64_t> firstRow{0};     ///< [sequences + 1]
  std::vector<int32_t> anchor;          ///< rows, ascending, none twice
  std::vector<int64_t> firstAnchor{0};  ///< [sequences + 1]
  std::vector<int32_t> token;           ///< [anchors, slots]: the token before each slot

  int64_t rows() const { return static_cast<int64_t>(position.size()); }
  int64_t anchors() const { return static_cast<int64_t>(anchor.size()); }
};

class BlockHead {
 public:
  explicit BlockHead(const BlockHeadShape& shape);
  BlockHead(const BlockHead&) = delete;
  BlockHead& operator=(const BlockHead&) = delete;

  /// Where the weights of such a head lie, at no cost: what computes has angles of all positions beside. Throws
  /// SHAPE_MISMATCH.
  static Parameters layoutOf(const BlockHeadShape& shape) { return BlockHead(shape, 0).parameters_; }

  const BlockHeadShape& shape() const { return shape_; }
  const Parameters& parameters() const { return parameters_; }
  /// Muon for the matrices of layers, AdamW for scales, masks and the Markov term.
  std::vector<Rule> rules() const;
  /// Weights before training: fusion passes the last fused layer on, layers add nothing yet, the Markov term is 0.
  /// outputScale: root mean square of what the target's output layer sees.
  Floats initial(uint64_t seed, float outputScale) const;

  /// Loss of every slot [anchors, slots]; gradients, weighted by `weight`, are added to pass.gradient.
  std::vector<RowLoss> train(const LayerPass&, const TargetTables&, const BlockBatch&, const Labels&,
                             const LossWeights&, const float* weight);

  /// The tokens that blocks propose [anchors, slots]; of batch.token the first slot's matter alone.
  std::vector<int32_t> draft(const LayerPass&, const TargetTables&, const BlockBatch&);

  /// Of blocks that are few enough for all their logits to exist together.
  SlotLogits logits(const LayerPass&, const TargetTables&, const BlockBatch&);
  /// The draft indices that a block of such logits proposes after draft index `previous`, of which slots() are written.
  /// `markov`: the weights from before() on.
  void walk(const float* markov, const float* logits, int32_t previous, int32_t* proposed) const;
  /// Draft indices of the likeliest tokens of a slot, likeliest first, before the Markov term: those that it corrects.
  void candidates(const float* logits, std::span<int32_t, kHeadCandidates> out) const;

  /// Where the Markov term lies, at the end of the weights: from before() on [draft tokens + 1, rank] for the token
  /// before, the last row for tokens that can't be drafted, and after() behind that [draft tokens, rank] for the token
  /// itself.
  int64_t before() const { return parameters_[before_].offset; }
  int64_t after() const { return parameters_[after_].offset - before(); }

 private:
  /// With angles of so many positions.
  BlockHead(const BlockHeadShape& shape, int64_t positions);

  struct Layer {
    Layer(Parameters&, const std::string& prefix, const BlockHeadShape&);
    NormLayer norm;
    AttentionLayer attention;
    MlpLayer mlp;
    // of the last pass
    Floats x, inverse, y, key, value;
    AttentionLayer::Saved attended;
    MlpLayer::Saved expanded;
  };

  void forward(const LayerPass&, const TargetTables&, const BlockBatch&);
  void backward(const LayerPass&, const BlockBatch&, Floats& dx);
  void start(const LayerPass&, const TargetTables&, const BlockBatch&, Floats& x);
  void startBackward(const LayerPass&, const BlockBatch&, const Floats& dx, Floats& dh);
  void forwardLayer(const LayerPass&, const BlockBatch&, Layer&, Floats& x);
  void backwardLayer(const LayerPass&, const BlockBatch&, Layer&, Floats& dx, Floats& dh);
  void gatherBefore(const LayerPass&, const TargetTables&, const BlockBatch&);

  BlockHeadShape shape_;
  Parameters parameters_;
  RotaryTable rotary_;
  FusionLayer fusion_;
  NormLayer contextNorm_, tokenNorm_;
  LinearLayer join_;
  int64_t mask_;
  LinearLayer inject_;
  std::vector<Layer> layers_;
  NormLayer outputNorm_;
  int64_t before_, after_;

  // Of the last pass: rows of context, rows of blocks, what the output sees.
  AttentionPlan plan_;
  std::vector<int32_t> blockPosition_;
  FusionLayer::Saved fused_;
  Floats g_, h_, contextInverse_;
  Floats embedded_, tokenInverse_, pair_, anchored_;
  Floats x_, z_, outputInverse_, markov_;
};

}  // namespace foretoken::train
