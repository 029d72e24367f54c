// Steps of rows over slots, for whoever carries them out beside the CPU: the slots, by rows instead of tokens, and the
// rows that they name, gathered. The equations are RowLearner's.
#pragma once
#include <cstdint>
#include <vector>

namespace foretoken::learn {

struct RowOptions {
  float markov = 0.01f, output = 0.02f;  ///< rates; 0 = these rows stay as they are
  float clip = 1;                        ///< largest norm of a slot's gradient of Markov rows
  uint32_t often = 4;                    ///< uses of a token that earn it a row
};

/// Rows that a slot lists at most.
constexpr int kMostEntries = 32;

/// Slots in order, each with the rows that it lists: entries [first[s], first[s + 1]) of `row` and `logit`.
struct RowSlots {
  std::vector<int32_t> first{0}, row;
  std::vector<float> logit;         ///< by the target's rows alone
  std::vector<int32_t> before;      ///< by slot: the Markov row of the token before
  std::vector<int32_t> truth;       ///< by slot: which of its entries came
  std::vector<float> rest, weight;  ///< by slot, as in SlotExamples
  std::vector<uint16_t> state;      ///< bf16 [slots][width]

  int32_t slots() const { return static_cast<int32_t>(truth.size()); }
};

/// The rows, moved in place.
struct MovedRows {
  int64_t width, rank;
  std::vector<float> before, after;  ///< [.][rank]
  std::vector<float> delta;          ///< [rows][width], 0 where nothing is added yet
  std::vector<uint8_t> isMoved;      ///< [rows] whether something is
  int32_t room;                      ///< how many more rows may be
};

class RowSteps {
 public:
  virtual ~RowSteps() = default;
  /// One step for each slot, in order; returns how many were skipped as not finite. Throws OUT_OF_MEMORY where there is
  /// no memory for them; anything else is a failure.
  virtual int64_t step(const RowSlots&, MovedRows&, const RowOptions&) = 0;
  /// Of a device's memory, held from step to step.
  virtual size_t deviceBytes() const = 0;
};

}  // namespace foretoken::learn
