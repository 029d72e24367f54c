// A tiny language with a random embedding, of whose tokens a head can draft the first kToyVocabulary.
#pragma once
#include <vector>

#include "train/block_head.h"
#include "train_rig.h"

namespace foretoken::test {

constexpr int64_t kToyWidth = 32, kToyVocabulary = 32;

inline train::BlockHeadShape toyShape(int64_t rank, int64_t positions) {
  return {.width = kToyWidth,
          .fused = 2,
          .layers = 1,
          .inner = 32,
          .heads = {2, 1, 16},
          .vocabulary = kToyVocabulary,
          .rank = rank,
          .slots = 3,
          .positions = positions,
          .rotaryBase = 10000};
}

/// The target's tables of `tokens` tokens.
struct ToyTarget {
  std::vector<uint16_t> embedding;
  train::TargetTables target;

  explicit ToyTarget(int64_t tokens) {
    for (const float x : randomValues(tokens * kToyWidth, 7)) embedding.push_back(floatToBf16(x));
    target.embedding = embedding.data();
    for (int32_t t = 0; t < kToyVocabulary; ++t) {
      target.draft.push_back(t);
      const Floats row = of(t);
      target.output.insert(target.output.end(), row.begin(), row.end());
    }
    target.place = train::placesOf(target.draft, tokens);
    target.rowsOf = [this](std::span<const int32_t> wanted) {
      Floats rows;
      for (const int32_t token : wanted) {
        const Floats row = of(token);
        rows.insert(rows.end(), row.begin(), row.end());
      }
      return rows;
    };
  }
  ToyTarget(const ToyTarget&) = delete;
  ToyTarget& operator=(const ToyTarget&) = delete;

  Floats of(int32_t token) const {
    Floats row;
    for (int64_t i = 0; i < kToyWidth; ++i) row.push_back(bf16ToFloat(embedding[token * kToyWidth + i]));
    return row;
  }
};

}  // namespace foretoken::test
