// Drafts with a head: one pass of the head gives a block of tokens for every sequence that asks.
//
// A position that the target has computed leaves features in its slot's side bytes; keys and values that the head makes
// of them lie in layers of their own behind the target's, in the same slots. So pages carry both, and whoever comes by
// them (prefix hits, commits, copies) has them. Keys and values are made when they are first asked for, of all
// positions since the last time together; a mark in the side bytes says for which context they are.
#pragma once
#include <memory>
#include <span>
#include <vector>

#include "backend.h"
#include "head/head_weights.h"
#include "kv/pages.h"
#include "kv/pass_builder.h"
#include "speculate/drafter.h"

namespace foretoken {

/// Where in the side bytes of a slot the mark lies, and the features: [fused layers][width], bf16.
constexpr int32_t kHeadMark = kKeyWidth;
constexpr int32_t kHeadFeatures = 2 * kKeyWidth;

/// Bytes that a slot needs beside its keys and values for heads like this one; `state`: also for the output of the
/// target's last layer, behind the features.
int32_t headSideBytes(const HeadWeights& head, bool state);

/// How far the keys and values of a sequence's positions are there for sure, as long as the turn of the context that
/// they were made with lasts: after it, another one may have written to pages that sequences share.
struct HeadProgress {
  uint32_t turn = 0;
  int32_t positions = 0;
};

/// A sequence that asks.
struct HeadAsk {
  std::span<const int32_t> tokens;  ///< all of it; the target has computed all but the last one
  const PageTable* table;           ///< with room for all tokens
  HeadProgress* known;              ///< in `table`; nothing for a new one
  int32_t maxDepth;                 ///< at least 1
  std::span<DraftNode> out;
  int count = 0;    ///< nodes written to `out`
  int context = 0;  ///< positions whose keys and values were made
};

class HeadDrafter {
 public:
  /// Makes room for heads like this one. `keyLayer`: the first of the KV layers that are the head's. `scratchSlots`:
  /// slots from 0 on that belong to nobody between passes.
  HeadDrafter(Backend& backend, std::shared_ptr<const HeadWeights> head, int keyLayer, int scratchSlots,
              int maxSequences);

  const HeadWeights& head() const { return *head_; }
  /// Throws HEAD_MISMATCH where the room was not made for such a head.
  void requireRoom(const HeadWeights& head) const;
  /// From the next draft on.
  void swap(std::shared_ptr<const HeadWeights> head) { head_ = std::move(head); }

  /// So many positions that count as known, whatever is there: to time drafts.
  HeadProgress known(int32_t positions) { return {turn(), positions}; }
  /// The target writes this slot: what a head made of it is void.
  void written(int32_t slot) { setMark(slot, 0); }
  /// Drafts for sequences that `target` computes. Allocates nothing.
  void draft(const Model& target, std::span<HeadAsk> asks);

 private:
  /// A node that may be drafted.
  struct Candidate {
    DraftNode node;
    float survival;
    int32_t index;  ///< of its token in the draft vocabulary
  };

  void draftSome(const Model& target, std::span<HeadAsk> asks);
  int slotsOf(const HeadAsk& ask) const;
  void computeContext(const Model& target, std::span<HeadAsk> asks);
  void runContext();
  void markContext();
  void startBlocks(const Model& target, std::span<HeadAsk> asks);
  void layOut(std::span<HeadAsk> asks);
  void runBlocks();
  void grow(HeadAsk& ask, int32_t first, int32_t others) const;
  int branch(int32_t row, const Candidate& parent, int32_t index, Candidate* out) const;
  uint32_t turn();
  uint32_t mark(int32_t slot) const;
  void setMark(int32_t slot, uint32_t serial);

  Backend& backend_;
  std::shared_ptr<const HeadWeights> head_;
  const train::BlockHeadShape room_;
  const std::vector<int> fusedLayers_;
  const int keyLayer_, scratchSlots_, asksAtOnce_;
  uint32_t turn_ = 0, serial_ = 0;  ///< of contexts, and whose it is
  PassBuilder context_, blocks_;
  std::unique_ptr<Tensor> feature_, fused_, keys_;               // rows of context
  std::unique_ptr<Tensor> token_, joined_, injected_;            // a row for each sequence
  std::unique_ptr<Tensor> x_, qkv_, attended_, gated_, logits_;  // rows of blocks
  std::vector<int32_t> lastToken_, identity_;
  std::vector<int32_t> origin_;  ///< sequence of each row behind the first slots
  std::vector<SampleRow> sampleRows_;
  std::vector<SampleResult> results_;
};

}  // namespace foretoken
