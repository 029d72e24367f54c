// What becomes of a product's sums. Two neighbouring rows of a token come together, so that gate and up rows meet.
#pragma once
#include "cuda/common/device.cuh"

namespace foretoken::cuda {

enum class Finish : uint8_t {
  store,   ///< out = W x
  add,     ///< out += W x
  swiglu,  ///< rows are gate 0, up 0, gate 1, up 1, …: out[i] = silu(gate_i) * up_i
  geglu,   ///< the same with gelu(gate_i)
};
/// Whether two rows make one result.
constexpr bool isGated(Finish how) { return how == Finish::swiglu || how == Finish::geglu; }

/// x / (1 + e^-z), z of the sign of x.
__device__ __forceinline__ float timesSigmoid(float x, float z) { return __fdividef(x, 1.0f + __expf(-z)); }
__device__ __forceinline__ float silu(float x) { return timesSigmoid(x, x); }
/// x (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3), which is x / (1 + e^-2u).
__device__ __forceinline__ float gelu(float x) {
  return timesSigmoid(x, x * fmaf(x * x, 2 * 0.7978845608f * 0.044715f, 2 * 0.7978845608f));
}

/// Where results go: [tokens][rows], or [tokens][rows / 2] where they are gated.
struct Output {
  float* out;
  Finish how;
  bool operator==(const Output&) const = default;

  /// Results of rows n and n + 1 (if there is one) of token m, n even.
  __device__ __forceinline__ void put(int m, int n, int rows, float first, float second) const {
    if (isGated(how)) {
      out[size_t(m) * (rows / 2) + n / 2] = (how == Finish::geglu ? gelu(first) : silu(first)) * second;
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
