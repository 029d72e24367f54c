// What an instruction-set path offers the rest of the backend: a table of functions, chosen once.
//
// Arithmetic is defined per output element; how a path blocks its loops is free, because no blocking changes a bit:
//   integer formats  Input rows become int8 per block of 32 columns b: s_b = amax_b / 127, q = rint(x * 127 / amax_b).
//   A block's
//                    integer dot product is exact. With d, m the weights' scales, acc = fma(t_b, s_b, acc) over b = 0,
//                    1, … with t_b = d * dot (nvfp4: fma(d1, dot1, d0 * dot0)), a zero of which is +0; q4_1 then
//                    acc = fma(m, s_b * sum(q), acc). The result is acc (mxfp4: acc / 2, nvfp4: acc * (global / 2),
//                    for dots count halves). So all paths agree bit for bit.
//   float formats    Weights become fp32 exactly; inputs stay fp32 (f32, f16) or are rounded to bf16 (bf16, fp8). Four
//   chains of
//                    fused multiply-adds over the columns k = c, c + 4, …; the result is (c0 + c1) + (c2 + c3), times
//                    the row's scale (fp8). avx512 takes vdpbf16ps for bf16 and fp8 and differs from the others there;
//                    avx512fp16 takes halves for fp8 (gemm_avx512fp16.cc), amx tiles for bf16 and fp8 (gemm_amx.cc).
#pragma once
#include <cstddef>
#include <cstdint>

#include "backend.h"
#include "cpu/isa.h"
#include "cpu/layout.h"

namespace foretoken {

/// W times rows that `prepare` has written.
struct Product {
  Format format;
  Layout layout;
  const uint8_t* weights;  ///< packed: header, panels
  const uint8_t* rows;     ///< prepared rows
  int count;               ///< of rows
  float* out;
  int64_t outWidth;
  Epilogue epilogue;
};

struct Kernels {
  /// Bytes of so many prepared rows, a multiple of 64.
  size_t (*preparedBytes)(Format, int64_t cols, int64_t rows);
  /// Normalises one input row (RMSNorm unless `norm` is null) and brings it into the form products of this format read,
  /// as prepared row number `row`.
  void (*prepare)(Format, const float* in, int64_t cols, const float* norm, float eps, uint8_t* rows, int64_t row);
  /// Scratch that multiply needs for so many rows.
  size_t (*scratchBytes)(int rows);
  /// Computes output rows of panels [first, last) for all prepared rows.
  void (*multiply)(const Product&, int64_t first, int64_t last, uint8_t* scratch);
  /// Adds a bias to a head, then normalises it; either may be null.
  void (*adjustHead)(float* head, int headDim, const float* bias, const float* norm, float eps);

  /// Reads all bytes (a multiple of 512, 64-byte aligned) at full speed; returns something that depends on them.
  uint64_t (*readAll)(const uint8_t* data, size_t bytes);
  /// Multiply-adds of the path's best int8 and bf16 dot products on registers alone, `rounds` times; returns how many.
  int64_t (*peakInt8)(int64_t rounds);
  int64_t (*peakBf16)(int64_t rounds);
};

const Kernels& kernels(Isa);

// One definition per path (gemm_*.cc).
const Kernels& portableKernels();
const Kernels& neonKernels();
const Kernels& avx2Kernels();
const Kernels& avx512Kernels();
const Kernels& avx512fp16Kernels();
const Kernels& amxKernels();

}  // namespace foretoken
