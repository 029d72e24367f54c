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
  VerifiedText text;  ///< with what was kept of it while it is whole: layers learn from that, rows need the slots alone
  SlotExamples slots;
};

/// One tenant's lessons, bounded by bytes: the oldest goes first, and loses what was kept of it before. Each has slots
/// when it comes.
class Replay {
 public:
  /// `bytes`: of tokens and slots; `kept`: of what is kept of whole texts.
  Replay(size_t bytes, size_t kept) : budget_(bytes), keptBudget_(kept) {}

  void add(Lesson lesson);
  /// A text that has slots, of which there is one; newer ones more often: half of the picks (`noise` 0..1) are from the
  /// newest quarter.
  const Lesson& pick(double noise) const { return newest(noise, withSlots_); }
  /// The same of whole texts, of which there is one.
  const VerifiedText& pickWhole(double noise) const { return newest(noise, whole_).text; }
  /// What layers made of the texts is void.
  void dropSlots();
  void clear() { lessons_.clear(), bytes_ = 0, keptBytes_ = 0, positions_ = 0, withSlots_ = 0, whole_ = 0; }
  bool empty() const { return lessons_.empty(); }
  int64_t positions() const { return positions_; }
  size_t textsWithSlots() const { return withSlots_; }
  size_t wholeTexts() const { return whole_; }
  size_t bytes() const { return bytes_ + keptBytes_; }

 private:
  const Lesson& newest(double noise, size_t count) const;
  void dropOldest();

  const size_t budget_, keptBudget_;
  size_t bytes_ = 0, keptBytes_ = 0;
  int64_t positions_ = 0;
  std::deque<Lesson> lessons_;        ///< oldest first
  size_t withSlots_ = 0, whole_ = 0;  ///< how many of the newest have slots, and are whole
};

}  // namespace foretoken::learn
