// One decode round: draft, plan, one pass over all rows of all sequences, draw a token for every row, walk down each
// tree as long as the target agrees, commit.
#include <algorithm>
#include <exception>

#include "common/error.h"
#include "engine/core.h"
#include "engine/fates.h"

namespace foretoken {
namespace {

/// Forced drafts go into every round, right or wrong, and rows take time: by the length of the text most have one to
/// kForcedNodes nodes, one in kLargeForcedEvery takes all it can. Both are prime, so that all kinds of draft meet all
/// sizes.
constexpr int32_t kLargeForcedEvery = 37;
constexpr int32_t kForcedNodes = 7;

double secondsBetween(std::chrono::steady_clock::time_point a, std::chrono::steady_clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}
}  // namespace

bool EngineCore::decode(Model& weights) {
  const auto begin = Clock::now();
  model_ = &weights;
  collect();
  if (entries_.empty()) return false;
  try {
    const bool asked = draft();
    const auto drafted = asked ? Clock::now() : begin;
    plan();
    layOut();
    const auto started = Clock::now();
    runPass();
    const auto passed = Clock::now();
    prepareSampling();
    backend_.sample(model_->logits(), vocabulary_, sampleRows_, std::span(results_).first(sampleRows_.size()));
    const auto sampled = Clock::now();
    const double sampling = secondsBetween(passed, sampled), waited = std::min(backend_.waited(), sampling);
    out_->rounds.push_back({static_cast<double>(pass_.rows()), static_cast<double>(entries_.size()),
                            static_cast<double>(pass_.contextTokens()), 0, secondsBetween(begin, drafted),
                            secondsBetween(started, passed) + waited, sampling - waited,
                            secondsBetween(drafted, started), headSeconds_, headContext_});
    acceptAll();
    out_->rounds.back().otherSeconds += secondsBetween(sampled, Clock::now());
  } catch (const std::exception& error) {
    for (Entry* entry : entries_) breakOff(*entry->sequence, error);
  }
  counters_.decodeSeconds += secondsBetween(begin, Clock::now());
  ++counters_.rounds;
  return true;
}

/// A round has failed: its sequences end, but for those that had their last token by then. Not all of such a one's keys
/// may have come to their place, so that nobody else is to have them.
void EngineCore::breakOff(Sequence& sequence, const std::exception& error) {
  if (sequence.state != Sequence::State::ended) return fail(sequence, error);
  sequence.remembered = false;
}

/// Sequences that decode with these weights and are not too far ahead of their callers, each with room for its last
/// token.
void EngineCore::collect() {
  entries_.clear();
  for (Sequence* each = activeAfter(-1); each != nullptr; each = activeAfter(each->id)) {
    Sequence& sequence = *each;
    if (sequence.state != Sequence::State::decoding || sequence.model.get() != model_) continue;
    if (tooFarAhead(sequence) || !ensureRoom(sequence, sequence.length())) continue;
    Entry& entry = *entryPool_[entries_.size()];
    entry.sequence = &sequence;
    entries_.push_back(&entry);
  }
}

/// False: nobody was asked, but for what callers expect, which costs nothing to look up.
bool EngineCore::draft() {
  askers_.clear();
  for (Entry* entry : entries_) {
    for (Draft& draft : entry->drafts) draft.count = 0;
    entry->best = 0;
    entry->asked = 0;
    Sequence& sequence = *entry->sequence;
    sequence.trust.fade();
    if (!sequence.drafts() || sequence.draftDepth() < 1) continue;
    if (looksUp(*entry))
      askers_.push_back(entry);
    else
      askDrafters(*entry);
  }
  // Sequences have drafters of their own, and those only read and praise what they share: in which order changes no
  // bit.
  backend_.spread(static_cast<int64_t>(askers_.size()), [this](int64_t first, int64_t last) {
    for (int64_t a = first; a < last; ++a) askDrafters(*askers_[a]);
  });
  const bool asked = !askers_.empty();
  for (Entry* entry : entries_) chooseDraft(*entry);
  headSeconds_ = headContext_ = 0;
  if (head_) askHead();
  return asked || headSeconds_ > 0;
}

/// Whether a drafter is asked that looks for something in text.
bool EngineCore::looksUp(const Entry& entry) const {
  return entry.sequence->request.force >= 0 || mayDraft(entry, DrafterId::suffix) || mayDraft(entry, DrafterId::recall);
}

/// All but the head, which is asked for all sequences together. A blend knows of the stop tokens that it is made of.
void EngineCore::askDrafters(Entry& entry) {
  const auto forced = static_cast<DrafterId>(entry.sequence->request.force);
  if (entry.sequence->request.force >= 0 && forced != DrafterId::blend)
    return draftWith(entry, entry.drafts[0], forced);
  for (size_t i = 0; i < kBlend; ++i)
    if (mayDraft(entry, kAsked[i])) draftWith(entry, entry.drafts[i], kAsked[i]);
  if (mayDraft(entry, DrafterId::blend)) blendDrafts(entry);
  for (size_t i = 0; i <= kBlend; ++i) leaveOutStops(*entry.sequence, entry.drafts[i]);
}

/// Whether the table and the request leave a drafter the choice to draft; a forced blend has those whose drafts it is
/// made of.
bool EngineCore::mayDraft(const Entry& entry, DrafterId which) const {
  const Request& request = entry.sequence->request;
  if (request.force >= 0) return which != DrafterId::prediction;
  return beliefsOf(entry).allowed[static_cast<int>(which)] && (request.drafters >> static_cast<int>(which) & 1);
}

void EngineCore::blendDrafts(Entry& entry) {
  Draft& draft = entry.drafts[kBlend];
  const auto nodesOf = [&](size_t i) {
    return std::span<const DraftNode>(entry.drafts[i].nodes).first(entry.drafts[i].count);
  };
  draft.drafter = DrafterId::blend;
  draft.count =
      entry.blender.blend(nodesOf(kRecall), nodesOf(kSuffix), std::span(draft.nodes).first(nodesFor(*entry.sequence)));
}

void EngineCore::draftWith(Entry& entry, Draft& draft, DrafterId which) {
  Sequence& sequence = *entry.sequence;
  draft.drafter = which;
  Drafter* drafter = sequence.drafter(which);
  if (drafter == nullptr) return;
  draft.count = drafter->draft({sequence.tokens, sequence.promptLength, sequence.draftDepth()},
                               std::span(draft.nodes).first(nodesFor(sequence)));
}

/// The row above a stop token says it, and behind it nothing is said: neither is worth a row. Forced drafts are
/// verified as they are.
void EngineCore::leaveOutStops(const Sequence& sequence, Draft& draft) const {
  if (sequence.request.force >= 0) return;
  std::array<int32_t, kMaxDraftNodes> place;
  int count = 0;
  for (int n = 0; n < draft.count; ++n) {
    DraftNode node = draft.nodes[n];
    const bool isCut = node.parent >= 0 && place[node.parent] < 0;
    place[n] = isCut || sequence.isStop(node.token) ? -1 : count;
    if (place[n] < 0) continue;
    if (node.parent >= 0) node.parent = place[node.parent];
    draft.nodes[count++] = node;
  }
  draft.count = count;
}

size_t EngineCore::nodesFor(const Sequence& sequence) const {
  const auto share = static_cast<size_t>(kMaxDraftRows) / entries_.size();
  const int32_t length = sequence.length();
  const size_t forced = length % kLargeForcedEvery == 0 ? kMaxDraftNodes : kForcedNodes - length % kForcedNodes;
  return sequence.request.force >= 0 ? std::min(share, forced) : kMaxDraftNodes;
}

PlanEntry EngineCore::planEntry(Entry& entry, Draft& draft) const {
  const Sequence& sequence = *entry.sequence;
  const Beliefs& beliefs = beliefsOf(entry);
  return PlanEntry{&beliefs,
                   std::span(draft.nodes).first(draft.count),
                   draft.drafter,
                   sequence.length(),
                   sequence.request.force >= 0,
                   draft.selected.data(),
                   draft.survival.data(),
                   sequence.trust.of(draft.drafter, beliefs.tableWeight)};
}

/// The best of the drafts that cost next to nothing; that of plain decoding where there is none.
void EngineCore::chooseDraft(Entry& entry) {
  std::array<PlanEntry, kHead> offers;
  for (size_t i = 0; i < kHead; ++i) offers[i] = planEntry(entry, entry.drafts[i]);
  entry.best = std::max(0, planner_.choose(prices_, offers, kMaxDraftRows, entry.promise));
}

/// The heads draft for the sequences that they are worth asking for, each head for all of its own at once.
void EngineCore::askHead() {
  askers_.clear();
  for (Entry* entry : entries_)
    if (isHeadAsked(*entry)) askers_.push_back(entry);
  if (askers_.empty()) return;
  const auto begin = Clock::now();
  while (!askers_.empty()) {
    const std::shared_ptr<const HeadWeights> head = headOf(*askers_.front());
    asks_.clear();
    asked_.clear();
    for (Entry* entry : askers_)
      if (headOf(*entry) == head) addAsk(*entry, entry->drafts[entry->asked > 0 ? kHead : 0]);
    std::erase_if(askers_, [&](const Entry* entry) { return headOf(*entry) == head; });
    head_->swap(head);
    head_->draft(*model_, asks_);
    for (size_t a = 0; a < asks_.size(); ++a) {
      asked_[a]->count = asks_[a].count;
      headContext_ += asks_[a].context;
    }
    counters_.headDrafts += static_cast<int64_t>(asks_.size());
  }
  headSeconds_ = secondsBetween(begin, Clock::now());
  counters_.headSeconds += headSeconds_;
  for (Entry* entry : entries_)
    if (entry->asked > 0) leaveOutStops(*entry->sequence, entry->drafts[kHead]), considerHead(*entry);
}

const std::shared_ptr<const HeadWeights>& EngineCore::headOf(const Entry& entry) const {
  const auto& own = entry.sequence->owner->head;
  return own && entry.sequence->request.learned ? own : commonHead_;
}

const Beliefs& EngineCore::beliefsOf(const Entry& entry) const {
  if (entry.sequence->recorder) return recordersBeliefs_;
  const auto& own = entry.sequence->owner->beliefs;
  return own ? *own : commonBeliefs_;
}

/// Whether asking the head is worth its time here, by what the others promise; of a request that leaves the choice to
/// nobody but the head it always is.
bool EngineCore::isHeadAsked(Entry& entry) {
  const Sequence& sequence = *entry.sequence;
  if (!sequence.drafts() || sequence.draftDepth() < 1) return false;
  if (sequence.request.force >= 0) return sequence.request.force == static_cast<int>(DrafterId::head);
  if (!mayDraft(entry, DrafterId::head)) return false;
  const Beliefs& beliefs = beliefsOf(entry);
  const int bucket = promiseBucket(entry.promise.tokens - 1);
  int32_t& since = sequence.owner->sinceAsked[bucket];
  if (!sequence.isForHeadAlone() && (beliefs.askEvery[bucket] == 0 || ++since < beliefs.askEvery[bucket])) return false;
  since = 0;
  entry.asked = 1 + bucket;
  return true;
}

void EngineCore::addAsk(Entry& entry, Draft& draft) {
  Sequence& sequence = *entry.sequence;
  draft.drafter = DrafterId::head;
  asked_.push_back(&draft);
  asks_.push_back({sequence.tokens, &sequence.table, &sequence.headKnown, sequence.draftDepth(),
                   std::span(draft.nodes).first(nodesFor(sequence))});
}

/// Its time is spent, like that of the others: from here on its draft counts like any other. Where it is not preferred,
/// both plans are one. Both are made as if the sequence had the pass to itself. Beside others a row costs what the pass
/// that all share takes more for it: less below a knee of the price, more beyond. So with several sequences both plans
/// are wider or narrower than what plan() will let through, and the seconds that asking is charged are those of one
/// sequence alone; tokens are counted along the text either way. It can cost time that asking does not return, or leave
/// a gain; the draft that goes into the pass is planned with all of them in view.
void EngineCore::considerHead(Entry& entry) {
  Draft &draft = entry.drafts[kHead], &others = entry.chosen();
  const OpenAsks::Plan without{std::span(others.nodes).first(others.count), others.selected.data()};
  OpenAsks::Plan with = without;
  Planner::Promise promise = entry.promise;
  if (draft.count > 0) {
    promise = planner_.promise(prices_, planEntry(entry, draft), kMaxDraftRows);
    const double drafting = others.count > 0 ? prices_.draftSeconds[static_cast<int>(others.drafter)] : 0;
    promise.seconds += drafting;
    promise.price += drafting;
    if (promise.price < entry.promise.price) {
      with = {std::span(draft.nodes).first(draft.count), draft.selected.data()};
      entry.best = static_cast<int>(kHead);
    } else {
      promise = entry.promise;
    }
  }
  if (entry.sequence->isForHeadAlone()) return;  // nobody asked what that is worth
  const OpenAsks::Ask ask{entry.asked - 1, promise.tokens - entry.promise.tokens,
                          (promise.seconds - entry.promise.seconds) / prices_.plainSeconds};
  entry.sequence->openAsks().add(ask, entry.sequence->length(), with, without);
}

/// Chooses the nodes of all sequences' best drafts that are worth their rows.
void EngineCore::plan() {
  planEntries_.clear();
  for (Entry* entry : entries_) planEntries_.push_back(planEntry(*entry, entry->chosen()));
  planner_.plan(prices_, planEntries_, kMaxDraftRows);
}

void EngineCore::layOut() {
  pass_.begin(/*prompts=*/false);
  scratchUsed_ = 0;
  for (Entry* entry : entries_) layOut(*entry);
}

/// Gives every selected node a row. The likeliest path takes the places its tokens will have if accepted; the other
/// nodes take side slots and move if they are. A node that finds no place is left out, with everything below it.
void EngineCore::layOut(Entry& entry) {
  Sequence& sequence = *entry.sequence;
  Draft& draft = entry.chosen();
  const int32_t last = sequence.length() - 1;
  entry.passSequence = pass_.addSequence(sequence.table);
  entry.rootRow = pass_.addInPlace(entry.passSequence, sequence.tokens[last], last, sequence.table.slot(last), true);
  int32_t mainNode = likeliestChild(draft, -1);
  for (int32_t n = 0; n < draft.count; ++n) {
    entry.row[n] = -1;
    const DraftNode& node = draft.nodes[n];
    const int32_t parentRow = node.parent < 0 ? entry.rootRow : entry.row[node.parent];
    if (!draft.selected[n] || parentRow < 0) continue;
    const int32_t position = pass_.position(parentRow) + 1;
    if (n == mainNode) {
      if (!sequence.table.reserve(pool_, position + 1)) continue;
      entry.row[n] = pass_.addInPlace(entry.passSequence, node.token, position, sequence.table.slot(position), true);
      mainNode = likeliestChild(draft, n);
    } else if (scratchUsed_ < budget_.scratchPages * kPageSize) {
      entry.row[n] = pass_.addBeside(entry.passSequence, node.token, parentRow, scratchUsed_++, true);
    }
  }
}

/// The selected child of a node with the best survival; -1 = none.
int32_t EngineCore::likeliestChild(const Draft& draft, int32_t parent) {
  int32_t best = -1;
  for (int32_t n = parent + 1; n < draft.count; ++n) {
    if (draft.nodes[n].parent != parent || !draft.selected[n]) continue;
    if (best < 0 || draft.survival[n] > draft.survival[best]) best = n;
  }
  return best;
}

/// A token is drawn after every row of the pass: the target's answer whatever path it takes.
void EngineCore::prepareSampling() {
  sampleRows_.clear();
  for (Entry* entry : entries_) {
    const Sequence& sequence = *entry->sequence;
    const bool penalties = sequence.hasPenalties();
    sampleRows_.push_back(sequence.sampleRow(entry->rootRow, {}));
    const Draft& draft = entry->chosen();
    for (int32_t n = 0; n < draft.count; ++n) {
      const int32_t row = entry->row[n];
      if (row < 0) continue;
      const auto path = std::span(paths_).subspan(static_cast<size_t>(row) * kMaxDraftNodes,
                                                  pass_.position(row) - sequence.length() + 1);
      if (penalties) {
        size_t at = path.size();
        for (int32_t above = n; above >= 0; above = draft.nodes[above].parent) path[--at] = draft.nodes[above].token;
      }
      sampleRows_.push_back(sequence.sampleRow(row, path));
    }
  }
}

void EngineCore::acceptAll() {
  copyFrom_.clear();
  copyTo_.clear();
  for (Entry* entry : entries_) out_->whole([&] { accept(*entry); });
  if (!copyFrom_.empty()) backend_.copySlots(copyFrom_, copyTo_);
}

/// Walks down the tree as long as the drawn token is one of the drafted children. Every token emitted is the target's
/// own.
void EngineCore::accept(Entry& entry) {
  Sequence& sequence = *entry.sequence;
  const auto offset = static_cast<int32_t>(out_->tokens.size());
  const auto logprobOffset = static_cast<int32_t>(out_->logprobs.size());
  int32_t node = -1, last = -1, row = entry.rootRow;
  for (;;) {
    sequence.computed = pass_.position(row) + 1;
    verified(sequence, row);
    const int32_t token = results_[row].token;
    emit(sequence, results_[row]);
    if (sequence.isComplete()) break;
    node = acceptedChild(entry, node, token);
    if (node < 0 || !commit(sequence, entry.row[node])) break;
    row = entry.row[node];
    last = node;
  }
  if (keys_ && sequence.drafts()) hearEchoes(entry, last);
  recordStep(entry, offset, logprobOffset);
  sequence.table.rollBack(pool_, sequence.length());
  endIfComplete(sequence);
}

/// The pass has answered behind rejected tokens, too. `last`: the deepest node that the text takes; -1 = none.
void EngineCore::hearEchoes(Entry& entry, int32_t last) {
  const Draft& draft = entry.chosen();
  const auto answerOf = [&](int32_t n) { return entry.row[n] < 0 ? kUnheard : results_[entry.row[n]].token; };
  const auto childOf = [&](int32_t n, int32_t token) { return acceptedChild(entry, n, token); };
  const auto keyOf = [&](int32_t n) {
    const int32_t row = n < 0 ? entry.rootRow : entry.row[n];
    return reinterpret_cast<const int8_t*>(backend_.side(pass_.slot(row)));
  };
  entry.sequence->echoes().hear(std::span(draft.nodes).first(draft.count), last, answerOf, childOf, keyOf);
}

int32_t EngineCore::acceptedChild(const Entry& entry, int32_t parent, int32_t token) {
  const Draft& draft = entry.drafts[entry.best];
  for (int32_t n = parent + 1; n < draft.count; ++n) {
    if (draft.nodes[n].parent == parent && draft.nodes[n].token == token && entry.row[n] >= 0) return n;
  }
  return -1;
}

/// Brings an accepted row's keys and values to their place. False: there is no page for it; the token is then computed
/// again.
bool EngineCore::commit(Sequence& sequence, int32_t row) {
  if (!pass_.beside(row)) return true;
  const int32_t position = pass_.position(row);
  if (!sequence.table.reserve(pool_, position + 1)) return false;
  copyFrom_.push_back(pass_.slot(row));
  copyTo_.push_back(sequence.table.slot(position));
  return true;
}

void EngineCore::recordStep(Entry& entry, int32_t tokenOffset, int32_t logprobOffset) {
  Sequence& sequence = *entry.sequence;
  const auto emittedCount = static_cast<int32_t>(out_->tokens.size()) - tokenOffset;
  const int32_t start = sequence.length() - emittedCount;
  const auto draftOffset = static_cast<int32_t>(out_->draftOutcome.size());
  Verified verified;
  if (sequence.drafts()) {
    const Emitted emitted{sequence.tokens, start, beliefsOf(entry), sequence.openDrafts(), sequence.trust};
    for (Draft& draft : entry.drafts) {
      if (draft.count == 0) continue;
      const PlanEntry plan = planEntry(entry, draft);
      if (sequence.recorder) sequence.recorder->add(draft.drafter, start, plan.nodes);
      const bool chosen = &draft == &entry.chosen();
      const Verified ofDraft = recordDraft(emitted, plan, chosen ? entry.row.data() : nullptr, *out_);
      if (chosen) verified = ofDraft;
    }
    recordUnverified(emitted, *out_);
    recordAsks(sequence);
  }
  if (sequence.recorder) reportRecorded(sequence, /*ended=*/false);
  const auto count = static_cast<int32_t>(out_->draftOutcome.size()) - draftOffset;
  const auto drafter = static_cast<int32_t>(verified.nodes > 0 ? entry.chosen().drafter : DrafterId::none);
  out_->steps.push_back({.round = static_cast<int32_t>(out_->rounds.size()) - 1,
                         .sequence = sequence.id,
                         .tokenOffset = tokenOffset,
                         .tokenCount = emittedCount,
                         .draftOffset = draftOffset,
                         .draftCount = count,
                         .accepted = verified.accepted,
                         .drafter = drafter,
                         .asked = entry.asked,
                         .expected = verified.expectedMillionths(),
                         .weights = sequence.weights,
                         .logprobOffset = logprobOffset});
}

/// What came of the drafts of a sequence that records, as far as its text decides it.
void EngineCore::reportRecorded(Sequence& sequence, bool ended) {
  sequence.recorder->settle(sequence.tokens, ended, [&](const Recorder::Draft& draft) {
    out_->recorded.push_back(
        {sequence.id, draft.start, static_cast<int32_t>(draft.drafter), static_cast<int32_t>(draft.nodes.size())});
    for (size_t n = 0; n < draft.nodes.size(); ++n) {
      out_->recordedNodes.push_back(static_cast<uint8_t>(draft.nodes[n].parent + 1 + (draft.right[n] ? 0x80 : 0)));
      out_->recordedConfidence.push_back(draft.nodes[n].confidence);
    }
  });
}

/// Says of rounds in which the head was asked, of this one and of earlier ones, what that brought, as far as the text
/// says it by now.
void EngineCore::recordAsks(Sequence& sequence) {
  const auto millionths = [](double value) { return static_cast<int32_t>(std::clamp(value * 1e6, -2e9, 2e9)); };
  sequence.openAsks().settle(sequence.tokens, sequence.isComplete(), [&](const OpenAsks::Ask& ask, int32_t tokens) {
    out_->asks.push_back({static_cast<int32_t>(out_->steps.size()), ask.bucket, millionths(ask.promised), tokens,
                          millionths(ask.passes)});
  });
}

}  // namespace foretoken
