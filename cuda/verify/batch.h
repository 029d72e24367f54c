// Rows to be drawn as the device takes them, made of the engine's, and the memory that drawing works in.
#pragma once
#include <cstddef>
#include <vector>

#include "backend.h"
#include "cuda/verify/rows.h"

namespace foretoken::cuda {

/// Which kernels rows need.
struct DrawKinds {
  bool adjusts = false;  ///< bias or penalties
  bool weighs = false;   ///< a temperature above 0
  bool cuts = false;     ///< top-k or top-p
};

/// Everything here is copied to the device before a launch.
class DrawBatch {
 public:
  std::vector<DrawRow> rows;
  std::vector<int32_t> tokens, biasToken;
  std::vector<float> biasValue;
  int32_t tableEntries = 0;  ///< of all rows together
  DrawKinds kinds;

  void clear() {
    rows.clear(), tokens.clear(), biasToken.clear(), biasValue.clear();
    tableEntries = 0;
    kinds = {};
    shared_ = {};
  }

  void add(const SampleRow& from) {
    DrawRow row{};
    row.seed = from.seed;
    row.position = from.position;
    row.logitRow = from.logitRow;
    row.temperature = from.temperature;
    row.topK = from.topK;
    row.topP = from.topP;
    row.minP = from.minP;
    row.repetitionPenalty = from.repetitionPenalty;
    row.presencePenalty = from.presencePenalty;
    row.frequencyPenalty = from.frequencyPenalty;
    if (row.repetitionPenalty != 1 || row.presencePenalty != 0 || row.frequencyPenalty != 0) {
      row.history = shareHistory(from.history, from.historyLength);
      row.historyLength = from.historyLength;
      row.history2 = static_cast<int32_t>(tokens.size());
      row.history2Length = from.history2Length;
      tokens.insert(tokens.end(), from.history2, from.history2 + from.history2Length);
    }
    row.bias = static_cast<int32_t>(biasToken.size());
    row.biasCount = from.biasCount;
    biasToken.insert(biasToken.end(), from.biasToken, from.biasToken + from.biasCount);
    biasValue.insert(biasValue.end(), from.biasValue, from.biasValue + from.biasCount);
    row.table = tableEntries;
    row.tableSize = tableFor(row.historyLength + row.history2Length + row.biasCount);
    tableEntries += row.tableSize;
    kinds.adjusts |= row.tableSize > 0;
    kinds.weighs |= row.temperature > 0;
    kinds.cuts |= row.temperature > 0 && (row.topK > 0 || row.topP < 1);
    rows.push_back(row);
  }

 private:
  struct Shared {
    const int32_t* begin = nullptr;
    const int32_t* end = nullptr;
    int32_t at = 0;
  };

  static int32_t tableFor(int32_t tokens) {
    int32_t size = 0;
    for (; size < 2 * tokens; size = size == 0 ? 2 : 2 * size) {
    }
    return size;
  }
  /// Rows of one tree have most of their history in common.
  int32_t shareHistory(const int32_t* history, int32_t length) {
    const bool within = history >= shared_.begin && history + length <= shared_.end && shared_.begin != nullptr;
    if (!within) {
      shared_ = {history, history + length, static_cast<int32_t>(tokens.size())};
      tokens.insert(tokens.end(), history, history + length);
    }
    return shared_.at + static_cast<int32_t>(history - shared_.begin);
  }

  Shared shared_;
};

/// Gives `a` its scratch from `memory` on, for a.rows rows of a.vocabulary tokens and `tableEntries`; returns the bytes
/// that takes. With `memory` null it only counts. `arrived`, the first of it, must be 0 before the first launch.
template <class Logit>
size_t placeScratch(VerifyArgs<Logit>& a, int32_t tableEntries, unsigned char* memory) {
  size_t bytes = 0;
  const auto place = [&](auto*& pointer, size_t count) {
    constexpr size_t kAligned = 256;
    if (memory) pointer = reinterpret_cast<std::remove_reference_t<decltype(pointer)>>(memory + bytes);
    bytes = (bytes + count * sizeof(*pointer) + kAligned - 1) / kAligned * kAligned;
  };
  const auto rows = static_cast<size_t>(a.rows), table = static_cast<size_t>(tableEntries);
  const size_t chunks = (static_cast<size_t>(a.vocabulary) + kChunk - 1) / kChunk;
  place(a.arrived, rows);
  place(a.state, rows);
  place(a.chunkTop, rows * chunks);
  place(a.chunkMass, rows * chunks);
  place(a.bucketCount, rows * kBuckets);
  place(a.bucketMass, rows * kBuckets);
  place(a.list, rows * kListed);
  place(a.counted, table);
  place(a.overrideBegin, rows * (chunks + 1));
  place(a.overrideToken, table / 2);
  place(a.overrideValue, table / 2);
  return bytes;
}

}  // namespace foretoken::cuda
