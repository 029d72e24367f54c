// 2^x for x <= 0: the polynomial of native/cpu/vector_math-inl.h, the same operations on the same constants, so that
// both backends weigh a logit with the same bits. NaN and what is below -125 gives 0.
#pragma once
#include <cmath>

#include "cuda/common/device.cuh"

namespace foretoken::cuda {

__device__ inline float exp2(float x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low mantissa bits
  const float shifted = x + kMagic;
  const float f = x - (shifted - kMagic);
  float p = 1.5353362e-4f;
  p = fmaf(p, f, 1.3398875e-3f);
  p = fmaf(p, f, 9.6184369e-3f);
  p = fmaf(p, f, 5.5503324e-2f);
  p = fmaf(p, f, 2.4022648e-1f);
  p = fmaf(p, f, 6.9314718e-1f);
  p = fmaf(p, f, 1.0f);
  const float scaled = __uint_as_float(__float_as_uint(p) + (__float_as_uint(shifted) << 23));
  return x >= -125.0f ? scaled : 0.0f;
}

}  // namespace foretoken::cuda
