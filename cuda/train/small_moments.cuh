// AdamW with moments of 8 bits: 12 bytes of weights, gradients and moments a number less go through memory than with
// fp32.
//
// Blocks of 256 numbers share two scales. A code is e4m3: of the mean, and of the root of the square, whose range is
// half as wide in powers of two. Both are rounded up or down at random, so that on average they are what they should
// be: a change of 5 % would otherwise always be rounded away. The random numbers are Philox's of (seed, number), so
// that a step can be repeated; the seed is another one each step.
#pragma once
#include "common/philox.h"
#include "cuda/common/reduce.cuh"
#include "cuda/train/optimiser.cuh"
#include "quant/float_codecs.h"

namespace foretoken::cuda {

constexpr int kMomentBlock = 256;
constexpr float kGreatestCode = 448;

struct SmallMoments {
  uint8_t* mean;     ///< [count]
  uint8_t* root;     ///< [count]
  float* meanScale;  ///< [blocks]
  float* rootScale;  ///< [blocks]
};

/// The e4m3 code of x (at most 448), one of the two nearest; the nearer x is to one of them, the likelier.
__device__ inline uint8_t roundedAtRandom(float x, uint32_t random) {
  const uint32_t sign = __float_as_uint(x) & 0x80000000u, magnitude = __float_as_uint(x) & 0x7fffffffu;
  constexpr uint32_t kDropped = (1u << 20) - 1;  // e4m3 has three of the 23 bits of a mantissa
  const float large = __uint_as_float((magnitude + (random & kDropped)) & ~kDropped);
  // Below 2^-6 codes are multiples of 2^-9.
  const float small = floorf(__uint_as_float(magnitude) * 512 + static_cast<float>(random >> 8) * 0x1p-24f) / 512;
  const float value = magnitude < __float_as_uint(0x1p-6f) ? small : large;
  return floatToE4m3(__uint_as_float(__float_as_uint(value < kGreatestCode ? value : kGreatestCode) | sign));
}

/// A thread a number, a block a block of them, from block `first` on.
static __global__ void __launch_bounds__(kMomentBlock)
    smallAdamwStep(StepArgs a, SmallMoments moments, formula::AdamW rule, uint64_t seed, int64_t first,
                   const Clip* clip) {
  __shared__ float scratch[kMomentBlock / kWarp];
  if (!clip->finite) return;
  const int64_t block = first + blockIdx.x, i = block * kMomentBlock + threadIdx.x;
  const bool there = i < a.count;
  float mean = 0, square = 0;
  if (there) {
    const float root = e4m3ToFloat(moments.root[i]) * moments.rootScale[block];
    mean = e4m3ToFloat(moments.mean[i]) * moments.meanScale[block];
    square = root * root;
    const int64_t w = a.weightOf(i);
    formula::adamw(rule, clip->scale * a.gradient[i], a.weight[w], mean, square);
    if (a.rounded) a.rounded[w] = fromFloat(Bf16(), a.weight[w]);
  }
  const float root = sqrtf(square);
  const float meanScale = blockReduce(fabsf(mean), scratch, kMomentBlock / kWarp, Max()) / kGreatestCode;
  const float rootScale = blockReduce(root, scratch, kMomentBlock / kWarp, Max()) / kGreatestCode;
  if (threadIdx.x == 0) moments.meanScale[block] = meanScale, moments.rootScale[block] = rootScale;
  if (!there) return;
  const auto number = static_cast<uint64_t>(i);
  const PhiloxBlock random = philox({{static_cast<uint32_t>(number), static_cast<uint32_t>(number >> 32), 0, 1}},
                                    static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  moments.mean[i] = roundedAtRandom(meanScale > 0 ? mean / meanScale : 0.0f, random.word[0]);
  moments.root[i] = roundedAtRandom(rootScale > 0 ? root / rootScale : 0.0f, random.word[1]);
}

/// The part of a step's launches from number `first` (a multiple of kMomentBlock) on.
inline cudaError_t launchSmallStep(const StepArgs& a, const SmallMoments& moments, const formula::AdamW& rule,
                                   uint64_t seed, int64_t first, const Clip* clip, cudaStream_t stream) {
  const int64_t count = a.count - first < kElementSlice ? a.count - first : kElementSlice;
  if (count <= 0) return cudaSuccess;
  return launch(smallAdamwStep, dim3(static_cast<unsigned>(ceilDiv(count, int64_t{kMomentBlock}))), dim3(kMomentBlock),
                0, stream, a, moments, rule, seed, first / kMomentBlock, clip);
}

}  // namespace foretoken::cuda
