// The tile registers of AMX, as instructions: some compilers' intrinsics do not say which memory they read.
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(FORETOKEN_EMULATED_AVX512)
#include <cmath>

#include "quant/float_codecs.h"
#endif

namespace foretoken {
namespace {

/// What ldtilecfg reads: rows, and bytes of a row, of each tile register.
struct TileShapes {
  uint8_t palette = 1, startRow = 0, reserved[14] = {};
  uint16_t rowBytes[16] = {};
  uint8_t rows[16] = {};

  void set(int tile, int tileRows, int bytes) {
    rows[tile] = static_cast<uint8_t>(tileRows);
    rowBytes[tile] = static_cast<uint16_t>(bytes);
  }
};
static_assert(sizeof(TileShapes) == 64);

#if defined(FORETOKEN_EMULATED_AVX512)

struct EmulatedTile {
  uint8_t rows[16][64];
};
inline thread_local TileShapes emulatedShapes;
inline thread_local EmulatedTile emulatedTiles[8];

inline void configureTiles(const TileShapes& shapes) {
  emulatedShapes = shapes;
  for (EmulatedTile& tile : emulatedTiles) tile = {};
}
inline void releaseTiles() { emulatedShapes = {}; }
template <int tile>
void clearTile() {
  emulatedTiles[tile] = {};
}
template <int tile>
void loadTile(const void* from, size_t stride) {
  for (int row = 0; row < emulatedShapes.rows[tile]; ++row)
    __builtin_memcpy(emulatedTiles[tile].rows[row], static_cast<const uint8_t*>(from) + row * stride,
                     emulatedShapes.rowBytes[tile]);
}
template <int tile>
void storeTile(void* to, size_t stride) {
  for (int row = 0; row < emulatedShapes.rows[tile]; ++row)
    __builtin_memcpy(static_cast<uint8_t*>(to) + row * stride, emulatedTiles[tile].rows[row],
                     emulatedShapes.rowBytes[tile]);
}
template <int sums, int a, int b>
void multiplyTiles() {
  const auto half = [](const uint8_t* at) {
    uint16_t bits;
    __builtin_memcpy(&bits, at, 2);
    return bf16ToFloat(bits);
  };
  for (int row = 0; row < emulatedShapes.rows[sums]; ++row)
    for (int lane = 0; lane < emulatedShapes.rowBytes[sums] / 4; ++lane) {
      float even = 0, odd = 0, sum;
      for (int k = 0; k < emulatedShapes.rowBytes[a] / 4; ++k) {
        const uint8_t *x = emulatedTiles[a].rows[row] + 4 * k, *w = emulatedTiles[b].rows[k] + 4 * lane;
        even = std::fma(half(x), half(w), even);
        odd = std::fma(half(x + 2), half(w + 2), odd);
      }
      uint8_t* const at = emulatedTiles[sums].rows[row] + 4 * lane;
      __builtin_memcpy(&sum, at, 4);
      sum += even + odd;
      __builtin_memcpy(at, &sum, 4);
    }
}

#else

/// Sets this thread's shapes and clears its tiles.
inline void configureTiles(const TileShapes& shapes) { asm volatile("ldtilecfg %0" ::"m"(shapes)); }
/// Gives the registers back, so that switching threads need not save them.
inline void releaseTiles() { asm volatile("tilerelease"); }
template <int tile>
inline void clearTile() {
  asm volatile("tilezero %%tmm%c0" ::"i"(tile));
}
template <int tile>
inline void loadTile(const void* from, size_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(tile) : "memory");
}
template <int tile>
inline void storeTile(void* to, size_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(tile) : "memory");
}
/// sums[row][lane] += the products of a's row and b's pairs of a lane, bf16.
template <int sums, int a, int b>
inline void multiplyTiles() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sums), "i"(a), "i"(b));
}

#endif

}  // namespace
}  // namespace foretoken
