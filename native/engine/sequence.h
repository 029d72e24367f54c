// One sequence as the engine thread sees it.
#pragma once
#include <cstdint>
#include <list>
#include <memory>
#include <vector>

#include "backend.h"
#include "engine/outcomes.h"
#include "engine/request.h"
#include "head/head_drafter.h"
#include "kv/pages.h"
#include "model/model.h"
#include "speculate/adversarial.h"
#include "speculate/echoes.h"
#include "speculate/library.h"
#include "speculate/memory.h"
#include "speculate/open_asks.h"
#include "speculate/open_drafts.h"
#include "speculate/prediction.h"
#include "speculate/recall.h"
#include "speculate/recorder.h"
#include "speculate/suffix.h"
#include "speculate/text_trust.h"

namespace foretoken {

struct Tenant;

class Sequence {
 public:
  enum class State { waiting, prefilling, decoding, ended };

  /// Takes a validated request. `drafts`: the engine speculates at all.
  Sequence(int32_t id, Request request, int32_t contextLength, int32_t vocabulary, bool drafts);

  int32_t length() const { return static_cast<int32_t>(tokens.size()); }
  int32_t emitted() const { return length() - promptLength; }
  /// Whether the first position whose keys and values are still to be computed is the prompt's …
  bool isInPrompt() const { return computed < promptLength; }
  /// … and how many are to be computed from there to the end of the prompt, or of what was generated.
  int32_t pendingInPhase() const { return (isInPrompt() ? promptLength : length()) - computed; }
  /// Deepest draft worth verifying: the round also emits the token after it.
  int32_t draftDepth() const;
  bool isStop(int32_t token) const;
  /// Its last token says that it ends.
  bool isComplete() const { return isStop(tokens.back()) || length() >= limit; }
  /// Whether nobody but the head may draft.
  bool isForHeadAlone() const { return request.drafters == 1u << static_cast<int>(DrafterId::head); }
  const std::string& learner() const { return request.learner.empty() ? request.tenant : request.learner; }

  /// Allocates everything the sequence will ever need: what waits to begin has its request and no more. Where memory is
  /// lacking it throws, and the sequence cannot be used.
  void begin();
  /// Drops what drafters have of it until it begins again: it may wait long, and many others in its place meanwhile.
  void layAside();
  /// Names what the drafters look through beside its own text: what the session and the tenant remember and the static
  /// memory (each may be null). Before begin().
  void attach(std::shared_ptr<TextShelf> sessionShelf, std::shared_ptr<TextShelf> tenantShelf,
              std::shared_ptr<const StaticMemory> staticMemory);
  bool drafts() const { return drafts_; }
  bool hasBegun() const { return begun_; }
  /// Whether it has all that it needs to run.
  bool isReady() const { return begun_ && (own_ || !drafts_); }
  /// The drafter of an id, or null if this sequence has none; its index has caught up with `tokens`.
  Drafter* drafter(DrafterId which);
  /// Takes the key of a computed position; its drafters may use it from the next draft on.
  void learn(int32_t position, const int8_t* key) { own_->setKey(position, key); }
  /// What was drafted and not verified; of a sequence that drafts.
  OpenDrafts& openDrafts() { return *open_; }
  /// Rounds in which the head was asked; of a sequence that drafts.
  OpenAsks& openAsks() { return *asks_; }
  /// What the target said behind drafted tokens that were not to be; of a sequence that drafts.
  Echoes& echoes() { return *echoes_; }
  size_t indexBytes() const;
  /// Keys of computed positions; null if it has no drafters.
  const TextSegment* text() const { return own_.get(); }

  /// The sampling parameters of the token after `path` (tokens drafted beyond the sequence, in order).
  SampleRow sampleRow(int32_t logitRow, std::span<const int32_t> path) const;
  bool hasPenalties() const;

  const int32_t id;
  const Request request;
  const int32_t promptLength;
  const int32_t limit;  ///< tokens, prompt included, after which it ends

  State state = State::waiting;
  std::vector<int32_t> tokens;  ///< prompt and output
  int32_t computed = 0;         ///< positions whose keys and values are in `table`
  PageTable table{0};
  HeadProgress headKnown;              ///< of `table`
  TextTrust trust;                     ///< outlives preemption and new weights, as what the policy table has seen does
  std::shared_ptr<Model> model;        ///< the weights it is computed with; null until its first admission
  int32_t weights = 0;                 ///< their version
  int64_t tenant = 0;                  ///< the engine's number of the tenant
  Tenant* owner = nullptr;             ///< what the engine has of the learner
  int32_t cachedPromptTokens = -1;     ///< found in the prefix cache at the first admission
  int32_t consumed = 0;                ///< tokens the caller has taken
  bool isRead = true;                  ///< somebody waits for every token, not for the whole text
  bool remembered = true;              ///< may enter prefix cache and indexes when it ends
  int64_t charged = 0;                 ///< bytes that its learner has been charged for it
  std::unique_ptr<Recorder> recorder;  ///< of a request that records
  std::shared_ptr<TextShelf> sessionShelf, tenantShelf;
  std::shared_ptr<const StaticMemory> staticMemory;
  /// The records of its end, one of each: how it ends can be told without memory.
  std::list<FinishedRecord> finished{1};
  std::list<SequenceFailure> failure{1};

 private:
  void makeDrafters();
  void indexText();

  const int32_t vocabulary_;
  const bool drafts_;
  const size_t predicted_;  ///< tokens of a prediction that are looked at: as many as the context holds
  bool begun_ = false;
  int32_t indexed_ = 0;
  std::unique_ptr<TextSegment> own_;
  std::unique_ptr<Echoes> echoes_;
  std::unique_ptr<OpenDrafts> open_;
  std::unique_ptr<OpenAsks> asks_;
  std::unique_ptr<SuffixDrafter> suffix_;
  std::unique_ptr<RecallDrafter> recall_;
  std::unique_ptr<PredictionDrafter> prediction_;
  std::unique_ptr<AdversarialDrafter> adversarial_;
};

}  // namespace foretoken
