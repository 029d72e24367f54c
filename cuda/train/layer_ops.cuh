// What a step of a head's layers is made of, over many rows: each operation as launches on one stream, none of which
// takes long.
#pragma once
#include <algorithm>

#include "cuda/common/memory.cuh"
#include "cuda/train/block_attention.cuh"
#include "cuda/train/block_rows.cuh"
#include "cuda/train/gate.cuh"
#include "cuda/train/linear_loss.cuh"
#include "cuda/train/norm.cuh"
#include "cuda/train/optimiser.cuh"
#include "cuda/train/rotary.cuh"
#include "cuda/train/round.cuh"

namespace foretoken::cuda {

/// The weights of a linear layer as products read them.
struct LinearWeights {
  const uint16_t* w;  ///< bf16 [outputs][inputs]
  int outputs, inputs;
  int64_t stride;  ///< of its rows
};

class LayerOps {
 public:
  LayerOps(Stream& stream, int processors) : stream_(stream.get()), processors_(processors) {}

  /// y [rows][outputs] = x w^T, or += with `add`.
  void linear(const uint16_t* x, const LinearWeights& w, int rows, float* y, bool add = false) const {
    product({{x, w.inputs, rows, false}, {w.w, w.stride, w.outputs, false}, w.inputs, y, w.outputs, add});
  }
  /// dx [rows][inputs] = dy w, or += with `add`.
  void inputGradient(const uint16_t* dy, const LinearWeights& w, int rows, float* dx, bool add = false) const {
    product({{dy, w.outputs, rows, false}, {w.w, w.stride, w.inputs, true}, w.outputs, dx, w.inputs, add});
  }
  /// dw [outputs][inputs] = dy^T x.
  void weightGradient(const uint16_t* dy, const uint16_t* x, const LinearWeights& w, int rows, float* dw) const {
    product({{dy, w.outputs, w.outputs, true}, {x, w.inputs, w.inputs, true}, rows, dw, w.inputs, false});
  }

  /// y, and x as it is in `kept`, which may be null.
  void norm(const NormRows& a, int rows, uint16_t* y, float* kept = nullptr) const {
    overRows(rows, a.width, [&](int first, dim3 grid) {
      return launch(normRows, grid, dim3(kNormRowThreads), 0, stream_, a, first, y, kept);
    });
  }
  void normBack(const NormRows& a, int rows, const float* dy, float* dx, bool add) const {
    overRows(rows, a.width, [&](int first, dim3 grid) {
      return launch(normRowsBack, grid, dim3(kNormRowThreads), 0, stream_, a, first, dy, dx, add);
    });
  }
  void rotate(const RotaryRows& a, int rows, bool back = false) const {
    overRows(rows, 2 * a.half * a.heads, [&](int first, dim3 grid) {
      return launch(rotateRows, grid, dim3(kRotaryThreads), 0, stream_, a, first, back);
    });
  }

  void gate(const float* gate, const float* up, int64_t count, uint16_t* y) const {
    overNumbers(count, [&](int64_t first, dim3 grid) {
      return launch(gateUp, grid, dim3(kPieceThreads), 0, stream_, gate, up, count, first, y);
    });
  }
  void gateBack(const float* gate, const float* up, const float* dy, int64_t count, uint16_t* dgate,
                uint16_t* dup) const {
    overNumbers(count, [&](int64_t first, dim3 grid) {
      return launch(gateUpBack, grid, dim3(kPieceThreads), 0, stream_, gate, up, dy, count, first, dgate, dup);
    });
  }
  void round(const float* x, int64_t count, uint16_t* y) const {
    overNumbers(count, [&](int64_t first, dim3 grid) {
      return launch(roundNumbers, grid, dim3(kPieceThreads), 0, stream_, x, count, first, y);
    });
  }
  /// y [rows][width] = the rows of x that `row` names.
  void gather(const uint16_t* x, const int32_t* row, int rows, int width, uint16_t* y) const {
    const int64_t count = int64_t{rows} * width;
    overNumbers(count, [&](int64_t first, dim3 grid) {
      return launch(gatherRows, grid, dim3(kPieceThreads), 0, stream_, x, row, width, count, first, y);
    });
  }
  void start(const float* joined, const float* injected, const float* mask, int slots, int width, int rows,
             float* x) const {
    const int64_t count = int64_t{rows} * width;
    overNumbers(count, [&](int64_t first, dim3 grid) {
      return launch(startBlocks, grid, dim3(kPieceThreads), 0, stream_, joined, injected, mask, slots, width, count,
                    first, x);
    });
  }

  /// Of blocks that see at most `keys` keys; `rounded` as `out`.
  void attend(const BlockAttention& a, int keys, uint16_t* rounded) const {
    const std::vector<int> first = planBlockAttention(a, keys, processors_);
    for (size_t i = 0; i + 1 < first.size(); ++i)
      check(launch(attendBlocks, blocks(a.queryHeads, a), slots(a), KeyTiles::bytes(a, 1), stream_, a, first[i],
                   first[i + 1], rounded));
  }
  void attendBack(const BlockAttention& a, int keys, const BlockAttentionGradient& g) const {
    const std::vector<int> first = planBlockAttention(a, keys, processors_);
    for (size_t i = 0; i + 1 < first.size(); ++i)
      check(launch(attendBlocksBack, blocks(a.queryHeads, a), slots(a), KeyTiles::bytes(a, 2), stream_, a, g, first[i],
                   first[i + 1]));
    check(launch(ownKeysBack, blocks(a.keyHeads, a), slots(a), 0, stream_, a, g));
  }

  void loss(std::span<const LossTerm> terms, const TargetState& target, int rows, const LossArgs& loss,
            const LossScratch& scratch) const {
    const LinearLossPlan plan(terms, &target, rows, loss, scratch, processors_);
    for (size_t i = 0; i < plan.size(); ++i) check(plan.run(i, stream_));
  }

  /// `partial` [count / kNormPiece, rounded up].
  void clip(const float* gradient, int64_t count, float most, double* partial, Clip* clip) const {
    static_assert(kElementSlice % kNormPiece == 0);
    for (int64_t first = 0; first < count; first += kElementSlice) {
      const int64_t here = std::min(count - first, kElementSlice);
      check(launch(sumSquares, dim3(static_cast<unsigned>(ceilDiv(here, int64_t{kNormPiece}))), dim3(kStepThreads), 0,
                   stream_, gradient + first, here, partial + first / kNormPiece));
    }
    const auto pieces = static_cast<int>(ceilDiv(count, int64_t{kNormPiece}));
    check(launch(finishNorm, dim3(1), dim3(kStepThreads), 0, stream_, partial, pieces, most, clip));
  }
  void adamw(const StepArgs& a, const formula::AdamW& rule, const Clip* clip) const {
    for (int64_t first = 0; first < a.count; first += kElementSlice)
      check(launchStep(adamwStep, a, rule, first, clip, stream_));
  }

 private:
  static void check(cudaError_t error) { require(error, "moving layers of a head"); }
  static dim3 blocks(int heads, const BlockAttention& a) {
    return dim3(static_cast<unsigned>(heads), static_cast<unsigned>(a.anchors));
  }
  static dim3 slots(const BlockAttention& a) { return dim3(static_cast<unsigned>(a.slots * kWarp)); }

  void product(const GemmArgs& g) const {
    for (const GemmSlice& slice : planGemm(g, processors_)) check(launchGemm(g, slice, stream_));
  }
  template <class Run>
  void overRows(int rows, int width, Run run) const {
    const auto step = static_cast<int>(std::max<int64_t>(1, kElementSlice / width));
    for (int first = 0; first < rows; first += step)
      check(run(first, dim3(static_cast<unsigned>(std::min(step, rows - first)))));
  }

  template <class Run>
  void overNumbers(int64_t count, Run run) const {
    for (int64_t first = 0; first < count; first += kElementSlice) check(run(first, pieceGrid(first, count)));
  }

  cudaStream_t stream_;
  int processors_;
};

}  // namespace foretoken::cuda
