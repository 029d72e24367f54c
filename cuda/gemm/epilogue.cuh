// What becomes of a product's sums. Two neighbouring rows of a token come together, so that gate and up rows meet.
#pragma once
#include "cuda/common/device.cuh"

namespace foretoken::cuda {

enum class Finish : uint8_t {
  store,   ///< out = W x
  add,     ///< out += W x
  swiglu,  ///< rows are gate 0, up 0, gate 1, up 1, …: out[i] = silu(gate_i) * up_i
};

__device__ __forceinline__ float silu(float x) { return __fdividef(x, 1.0f + __expf(-x)); }

/// Where results go: [tokens][rows], or [tokens][rows / 2] for swiglu.
struct Output {
  float* out;
  Finish how;
  bool operator==(const Output&) const = default;

  /// Results of rows n and n + 1 (if there is one) of token m, n even.
  __device__ __forceinline__ void put(int m, int n, int rows, float first, float second) const {
    if (how == Finish::swiglu) {
      out[size_t(m) * (rows / 2) + n / 2] = silu(first) * second;
      return;
    }
    float* at = out + size_t(m) * rows + n;
    at[0] = how == Finish::add ? at[0] + first : first;
    if (n + 1 < rows) at[1] = how == Finish::add ? at[1] + second : second;
  }
};

/// The skinny product's: sums may have to wait for others of the same result.
struct SkinnyOutput : Output {
  float* sums;  ///< [part][tokens][rows]
  bool operator==(const SkinnyOutput&) const = default;

  __device__ __forceinline__ float* sum(int part, int m, int n, int tokens, int rows) const {
    return sums + (size_t(part) * tokens + m) * rows + n;
  }
  /// Sums that are whole, times everything that was left out of them.
  __device__ __forceinline__ void finish(int m, int n, int rows, float first, float second, float codec,
                                         const float* rowFactor, float tokenFactor) const {
    first = first * codec * rowFactor[n] * tokenFactor;
    if (n + 1 < rows) second = second * codec * rowFactor[n + 1] * tokenFactor;
    put(m, n, rows, first, second);
  }
};

}  // namespace foretoken::cuda
