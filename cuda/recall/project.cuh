// Keys of hidden states, as KeyProjection (native/backend.h) defines them but for the order of its sums: a block a row,
// whose threads take a number of the key each, and a sixteenth of the state's numbers.
#pragma once
#include "backend.h"
#include "cuda/common/device.cuh"
#include "cuda/common/reduce.cuh"
#include "cuda/step/pass_view.cuh"

namespace foretoken::cuda {

constexpr int kProjectParts = 16;
constexpr int kProjectThreads = kKeyWidth * kProjectParts;

struct ProjectArgs {
  const int32_t* pass;
  const float* hidden;  ///< [rows][width]
  int32_t width;
  const uint32_t* signs;  ///< KeyProjection::signs
  const float* centre;    ///< [kKeyWidth]
  Sides sides;
  bool operator==(const ProjectArgs&) const = default;
};

/// Of a row, the numbers of words [begin, end) of `signs`: their signed sum for number j, and their squares.
__device__ inline void projectPart(const ProjectArgs& a, const float* h, int begin, int end, int j, float* sum,
                                   float* squares) {
  *sum = *squares = 0;
  for (int word = begin; word < end; ++word) {
    uint32_t signs = a.signs[word * kKeyWidth + j];
    const int count = a.width - 32 * word < 32 ? a.width - 32 * word : 32;
    for (int k = 0; k < count; ++k, signs <<= 1) {
      const float value = h[32 * word + k];
      *sum += __uint_as_float(__float_as_uint(value) ^ (signs & 0x80000000u));
      *squares = fmaf(value, value, *squares);
    }
  }
}

/// Grid: rows.
static __global__ void __launch_bounds__(kProjectThreads) project(ProjectArgs a) {
  __shared__ float sums[kProjectParts][kKeyWidth], squares[kProjectParts], direction[kKeyWidth];
  const int row = blockIdx.x, j = threadIdx.x % kKeyWidth, part = threadIdx.x / kKeyWidth;
  const PassView pass(a.pass);
  if (row >= pass.rows()) return;
  const int words = ceilDiv(a.width, 32), each = ceilDiv(words, kProjectParts);
  const int begin = part * each < words ? part * each : words, end = begin + each < words ? begin + each : words;
  float sum, square;
  projectPart(a, a.hidden + static_cast<int64_t>(row) * a.width, begin, end, j, &sum, &square);
  sums[part][j] = sum;
  if (j == 0) squares[part] = square;
  __syncthreads();
  if (part == 0) {
    float p = 0, length = 0;
    for (int i = 0; i < kProjectParts; ++i) p += sums[i][j], length += squares[i];
    direction[j] = p / sqrtf(length) - a.centre[j];
  }
  __syncthreads();
  if (part > 0) return;
  float length = 0;
  for (int i = 0; i < kKeyWidth; ++i) length = fmaf(direction[i], direction[i], length);
  const float value = direction[j] * (127.0f / sqrtf(length));  // NaN and infinity where there is no direction
  auto* const key = reinterpret_cast<int8_t*>(a.sides.at(pass.at(pass.header().slot)[row]));
  key[j] = value > -127.5f && value < 127.5f ? static_cast<int8_t>(rintf(value)) : 0;
}

}  // namespace foretoken::cuda
