// Keys of hidden states, bit for bit as KeyProjection (native/backend.h) defines them: a block a row, whose threads
// take a number of the key and a part of the state each.
#pragma once
#include "backend.h"
#include "cuda/common/device.cuh"
#include "cuda/common/reduce.cuh"
#include "cuda/step/pass_view.cuh"

namespace foretoken::cuda {

constexpr int kProjectThreads = kKeyWidth * kKeyParts;
constexpr int kLengthLanes = 16;

struct ProjectArgs {
  const int32_t* pass;
  const float* hidden;  ///< [rows][width]
  int32_t width;
  const uint32_t* signs;  ///< KeyProjection::signs
  const float* centre;    ///< [kKeyWidth]
  Sides sides;
  bool operator==(const ProjectArgs&) const = default;
};

/// Of a row, the signed sum of the numbers of words [begin, end) of `signs`, for number j of the key.
__device__ inline float projectPart(const ProjectArgs& a, const float* h, int begin, int end, int j) {
  float sum = 0;
  for (int word = begin; word < end; ++word) {
    uint32_t signs = a.signs[word * kKeyWidth + j];
    const int count = a.width - 32 * word < 32 ? a.width - 32 * word : 32;
    for (int k = 0; k < count; ++k, signs <<= 1)
      sum += __uint_as_float(__float_as_uint(h[32 * word + k]) ^ (signs & 0x80000000u));
  }
  return sum;
}

/// One lane of a squared length: the squares of every sixteenth number.
__device__ inline float lengthLane(const float* x, int count, int lane) {
  float sum = 0;
  for (int k = lane; k < count / kLengthLanes * kLengthLanes; k += kLengthLanes) sum += x[k] * x[k];
  return sum;
}
/// The squared length from its lanes.
__device__ inline float addLanes(const float* lane, const float* x, int count) {
  float sum[kLengthLanes];
#pragma unroll
  for (int i = 0; i < kLengthLanes; ++i) sum[i] = lane[i];
#pragma unroll
  for (int half = kLengthLanes / 2; half > 0; half /= 2)
#pragma unroll
    for (int i = 0; i < half; ++i) sum[i] += sum[i + half];
  for (int k = count / kLengthLanes * kLengthLanes; k < count; ++k) sum[0] += x[k] * x[k];
  return sum[0];
}

/// Grid: rows.
static __global__ void __launch_bounds__(kProjectThreads) project(ProjectArgs a) {
  static_assert(kLengthLanes <= kKeyParts);
  __shared__ float sums[kKeyParts][kKeyWidth], lanes[kLengthLanes], direction[kKeyWidth];
  const int row = blockIdx.x, j = threadIdx.x % kKeyWidth, part = threadIdx.x / kKeyWidth;
  const PassView pass(a.pass);
  if (row >= pass.rows()) return;
  const int words = ceilDiv(a.width, 32), each = ceilDiv(words, kKeyParts);
  const int begin = part * each < words ? part * each : words, end = begin + each < words ? begin + each : words;
  const float* const h = a.hidden + static_cast<int64_t>(row) * a.width;
  sums[part][j] = projectPart(a, h, begin, end, j);
  if (j == 0 && part < kLengthLanes) lanes[part] = lengthLane(h, a.width, part);
  __syncthreads();
  if (part == 0) {
    float p = 0;
    for (int i = 0; i < kKeyParts; ++i) p += sums[i][j];
    direction[j] = p / sqrtf(addLanes(lanes, h, a.width)) - a.centre[j];
  }
  __syncthreads();
  if (part > 0) return;
  float ofDirection[kLengthLanes];
  for (int i = 0; i < kLengthLanes; ++i) ofDirection[i] = lengthLane(direction, kKeyWidth, i);
  // NaN and infinity where there is no direction.
  const float value = direction[j] * (127.0f / sqrtf(addLanes(ofDirection, direction, kKeyWidth)));
  auto* const key = reinterpret_cast<int8_t*>(a.sides.at(pass.at(pass.header().slot)[row]));
  key[j] = value > -127.5f && value < 127.5f ? static_cast<int8_t>(rintf(value)) : 0;
}

}  // namespace foretoken::cuda
