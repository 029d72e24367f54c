// What happened in one or more rounds, in the layout that crosses to JavaScript (lib/native.ts, NativeOutcomes).
#pragma once
#include <atomic>
#include <cstdint>
#include <exception>
#include <list>
#include <string>
#include <vector>

#include "speculate/drafter.h"

namespace foretoken {

constexpr int kRoundFields = 10;
constexpr int kStepFields = 12;
constexpr int kAskFields = 5;
constexpr int kFinishedFields = 3;

/// Per round: what the pass was and where its seconds went; where nobody was asked for a draft, none of them to
/// drafting.
struct RoundRecord {
  double rows, sequences, contextTokens, prefillRows, draftSeconds, passSeconds, sampleSeconds, otherSeconds;
  double headSeconds;  ///< of draftSeconds
  double headContext;  ///< positions whose keys and values the head made in them
};
static_assert(sizeof(RoundRecord) == kRoundFields * sizeof(double));

/// Per sequence and round: which parts of the tables below are its own.
struct StepRecord {
  int32_t round, sequence, tokenOffset, tokenCount, draftOffset, draftCount, accepted, drafter;
  int32_t asked = 0;     ///< 1 + the index of the others' promise (Policy::askEvery) where the head was asked, else 0
  int32_t expected = 0;  ///< of the verified nodes to be accepted, by the plan: millionths
  int32_t weights = 0;   ///< version of those that drew the tokens
  int32_t logprobOffset = 0;  ///< counts where the request asked for them
};
static_assert(sizeof(StepRecord) == kStepFields * sizeof(int32_t));

/// What asking the head once brought, now that the text says it: its plan less the one without it (OpenAsks).
struct AskRecord {
  int32_t step;      ///< the step whose tokens decide it, of the same sequence
  int32_t bucket;    ///< of the others' promise
  int32_t promised;  ///< millionths of a token
  int32_t tokens;
  int32_t passes;  ///< what the pass costs, in millionths of a plain round; the head's own not counted
};
static_assert(sizeof(AskRecord) == kAskFields * sizeof(int32_t));

struct FinishedRecord {
  int32_t sequence, reason, cachedPromptTokens;
};
static_assert(sizeof(FinishedRecord) == kFinishedFields * sizeof(int32_t));

/// What became of one drafted node, packed: depth | outcome << 8 | shadow << 16 | age << 17 | drafter << 24. A shadow
/// node was drafted but not verified; it is listed in the step whose tokens decide what would have become of it. Age:
/// tokens that the sequence had emitted since the node was drafted, before that step.
enum class NodeOutcome : int32_t { rejected = 0, accepted = 1, unreached = 2 };
inline int32_t packNode(int depth, NodeOutcome outcome, DrafterId drafter) {
  return (depth & 0xff) | static_cast<int32_t>(outcome) << 8 | static_cast<int32_t>(drafter) << 24;
}
inline int32_t packShadow(int depth, NodeOutcome outcome, DrafterId drafter, int age) {
  return packNode(depth, outcome, drafter) | 1 << 16 | (age & 0x7f) << 17;
}
inline NodeOutcome outcomeOf(int32_t packed) { return static_cast<NodeOutcome>(packed >> 8 & 0xff); }
inline bool isShadow(int32_t packed) { return (packed >> 16 & 1) != 0; }
inline int32_t ageOf(int32_t packed) { return packed >> 17 & 0x7f; }

/// One draft of a sequence that records; its nodes follow those of the draft before.
struct RecordedDraft {
  int32_t sequence, start, drafter, nodes;
};

struct SequenceFailure {
  int32_t sequence;
  std::string code, message;
};

/// A batch: written by the engine thread, then lent to the receiver, who gives it back with Engine::recycle().
struct Outcomes {
  std::vector<RoundRecord> rounds;
  std::vector<StepRecord> steps;
  std::vector<int32_t> tokens;
  std::vector<float> draftConfidence;
  std::vector<float> draftChance;  ///< of verified nodes, by the plan; of others 0
  std::vector<int32_t> draftOutcome;
  std::vector<float>
      logprobs;  ///< in the order of `tokens`, for requests that asked: logprob, then n x (token, logprob)
  std::vector<AskRecord> asks;
  std::vector<RecordedDraft> recorded;
  std::vector<uint8_t> recordedNodes;  ///< 1 + the parent's place in the draft (0 = none) | right << 7
  std::vector<float> recordedConfidence;
  std::list<FinishedRecord> finished;  ///< lists, for every sequence brings the records of its end with it
  std::list<SequenceFailure> errors;
  bool begun = false;  ///< it holds a pass that reads prompts
  std::atomic<bool> lent{false};

  /// Whether it says that a sequence has begun or ended.
  bool isUrgent() const { return begun || !finished.empty() || !errors.empty(); }
  bool empty() const { return rounds.empty() && finished.empty() && errors.empty(); }
  void clear();
  void reserve(size_t tokenCount, size_t nodeCount);
  /// Nothing of it can be told: all of whom it tells have failed.
  void lose(const std::exception& error);

  /// Runs what tells of a sequence: what there is no memory to tell whole is cut off again.
  template <typename Tell>
  void whole(const Tell& tell) {
    const Mark before = mark();
    try {
      tell();
    } catch (...) {
      cut(before);
      throw;
    }
  }

 private:
  /// How far the tables of sequences have come.
  struct Mark {
    size_t steps, tokens, drafted, logprobs, asks, recorded, recordedNodes;
  };
  Mark mark() const;
  void cut(const Mark& mark);
};

/// Receives batches on the engine thread; must not block. The batch is the receiver's until Engine::recycle().
class OutcomeSink {
 public:
  virtual ~OutcomeSink() = default;
  virtual void deliver(Outcomes* batch) = 0;
};

}  // namespace foretoken
