// Texts that the target has verified, with what it made of them: what a tenant's head learns from, again and again,
// what is new more often than what is old.
#pragma once
#include <cstdint>
#include <deque>
#include <vector>

#include "learn/slot_examples.h"
#include "learn/verified_text.h"
#include "train/labelled_blocks.h"

namespace foretoken::learn {

/// What makes label states of the last layer's output.
struct OutputNorm {
  std::vector<float> scale;
  float epsilon;
};

/// Expands a text for training; `fused`: layers that are fused. False where a number is not finite.
bool expand(const VerifiedText& text, int64_t fused, const OutputNorm& norm, train::TrainSequence& out);

/// A text to learn from.
struct Lesson {
  VerifiedText text;  ///< without what was kept of it where only rows learn
  SlotExamples slots;
};

/// One tenant's lessons, bounded by bytes: the oldest goes first.
class Replay {
 public:
  explicit Replay(size_t bytes) : budget_(bytes) {}

  void add(Lesson lesson);
  /// A text, newer ones more often: half of the picks (`noise` 0..1) are from the newest quarter.
  const Lesson& pick(double noise) const;
  void clear() { lessons_.clear(), bytes_ = 0, positions_ = 0; }
  bool empty() const { return lessons_.empty(); }
  int64_t positions() const { return positions_; }
  size_t bytes() const { return bytes_; }

 private:
  const size_t budget_;
  size_t bytes_ = 0;
  int64_t positions_ = 0;
  std::deque<Lesson> lessons_;  ///< oldest first
};

}  // namespace foretoken::learn
