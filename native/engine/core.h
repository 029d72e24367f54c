// The engine without its thread: sequences, admission, prefill, the decode round. One thread calls it; engine.h wraps
// it.
//
// Lack of memory ends requests and calls, with OUT_OF_MEMORY, and nothing else: each call that has no way to tell it
// allocates nothing, and each of the others does all or nothing.
#pragma once
#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "backend.h"
#include "common/load.h"
#include "engine/budget.h"
#include "engine/keys.h"
#include "engine/options.h"
#include "engine/outcomes.h"
#include "engine/sequence.h"
#include "engine/tenants.h"
#include "head/head_drafter.h"
#include "kv/pages.h"
#include "kv/pass_builder.h"
#include "model/model.h"
#include "speculate/blend.h"
#include "speculate/library.h"
#include "speculate/memory.h"
#include "speculate/plan.h"

namespace foretoken {

/// Prices of passes and drafts, see NativeEngine.profile.
struct Profile {
  std::vector<float> passSeconds;   ///< [rows - 1], with sampling
  std::vector<float> draftSeconds;  ///< by drafter id
  float headPositionSeconds = 0;    ///< of the head's keys, for each position that it catches up on beyond the usual
};

/// Teacher-forced results for tokens[1..].
struct Score {
  std::vector<float> logprob;   ///< log-probability of tokens[i + 1] after tokens[..i]
  std::vector<int32_t> argmax;  ///< likeliest token there
};

/// What a tenant remembers; whether part of it was there for the last time, and whether the texts of its own running
/// requests have pushed something out that it would have room for.
struct TakenMemory {
  MemoryImage image;
  bool dropped = false, cut = false;
};

struct EngineCounters {
  int64_t rounds = 0;
  int32_t submitted = 0, active = 0, waiting = 0;
  int32_t tenants = 0;  ///< that something here belongs to, and some that nothing does
  int32_t pagesTotal = 0, pagesUsed = 0, pagesCached = 0;
  int32_t weightsVersion = 0, weightsHeld = 1;  ///< updates so far; versions that somebody still decodes with
  int64_t indexBytes = 0, staticMemoryBytes = 0;
  int64_t droppedTexts = 0;               ///< times that a tenant's text had to make room for others'
  int64_t headBytes = 0, headDrafts = 0;  ///< of its weights; times that a sequence asked it
  int64_t tenantHeadBytes = 0;            ///< of heads that draft for one tenant, but for what they share with it
  double prefillSeconds = 0, decodeSeconds = 0, headSeconds = 0;
};

class EngineCore {
 public:
  /// Allocates the backend's KV pool. Throws OUT_OF_MEMORY, INVALID_OPTION.
  EngineCore(Backend& backend, std::shared_ptr<Model> model, const EngineOptions& options);
  ~EngineCore();

  /// Where the following steps write; never null while stepping.
  void setOutput(Outcomes* out) { out_ = out; }

  /// Where there is no memory for it, it ends at once.
  void submit(std::unique_ptr<Sequence> sequence);
  void consumed(int32_t id, int32_t count);
  void finish(int32_t id, int32_t keep);
  /// Nobody waits for the tokens of a sequence one by one: from now on all that comes counts as consumed.
  void unread(int32_t id);
  /// Whether somebody waits for tokens of a sequence that runs, one by one.
  bool isRead() const;
  /// What rounds cost, and what drafts are worth where a tenant's text is decoded, or (tenant null) for all who have no
  /// beliefs of their own.
  void setPolicy(const std::string* tenant, Policy policy);
  /// The same with all made that it takes: the beliefs lie at the tenant's place, or are those of `policy`.
  void setPolicy(Tenants place, Policy policy);
  /// A tenant has no beliefs of its own any more.
  void dropPolicy(const std::string& tenant);
  /// Drafts for a tenant from now on (null = what drafts for all), or for all who have none of their own (tenant null);
  /// of an engine that was made with a head. Its room has to suffice (HeadDrafter::requireRoom).
  void setHead(const std::string* tenant, std::shared_ptr<const HeadWeights> head) {
    setHead(placeFor(tenant), std::move(head));
  }
  /// The same with the tenant's place made.
  void setHead(Tenants place, std::shared_ptr<const HeadWeights> head);
  /// Null where the engine was made without a head.
  const HeadDrafter* head() const { return head_ ? &*head_ : nullptr; }
  /// From now on sequences are admitted on `model`, which differs from the one before in its weights alone. No KV of
  /// other weights is ever shared with them. Sequences that have begun finish on the weights they began with, which
  /// live as long; or, with `restart`, all that they have so far is computed again on the new ones. `head`: the common
  /// one, made for the new weights; it drafts for all tenants (null in an engine without a head). Where memory is
  /// lacking nothing has changed.
  void updateWeights(std::shared_ptr<Model> model, bool restart, std::shared_ptr<const HeadWeights> head = nullptr);
  /// Null = not restricted by it: both null forgets everything. No session is called "".
  void forget(const std::string* tenant, const std::string* session) { forget(tenant, session, forgetting(tenant)); }
  /// The same with what makes the learner forget, which any thread may have made with forgetting().
  void forget(const std::string* tenant, const std::string* session, const std::function<void()>& learner);
  std::function<void()> forgetting(const std::string* tenant) const;
  /// What sequences submitted from now on may also draft from; an empty image = nothing. Throws INVALID_ARGUMENT.
  void setStaticMemory(const MemoryImage& image);
  /// A tenant remembers this too. Throws INVALID_ARGUMENT; where memory is lacking one that remembered nothing still
  /// does.
  void restoreMemory(const std::string& tenant, const MemoryImage& image);
  /// All that a tenant remembers beyond its sessions.
  MemoryImage memoryOf(const std::string& tenant) const { return library_.image(tenant); }
  /// The same for who keeps it elsewhere: what others' text has pushed out of it is there for the last time.
  TakenMemory takeMemory(const std::string& tenant);
  /// Tenants of whom others' text has pushed something out that nobody has taken.
  std::vector<std::string> droppedTenants() const { return library_.waiting(); }
  void ignoreBackPressure() {
    backPressure_ = false;
    admissible_ = true;  // what was paused may wait for pages
  }
  /// Of at most `rows` rows, of no more than a sequence may hold.
  Profile profile(int rows, int context, int repeats);
  /// `repeats` passes of `rows` rows at `context` tokens of context, for whoever times the backend's operations.
  void runPasses(int rows, int context, int repeats);
  Score score(const std::vector<int32_t>& tokens);

  /// Admits, runs at most one prefill pass and one decode round; `read` is called between the two. False: nothing can
  /// run until something is called.
  bool step(const std::function<void()>& read = {});
  /// No sequence will run any more (some may wait to be acknowledged).
  bool drained() const { return active_.empty() && waiting_.empty(); }
  EngineCounters counters() const;
  int32_t contextLength() const { return contextLength_; }
  KvFormat kvFormat() const { return options_.kvFormat; }

 private:
  using Clock = std::chrono::steady_clock;
  /// Those that are asked for a draft when the policy decides.
  static constexpr std::array<DrafterId, kDraftersAsked> kAsked = {
      DrafterId::suffix, DrafterId::recall, DrafterId::prediction, DrafterId::blend, DrafterId::head};
  static constexpr size_t kFewestTenants = 64;
  static constexpr size_t kSuffix = 0, kRecall = 1, kBlend = 3, kHead = 4;
  static_assert(kMaxDraftNodes <= kPlannedNodes);
  /// What was drafted for one sequence of the round.
  struct Draft {
    DrafterId drafter;
    int count;
    std::array<DraftNode, kMaxDraftNodes> nodes;
    std::array<float, kMaxDraftNodes> survival;
    std::array<uint8_t, kMaxDraftNodes> selected;  ///< in the pass
  };
  /// One sequence of the round.
  struct Entry {
    Sequence* sequence;
    std::array<Draft, kDraftersAsked> drafts;  ///< drafts[best] is the one that may go into the pass
    Blender blender{kMaxDraftNodes};
    int best;
    Planner::Promise promise;  ///< of drafts[best]
    int32_t asked;             ///< as in StepRecord
    int32_t passSequence;
    int32_t rootRow;
    std::array<int32_t, kMaxDraftNodes> row;  ///< of each node of drafts[best]; -1 = not in the pass
    Draft& chosen() { return drafts[best]; }
  };

  // admission.cc
  void admit();
  bool hasRoomFor(const Sequence& sequence) const;
  bool stepAside();
  bool begin(Sequence& sequence);
  bool tooFarAhead(const Sequence& sequence) const;
  bool sharesPrefixes(const Sequence& sequence) const;
  int32_t sharable(const Sequence& sequence, int32_t positions) const;
  void share(Sequence& sequence, int32_t positions);
  void dropOldWeights();
  int32_t pagesFor(const Sequence& sequence) const;
  Sequence* activeAfter(int32_t id) const;
  bool ensureRoom(Sequence& sequence, int32_t positions);
  bool reclaim(Sequence& wanting);
  void preempt(Sequence& sequence);
  void release(Sequence& sequence);
  void end(Sequence& sequence, FinishReason reason);
  void tellFailure(Sequence& sequence, const std::exception& error);
  void fail(Sequence& sequence, const std::exception& error);
  void settle(Sequence& sequence, int32_t keep);
  void remember(Sequence& sequence, std::span<const int32_t> kept);
  void teach(const Sequence& sequence, int32_t kept);
  Tenant& tenant(const std::string& name);
  void dropIdleTenants();

  // prefill.cc
  struct PrefillPart {
    Sequence* sequence;
    int32_t firstRow, rows;
    int32_t logitRow;  ///< -1 = not its last chunk
  };
  bool prefill();
  void planPrefill();
  bool startPrefill(Sequence& sequence);
  void recordPrefill(Clock::time_point begin, Clock::time_point passed, Clock::time_point sampled, double waited);
  void takePrefilled(const PrefillPart& part);

  // round.cc
  bool decode(Model& weights);
  void breakOff(Sequence& sequence, const std::exception& error);
  void collect();
  bool draft();
  bool looksUp(const Entry& entry) const;
  void askDrafters(Entry& entry);
  bool mayDraft(const Entry& entry, DrafterId which) const;
  void draftWith(Entry& entry, Draft& draft, DrafterId which);
  void leaveOutStops(const Sequence& sequence, Draft& draft) const;
  void blendDrafts(Entry& entry);
  void chooseDraft(Entry& entry);
  void askHead();
  bool isHeadAsked(Entry& entry);
  const std::shared_ptr<const HeadWeights>& headOf(const Entry& entry) const;
  const Beliefs& beliefsOf(const Entry& entry) const;
  void addAsk(Entry& entry, Draft& draft);
  void considerHead(Entry& entry);
  PlanEntry planEntry(Entry& entry, Draft& draft) const;
  size_t nodesFor(const Sequence& sequence) const;
  void plan();
  void layOut();
  void layOut(Entry& entry);
  static int32_t likeliestChild(const Draft& draft, int32_t parent);
  void prepareSampling();
  void acceptAll();
  void accept(Entry& entry);
  void hearEchoes(Entry& entry, int32_t last);
  static int32_t acceptedChild(const Entry& entry, int32_t parent, int32_t token);
  bool commit(Sequence& sequence, int32_t row);
  void recordStep(Entry& entry, int32_t tokenOffset, int32_t logprobOffset);
  void recordAsks(Sequence& sequence);
  void reportRecorded(Sequence& sequence, bool ended);

  // measure.cc
  float timePass(const PageTable& table, int context, int rows);
  void centreKeys();
  float timeDraft(DrafterId which) const;
  float timeHead(const PageTable& table, int context, int known);

  // core.cc
  int busy() const;
  void runPass();
  void verified(Sequence& sequence, int32_t row);
  void emit(Sequence& sequence, const SampleResult& result);
  bool endIfComplete(Sequence& sequence);

  Backend& backend_;
  std::vector<std::shared_ptr<Model>> versions_;  ///< of the weights, oldest first; the last is for new sequences
  Model* model_;                                  ///< of the pass that is built: all its rows are of one version
  const EngineOptions options_;
  const int32_t vocabulary_, contextLength_;
  const bool promptsDiffer_;  ///< in their bits, see Backend
  const KvBudget budget_;
  PagePool pool_;
  TextLibrary library_;
  std::shared_ptr<const StaticMemory> staticMemory_;
  Prices prices_;
  Beliefs commonBeliefs_;           ///< of all tenants that have none of their own
  const Beliefs recordersBeliefs_;  ///< where a sequence records: everybody drafts, nothing is worth a row
  Planner planner_;
  PassBuilder pass_;
  Outcomes* out_ = nullptr;
  bool backPressure_ = true;

  std::unordered_map<int32_t, std::unique_ptr<Sequence>> sequences_;
  std::vector<Sequence*> waiting_;  ///< oldest first; with room for every sequence, as all may wait
  std::vector<Sequence*> active_;   ///< admitted and not ended, oldest first
  Tenants tenants_;
  int64_t lastTenant_ = 0;               ///< number that was given last
  size_t manyTenants_ = kFewestTenants;  ///< so many names make it worth while to look who has nothing here
  bool admissible_ = false;              ///< something changed since admit() last gave up

  // Workspace of a round.
  std::optional<HeadDrafter> head_;
  std::vector<HeadAsk> asks_;
  std::vector<Draft*> asked_;  ///< where the drafts of asks_ are
  std::vector<Entry*> askers_;
  std::shared_ptr<const HeadWeights> commonHead_;  ///< of all tenants that have none of their own
  double headSeconds_ = 0, headContext_ = 0;       ///< of this round, as in RoundRecord
  std::vector<std::unique_ptr<Entry>> entryPool_;
  std::vector<Entry*> entries_;
  std::vector<PlanEntry> planEntries_;
  std::vector<int32_t> paths_;  ///< drafted tokens above each sampled row, for penalties
  std::vector<SampleRow> sampleRows_;
  std::vector<SampleResult> results_;
  std::vector<int32_t> copyFrom_, copyTo_;
  std::optional<KeyMaker> keys_;  ///< of an engine that speculates
  Capture capture_{};
  std::vector<float> captured_;
  std::vector<const float*> capturedRow_;
  std::vector<PrefillPart> prefillParts_;
  int32_t scratchUsed_ = 0;

  EngineCounters counters_;
  Load load_;
};

}  // namespace foretoken
