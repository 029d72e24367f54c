// Quantisers of rows of fp32 weights. They give the logical result, one code a byte and the scales beside it; how a
// backend lays that out in memory is the backend's own matter.
//
// Inputs are expected finite (validateScales in format/tensor_source.h refuses files that are not); others give
// unspecified codes, never undefined behaviour. Results do not depend on the instruction set.
#pragma once
#include <cstdint>

namespace foretoken {

constexpr int kNvfp4Block = 16;
constexpr int kMxfp4Block = 32;

/// Largest magnitude among `count` values; 0 for none.
float maxMagnitude(const float* values, int64_t count);

/// What a row of fp8 or a matrix of nvfp4 is multiplied by is no smaller, for its inverse would overflow or lose bits:
/// it counts as zeros instead.
constexpr float kSmallestScale = 0x1p-100f;

/// fp8: codes[i] is e4m3 of row[i] / scale, scale = amax / 448. Returns the scale, 1 for a row of zeros.
float quantizeRowFp8(const float* row, int64_t cols, uint8_t* codes);

/// The fp32 factor of a whole nvfp4 matrix with this largest magnitude: amax / (6 * 256), 1 for zeros. 256 rather than
/// 448 leaves every block's scale the room to grow by 1.5 (4/6 scaling, arXiv 2512.02010).
float nvfp4Global(float amax);

/// nvfp4: weight i = e2m1(codes[i]) * e4m3(scales[i / 16]) * global. Every block takes the e4m3 scale with the least
/// squared error out of those around amax / 6 up to those around amax / 4. codes[cols], scales[ceil(cols / 16)].
void quantizeRowNvfp4(const float* row, int64_t cols, float global, uint8_t* codes, uint8_t* scales);

/// mxfp4: weight i = e2m1(codes[i]) * e8m0(scales[i / 32]). The exponent is OCP's floor(log2(amax)) - 2 or the one
/// above, whichever has the smaller squared error. codes[cols], scales[ceil(cols / 32)].
void quantizeRowMxfp4(const float* row, int64_t cols, uint8_t* codes, uint8_t* scales);

/// Rounds to bf16, to nearest even.
void roundRowBf16(const float* row, int64_t cols, uint16_t* out);

/// Rounds to f16, to nearest even.
void roundRowF16(const float* row, int64_t cols, uint16_t* out);

/// The values that a quantised row stands for: code * scale in fp32; for nvfp4 code * (scale * global).
void dequantizeRowFp8(const uint8_t* codes, float scale, int64_t cols, float* out);
void dequantizeRowNvfp4(const uint8_t* codes, const uint8_t* scales, float global, int64_t cols, float* out);
void dequantizeRowMxfp4(const uint8_t* codes, const uint8_t* scales, int64_t cols, float* out);

}  // namespace foretoken
