// A pass as kernels see it: one array of 32-bit words, uploaded as a whole. It begins with this header, which says
// where each part of it lies; so that launches that are recorded once serve any pass, nothing else tells a kernel how
// many rows there are.
#pragma once
#include <cstdint>

#include "cuda/common/device.cuh"

namespace foretoken::cuda {

constexpr int kTileQueries = 16;

/// Up to kTileQueries queries (rows x query heads of one KV head) of neighbouring rows of one sequence: what one tile
/// of the tensor cores attends for.
struct AttentionTile {
  int32_t rowBegin, rowEnd;  ///< the sequence's run of rows; its queries are numbered row by row, head by head
  int32_t queryBegin;        ///< first query of the tile
  int32_t pages;             ///< first entry of the sequence's page table in the section `pages`
  int32_t longest;           ///< positions of the row that sees most
  int32_t shared;            ///< before this position all rows that see a position find it in the same page
  int32_t treeSlots;         ///< first of the run's side slots in the section `treeSlots`
};

constexpr int kPassLists = 4;

/// Offsets are in words from the header's begin, each a multiple of four.
struct PassHeader {
  int32_t rows, logitRows, tiles;
  int32_t maskWords;  ///< words of a row's mask of ancestors
  int32_t token, slot, logitRow;
  int32_t base;       ///< [rows] positions that the row finds through its sequence's pages …
  int32_t length;     ///< [rows] … and all that it sees: those behind `base` are its ancestors in the draft tree
  int32_t mask;       ///< [rows][maskWords] bit i: the run's side slot i is an ancestor (or the row itself)
  int32_t treeSlots;  ///< KV slots; a node comes after its ancestors, so bits in order are positions in order
  int32_t pages;      ///< page tables, one after the other
  int32_t tile;       ///< [tiles] AttentionTile
  int32_t rotary;     ///< [rows][headDim / 2] cosine and sine of the row's angles
  int32_t list[kPassLists], listCount[kPassLists];  ///< lists of rows
};

/// The parts of an uploaded pass.
class PassView {
 public:
  __host__ __device__ explicit PassView(const int32_t* words) : words_(words) {}
  __host__ __device__ const PassHeader& header() const { return *reinterpret_cast<const PassHeader*>(words_); }
  __host__ __device__ int rows() const { return header().rows; }
  __host__ __device__ const int32_t* at(int32_t offset) const { return words_ + offset; }
  __host__ __device__ const AttentionTile& tile(int index) const {
    return reinterpret_cast<const AttentionTile*>(words_ + header().tile)[index];
  }
  __host__ __device__ const float2* rotary(int row, int headDim) const {
    return reinterpret_cast<const float2*>(words_ + header().rotary) + static_cast<size_t>(row) * (headDim / 2);
  }

 private:
  const int32_t* words_;
};

/// The side bytes of KV slots.
struct Sides {
  uint8_t* base;
  int bytes;  ///< of a slot
  bool operator==(const Sides&) const = default;
  __device__ uint8_t* at(int slot) const { return base + static_cast<size_t>(slot) * bytes; }
};

}  // namespace foretoken::cuda
