// Matrix products of a warp as PTX defines them: mma.sync and ldmatrix, lane by lane. Products are exact; sums are fp32
// in ascending order of k (a device's own order is not documented, so results are compared within a tolerance).
#pragma once
#include "cuda/simt/block.h"
#include "quant/float_codecs.h"

namespace foretoken::simt {

struct MmaFrame {
  float* d;
  const uint32_t *a, *b;
};

/// Element `index` (0 or 1) of a register of two 16-bit floats.
template <float (*decode)(uint16_t)>
float element(uint32_t pair, int index) {
  return decode(static_cast<uint16_t>(pair >> (16 * index)));
}

/// d (16x8) += a (16x16) b (16x8). Lane l holds, with g = l / 4 and t = l % 4: of a rows g and g + 8, columns 2t, 2t +
/// 1, then 8 more; of b column g, rows 2t, 2t + 1, then 8 more; of d rows g and g + 8, columns 2t, 2t + 1.
template <float (*decode)(uint16_t)>
void mma16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const Where& where) {
  MmaFrame frame{d, a, b};
  collective(
      ~0u, "mma.sync", frame,
      [](auto& frames) {
        float wholeA[16][16], wholeB[16][8];
        for (int lane = 0; lane < kWarpLanes; ++lane) {
          const int g = lane / 4, t = lane % 4;
          for (int i = 0; i < 2; ++i) {
            for (int r = 0; r < 4; ++r)
              wholeA[g + r % 2 * 8][r / 2 * 8 + 2 * t + i] = element<decode>(frames[lane]->a[r], i);
            for (int r = 0; r < 2; ++r) wholeB[r * 8 + 2 * t + i][g] = element<decode>(frames[lane]->b[r], i);
          }
        }
        for (int lane = 0; lane < kWarpLanes; ++lane) {
          for (int i = 0; i < 4; ++i) {
            const int row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
            float sum = frames[lane]->d[i];
            for (int k = 0; k < 16; ++k) sum += wholeA[row][k] * wholeB[k][column];
            frames[lane]->d[i] = sum;
          }
        }
      },
      where);
}

struct MmaIntFrame {
  int* d;
  const uint32_t *a, *b;
};

/// d (16x8, int32) += a (16x32, int8) b (32x8, int8), exactly. As above with four columns of a, four rows of b a
/// register and 16 more in the second half.
inline void mma16x8x32(int (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], const Where& where) {
  MmaIntFrame frame{d, a, b};
  collective(
      ~0u, "mma.sync.s8", frame,
      [](auto& frames) {
        int wholeA[16][32], wholeB[32][8];
        for (int lane = 0; lane < kWarpLanes; ++lane) {
          const int g = lane / 4, t = lane % 4;
          for (int i = 0; i < 4; ++i) {
            for (int r = 0; r < 4; ++r)
              wholeA[g + r % 2 * 8][r / 2 * 16 + 4 * t + i] = static_cast<int8_t>(frames[lane]->a[r] >> (8 * i));
            for (int r = 0; r < 2; ++r)
              wholeB[r * 16 + 4 * t + i][g] = static_cast<int8_t>(frames[lane]->b[r] >> (8 * i));
          }
        }
        for (int lane = 0; lane < kWarpLanes; ++lane)
          for (int i = 0; i < 4; ++i)
            for (int k = 0; k < 32; ++k)
              frames[lane]->d[i] += wholeA[lane / 4 + i / 2 * 8][k] * wholeB[k][lane % 4 * 2 + i % 2];
      },
      where);
}

struct LoadMatrixFrame {
  const void* row;
  uint32_t* to;
};

/// Four 8x8 matrices of 16-bit elements: lane l brings the address of row l % 8 of matrix l / 8 and gets elements
/// 2t, 2t + 1 of row g of each; `transposed` gives column g's instead.
inline void loadMatrix4(uint32_t (&to)[4], const void* row, bool transposed, const Where& where) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0)
    block->fail("ldmatrix from an address that is no multiple of 16", where);
  LoadMatrixFrame frame{row, to};
  collective(
      ~0u, transposed ? "ldmatrix.trans" : "ldmatrix", frame,
      [transposed](auto& frames) {
        for (int lane = 0; lane < kWarpLanes; ++lane) {
          for (int matrix = 0; matrix < 4; ++matrix) {
            uint16_t pair[2];
            for (int i = 0; i < 2; ++i) {
              const int g = lane / 4, k = lane % 4 * 2 + i;
              const int r = transposed ? k : g, c = transposed ? g : k;
              std::memcpy(&pair[i], static_cast<const uint16_t*>(frames[matrix * 8 + r]->row) + c, 2);
            }
            frames[lane]->to[matrix] = pair[0] | uint32_t{pair[1]} << 16;
          }
        }
      },
      where);
}

}  // namespace foretoken::simt
