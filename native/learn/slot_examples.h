// What a head's rows over its draft vocabulary learn from: the slots of blocks, as the layers left them. It is small
// and needs no pass of the head.
#pragma once
#include <cstdint>
#include <vector>

#include "train/labelled_blocks.h"

namespace foretoken::learn {

/// Tokens by their ids, for a draft vocabulary may change. All by slot.
struct SlotExamples {
  /// The likeliest tokens, and the one that came if it is none of them.
  static constexpr int64_t kListed = train::kHeadCandidates + 1;

  std::vector<int32_t> previous, truth;  ///< the token before, the token that came
  std::vector<float> weight;             ///< relative to a first slot
  std::vector<int32_t> listed;           ///< [slots, kListed], negative = none
  std::vector<float> logit;              ///< of those listed, by the target's rows alone
  std::vector<float> rest;               ///< logarithm of the exponentials of all others
  std::vector<uint16_t> state;           ///< what the output layer sees, bf16 [slots, width]

  int64_t slots() const { return static_cast<int64_t>(truth.size()); }
  size_t bytes() const {
    return slots() * (4 * sizeof(int32_t) + kListed * 2 * sizeof(int32_t)) + state.size() * sizeof(uint16_t);
  }
};

/// The slots of a batch that count. `draft`: the tokens of logits; `given`: by the target's rows alone; `likely`: what
/// the likeliest tokens are found by [slots, draft tokens].
SlotExamples slotExamples(train::Ops& ops, const train::BlockHead& head, const train::LabelledBlocks& batch,
                          const train::TargetTables& target, const std::vector<int32_t>& draft,
                          const train::SlotLogits& given, const train::Floats& likely);

}  // namespace foretoken::learn
