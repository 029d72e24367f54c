#include "train/labelled_blocks.h"

#include <algorithm>
#include <cmath>

#include "common/philox.h"

namespace foretoken::train {

LabelledBlocks labelledBlocks(const BlockHeadShape& shape, std::span<const TrainSequence> sequences,
                              const IsAnchor& isAnchor, float slotDecay) {
  LabelledBlocks batch;
  batch.blocks.features.resize(shape.fused);
  float total = 0;
  for (size_t n = 0; n < sequences.size(); ++n) {
    const TrainSequence& sequence = sequences[n];
    const auto length = static_cast<int64_t>(sequence.token.size());
    const auto first = static_cast<int32_t>(batch.blocks.rows());
    for (int64_t l = 0; l < shape.fused; ++l)
      batch.blocks.features[l].insert(batch.blocks.features[l].end(), sequence.features[l].begin(),
                                      sequence.features[l].end());
    for (int32_t i = 0; i < length; ++i) {
      batch.blocks.position.push_back(sequence.first + i);
      if (i + 1 < sequence.answer || i + 2 >= length || !isAnchor(n, i)) continue;
      batch.blocks.anchor.push_back(first + i);
      for (int64_t s = 0; s < shape.slots; ++s) {
        const int64_t before = std::min(i + 1 + s, length - 1);  // beyond the end: anything, it has no weight
        const bool counts = i + 1 + s < length;  // the target has said what it expects, even if nothing came
        batch.blocks.token.push_back(sequence.token[before]);
        batch.state.insert(batch.state.end(), sequence.state.begin() + before * shape.width,
                           sequence.state.begin() + (before + 1) * shape.width);
        batch.truth.push_back(i + 2 + s < length ? sequence.token[i + 2 + s] : -1);
        batch.weight.push_back(counts ? std::pow(slotDecay, static_cast<float>(s)) : 0.0f);
        total += batch.weight.back();
      }
    }
    batch.blocks.firstRow.push_back(batch.blocks.rows());
    batch.blocks.firstAnchor.push_back(batch.blocks.anchors());
  }
  if (total > 0)
    for (float& w : batch.weight) w /= total;
  return batch;
}

uint64_t mixedSeed(uint64_t seed, uint64_t number) {
  const PhiloxBlock block = philox({{static_cast<uint32_t>(number), static_cast<uint32_t>(number >> 32), 1, 0}},
                                   static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32));
  return uint64_t{block.word[1]} << 32 | block.word[0];
}

}  // namespace foretoken::train
