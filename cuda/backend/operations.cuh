// The launches that a pass is made of, each with its arguments: what a tape notes.
#pragma once
#include "cuda/attention/instances.h"
#include "cuda/gemm/large.h"
#include "cuda/gemm/skinny.h"
#include "cuda/recall/project.cuh"
#include "cuda/step/embed.cuh"
#include "cuda/step/heads.cuh"
#include "cuda/step/norm.cuh"
#include "cuda/step/rows.cuh"

namespace foretoken::cuda {

/// A grid of all columns and rows for the kernels of step/rows.cuh.
inline dim3 rowGrid(int width, int rows) { return dim3(ceilDiv(width, kRowThreads), rows); }

struct EmbedOp {
  const int32_t* pass;
  SkinnyFormat format;
  SkinnyWeights table;
  float* out;
  int rows;
  bool operator==(const EmbedOp&) const = default;
  cudaError_t operator()(cudaStream_t stream) const {
    const dim3 grid(ceilDiv(table.cols, kEmbedThreads), rows);
    return launch(embedTokens, grid, dim3(kEmbedThreads), 0, stream, pass, format, table, out);
  }
};

struct NormaliseOp {
  NormArgs args;
  bool operator==(const NormaliseOp&) const = default;
  cudaError_t operator()(cudaStream_t stream) const {
    return launch(normalise, dim3(args.out.tokens), dim3(kNormThreads), 0, stream, args);
  }
};

struct ProductOp {
  SkinnyFormat format;
  SkinnyPlan plan;
  SkinnyWeights weights;
  Activations in;
  SkinnyOutput out;
  bool operator==(const ProductOp&) const = default;
  cudaError_t operator()(cudaStream_t stream) const { return multiplySkinny(format, plan, weights, in, out, stream); }
};

struct QuantizeOp {
  QuantizeArgs args;
  bool operator==(const QuantizeOp&) const = default;
  cudaError_t operator()(cudaStream_t stream) const {
    return launch(normaliseToCodes, dim3(args.out.tokens), dim3(kNormThreads), 0, stream, args);
  }
};

struct LargeProductOp {
  LargeWeights weights;
  LargeInputs in;
  Output out;
  bool operator==(const LargeProductOp&) const = default;
  cudaError_t operator()(cudaStream_t stream) const { return multiplyLarge(weights, in, out, stream); }
};

struct AddListedOp {
  const int32_t* pass;
  int list;
  const float* in;
  float* out;
  int width, rows;
  bool operator==(const AddListedOp&) const = default;
  cudaError_t operator()(cudaStream_t stream) const {
    return launch(addListed, rowGrid(width, rows), dim3(kRowThreads), 0, stream, pass, list, in, out, width);
  }
};

struct KeepOp {
  const int32_t* pass;
  float* rows;  ///< activations, read or written
  int width;
  Sides sides;
  int offset, count;
  bool back;  ///< from the side bytes to the rows
  bool operator==(const KeepOp&) const = default;
  cudaError_t operator()(cudaStream_t stream) const {
    const dim3 grid = rowGrid(width, count), block(kRowThreads);
    return back ? launch(keptRows, grid, block, 0, stream, pass, sides, offset, rows, width)
                : launch(keepRows, grid, block, 0, stream, pass, rows, width, sides, offset);
  }
};

struct ProjectOp {
  ProjectArgs args;
  int rows;
  bool operator==(const ProjectOp&) const = default;
  cudaError_t operator()(cudaStream_t stream) const {
    return launch(project, dim3(rows), dim3(kProjectThreads), 0, stream, args);
  }
};

struct HeadsOp {
  HeadsArgs args;
  int rows;
  bool operator==(const HeadsOp&) const = default;
  cudaError_t operator()(cudaStream_t stream) const {
    const dim3 grid(rows, ceilDiv(args.heads + 2 * args.kvHeads, kHeadWarps));
    return launch(adjustHeads, grid, dim3(kHeadWarps * kWarp), 0, stream, args);
  }
};

template <class Codec>
struct AppendOp {
  AppendArgs args;
  int rows;
  bool operator==(const AppendOp&) const = default;
  cudaError_t operator()(cudaStream_t stream) const { return launchAppend<Codec>(args, rows, stream); }
};

template <class Codec>
struct AttendOp {
  AttendArgs args;
  AttentionExtent extent;
  bool operator==(const AttendOp&) const = default;
  cudaError_t operator()(cudaStream_t stream) const { return launchAttend<Codec>(args, extent, stream); }
};

}  // namespace foretoken::cuda
