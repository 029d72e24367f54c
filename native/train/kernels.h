// What training computes on one row or one tile, per instruction set. All matrices are fp32 in rows; widths of rows are
// multiples of 16 (kRowMultiple).
//
// Each function is written once (*-inl.h) and compiled once per instruction set (kernels_*.cc).
#pragma once
#include <cstddef>
#include <cstdint>

#include "cpu/isa.h"
#include "train/formulas.h"

namespace foretoken::train {

constexpr int64_t kRowMultiple = 16;
/// Tokens that a row's label can list.
constexpr int64_t kMostListed = 128;

/// A matrix where it lies: element (r, c) at data[r * rowStride + c * columnStride]; one of the strides is 1.
struct MatrixView {
  const float* data;
  int64_t rows, columns, rowStride, columnStride;

  MatrixView transposed() const { return {data, columns, rows, columnStride, rowStride}; }
};
/// Rows without gaps.
inline MatrixView rowsOf(const float* data, int64_t rows, int64_t columns) { return {data, rows, columns, columns, 1}; }

/// The label of a row by its likeliest tokens: the target's probabilities, restricted to the draft vocabulary.
struct RowLabel {
  const int32_t* token;      ///< indices in the draft vocabulary, each at most once; negative = none
  const float* probability;  ///< of each token listed
  int64_t count;             ///< how many are listed, at most kMostListed
  float rest;                ///< of all tokens of the draft vocabulary that are not listed, together
};
/// What a row is trained for: weight * (kl * KL(p || q) + rejection * (1 - sum min(p, q))).
struct LossWeights {
  float kl = 1, rejection = 0;
};
struct RowLoss {
  float kl = 0;          ///< KL(p || q); 0 where they agree
  float acceptance = 0;  ///< sum min(p, q): how likely a sampled draft would be accepted
  int32_t top = 0;       ///< the draft's likeliest token
};

struct KeyRange {
  int64_t begin, end;
};
/// Queries and keys of one sequence for the query heads that share one key head. Row i of x starts at x + i * stride.
struct AttentionRows {
  int64_t queries, keys, heads, width;  ///< heads: query heads of the group; width: of one head
  int64_t queryStride;
  const int64_t* firstRange;  ///< [queries + 1]: where a query's ranges start
  const KeyRange* ranges;     ///< keys that it sees, none twice
  const float* const* key;    ///< [keys] rows of this key head
  const float* const* value;  ///< [keys]
};

struct TrainKernels {
  // Matrix products on tiles; see gemm-inl.h.
  int64_t tileRows, tileColumns, bytesPerPair;
  void (*pack)(MatrixView, int64_t first, int64_t tile, void* panel);
  void (*multiplyTile)(const void* a, const void* b, int64_t pairs, float* out, int64_t stride, int64_t rows,
                       int64_t columns, bool accumulate);

  // Rows; see rows-inl.h. `inverse` is what norm returned.
  float (*norm)(const float* x, const float* scale, float epsilon, int64_t width, float* y);
  void (*normBackward)(const float* x, const float* scale, float inverse, const float* dy, int64_t width, float* dx);
  void (*addNormScale)(const float* x, float inverse, const float* dy, int64_t begin, int64_t end, float* dscale);
  void (*swiglu)(const float* gate, const float* up, int64_t width, float* y);
  void (*swigluBackward)(const float* gate, const float* up, const float* dy, int64_t width, float* dgate, float* dup);
  void (*rotate)(float* x, int64_t heads, int64_t width, const float* cosine, const float* sine, bool back);
  float (*dot)(const float* x, const float* y, int64_t width);
  RowLoss (*listedLoss)(float* logits, int64_t width, const RowLabel&, const LossWeights&, float weight);
  RowLoss (*denseLoss)(float* logits, float* target, int64_t width, const LossWeights&, float weight);

  // Attention; see attention-inl.h. `scratch` holds attentionScratch(rows) floats.
  void (*attend)(const AttentionRows&, const float* q, float* out, float* logSum, float* scratch);
  void (*attendBackward)(const AttentionRows&, const float* q, const float* out, const float* logSum, const float* dout,
                         float* dq, float* const* dkey, float* const* dvalue, float* scratch);

  // Optimisers; see update-inl.h.
  void (*adamw)(const formula::AdamW&, float scale, const float* gradient, int64_t count, float* weight, float* mean,
                float* square);
  void (*sgd)(const formula::Momentum&, float scale, const float* gradient, int64_t count, float* weight,
              float* velocity);
  double (*squares)(const float* x, int64_t count);
};

/// Floats that attention needs beside its operands.
int64_t attentionScratch(const AttentionRows&);

extern const TrainKernels kTrainPortable, kTrainNeon, kTrainAvx2, kTrainAvx512;
const TrainKernels& trainKernels(Isa);

}  // namespace foretoken::train
