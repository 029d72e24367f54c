// Who gets pages: admission, preemption, and what is kept when a sequence ends.
#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "common/error.h"
#include "engine/core.h"
#include "learn/verified_text.h"

namespace foretoken {
namespace {

/// Short enough to be told without memory.
constexpr char kNoMemory[] = "no memory left", kNoMemoryCode[] = "OUT_OF_MEMORY";

/// Into sequences that are kept oldest first.
void insertByAge(std::vector<Sequence*>& sequences, Sequence& sequence) {
  const auto place =
      std::find_if(sequences.begin(), sequences.end(), [&](const Sequence* s) { return s->id > sequence.id; });
  sequences.insert(place, &sequence);
}

}  // namespace

/// Lets waiting sequences in, oldest first, while there is room for their tokens and a page to grow for everyone.
void EngineCore::admit() {
  if (!admissible_) return;
  admissible_ = false;
  for (;;) {
    const auto next =
        std::find_if(waiting_.begin(), waiting_.end(), [&](const Sequence* s) { return !tooFarAhead(*s); });
    if (next == waiting_.end()) return;
    Sequence& sequence = **next;
    if (!hasRoomFor(sequence)) {
      if (!stepAside()) return;
      continue;
    }
    waiting_.erase(next);
    if (!begin(sequence)) continue;
    if (!sequence.model) {
      sequence.model = versions_.back();
      sequence.weights = counters_.weightsVersion;
    }
    sequence.state = Sequence::State::prefilling;
    insertByAge(active_, sequence);
  }
}

/// Whether there is a place, and pages beside those that the others will want first.
bool EngineCore::hasRoomFor(const Sequence& sequence) const {
  if (active_.empty()) return true;
  if (static_cast<int32_t>(active_.size()) >= options_.maxSequences) return false;
  auto pledged = static_cast<int32_t>(active_.size());
  for (const Sequence* other : active_) pledged += other->table.size() == 0 ? pagesFor(*other) : 0;
  return pool_.available() >= pagesFor(sequence) + pledged;
}

/// The youngest sequence that waits for its reader waits for a place, too. It comes back when it has been read, in its
/// turn, and has a token at least before it can step aside again: readers that are slow by turns all get on. False:
/// nobody waits for a reader.
bool EngineCore::stepAside() {
  const auto paused =
      std::find_if(active_.rbegin(), active_.rend(), [&](const Sequence* s) { return tooFarAhead(*s); });
  if (paused == active_.rend()) return false;
  preempt(**paused);
  return true;
}

/// Where it has been laid aside, or has yet to begin: makes what the sequence works with. False: there is no memory for
/// it, it has ended.
bool EngineCore::begin(Sequence& sequence) {
  if (sequence.isReady()) return true;
  try {
    sequence.begin();
    const auto bytes = static_cast<int64_t>(sequence.indexBytes());
    library_.charge(sequence.learner(), bytes);
    sequence.charged = bytes;
  } catch (const std::bad_alloc& error) {
    fail(sequence, error);
    return false;
  }
  return true;
}

/// Keys and values of other weights than those of new sequences are nobody else's.
bool EngineCore::sharesPrefixes(const Sequence& sequence) const {
  return sequence.remembered && sequence.model == versions_.back();
}

/// Of the first `positions` positions, those that the prefix cache may hold. What a sequence has generated may be
/// another one's prompt; where that makes other bits of it, it is computed there anew.
int32_t EngineCore::sharable(const Sequence& sequence, int32_t positions) const {
  return promptsDiffer_ ? std::min(positions, sequence.promptLength) : positions;
}

/// Brings what is computed of the first `positions` positions into the prefix cache, as far as others may have it.
void EngineCore::share(Sequence& sequence, int32_t positions) {
  if (!sharesPrefixes(sequence)) return;
  const int32_t shared = sharable(sequence, std::min(sequence.computed, positions));
  sequence.table.enroll(pool_, sequence.tenant, sequence.tokens, shared);
}

/// Lets go of older weights that no sequence needs any more.
void EngineCore::dropOldWeights() {
  if (versions_.size() == 1) return;
  std::erase_if(versions_, [&](const auto& version) {
    return version != versions_.back() &&
           std::none_of(sequences_.begin(), sequences_.end(), [&](auto& s) { return s.second->model == version; });
  });
}

/// Back-pressure: the caller has not taken what was decoded so far. Who waits for the whole text takes it as it comes.
bool EngineCore::tooFarAhead(const Sequence& sequence) const {
  return backPressure_ && sequence.isRead && sequence.emitted() - sequence.consumed >= options_.runAhead;
}

int32_t EngineCore::pagesFor(const Sequence& sequence) const { return sequence.length() / kPageSize + 1; }

/// The next younger of those that run, whoever has stepped back meanwhile; null: there is none. `id`: of the one
/// before, or below all.
Sequence* EngineCore::activeAfter(int32_t id) const {
  const auto next = std::find_if(active_.begin(), active_.end(), [&](const Sequence* s) { return s->id > id; });
  return next == active_.end() ? nullptr : *next;
}

/// Makes room for `positions` positions, taking pages from ended and then from younger sequences. False: the sequence
/// itself had to step back.
bool EngineCore::ensureRoom(Sequence& sequence, int32_t positions) {
  while (!sequence.table.reserve(pool_, positions)) {
    if (!reclaim(sequence)) return false;
  }
  return true;
}

/// Frees pages for `wanting`: of a sequence that ended, else of one that is paused, else of the youngest.
bool EngineCore::reclaim(Sequence& wanting) {
  for (auto& [id, sequence] : sequences_) {
    if (sequence->state != Sequence::State::ended || sequence->table.size() == 0) continue;
    sequence->table.clear(pool_);  // nobody has said yet what to keep of it: its pages are not worth a running one's
    sequence->computed = 0;
    return true;
  }
  const auto paused = std::find_if(active_.rbegin(), active_.rend(), [&](const Sequence* s) {
    return s != &wanting && s->table.size() > 0 && tooFarAhead(*s);
  });
  Sequence& victim = paused != active_.rend() ? **paused : *active_.back();
  preempt(victim);
  return &victim != &wanting;
}

/// Gives up the pages of a sequence; it will be computed again, to the same bits, when there is room, but for what the
/// prefix cache still has by then. One that waits for its reader may wait for ever, and so may all that come after it.
void EngineCore::preempt(Sequence& sequence) {
  share(sequence, sequence.computed);
  if (tooFarAhead(sequence)) {
    sequence.layAside();
    release(sequence);
  }
  sequence.table.clear(pool_);
  sequence.computed = 0;
  sequence.state = Sequence::State::waiting;
  std::erase(active_, &sequence);
  insertByAge(waiting_, sequence);
  admissible_ = true;
}

/// Its drafters' memory is no longer its learner's.
void EngineCore::release(Sequence& sequence) {
  library_.charge(sequence.learner(), -std::exchange(sequence.charged, 0));
}

/// Only what a sequence recorded takes memory to tell; where there is none it has not ended.
void EngineCore::end(Sequence& sequence, FinishReason reason) {
  if (sequence.recorder) reportRecorded(sequence, /*ended=*/true);
  std::erase(active_, &sequence);
  std::erase(waiting_, &sequence);
  sequence.state = Sequence::State::ended;
  sequence.finished.front() = {sequence.id, static_cast<int32_t>(reason), std::max(sequence.cachedPromptTokens, 0)};
  out_->finished.splice(out_->finished.end(), sequence.finished);
  admissible_ = true;
}

void EngineCore::tellFailure(Sequence& sequence, const std::exception& error) {
  SequenceFailure& told = sequence.failure.front();
  told.sequence = sequence.id;
  try {
    told.code = errorCode(error);
    told.message = dynamic_cast<const std::bad_alloc*>(&error) ? kNoMemory : error.what();
  } catch (const std::bad_alloc&) {
    told.code = kNoMemoryCode, told.message = kNoMemory;
  }
  out_->errors.splice(out_->errors.end(), sequence.failure);
}

/// Ends a sequence with an error and forgets it; the others go on.
void EngineCore::fail(Sequence& sequence, const std::exception& error) {
  std::erase(active_, &sequence);
  std::erase(waiting_, &sequence);
  tellFailure(sequence, error);
  sequence.remembered = false;
  settle(sequence, 0);
}

/// The caller has said how much it keeps: that part is remembered, everything else of the sequence is dropped.
void EngineCore::settle(Sequence& sequence, int32_t keep) {
  const int32_t kept = sequence.promptLength + keep;
  share(sequence, kept);
  try {
    if (sequence.remembered && sequence.drafts())
      remember(sequence, std::span<const int32_t>(sequence.tokens).first(kept));
  } catch (const std::exception&) {
    // No memory, or a lost device that has its features: nobody is worse off for what is not remembered.
  }
  sequence.table.clear(pool_);
  release(sequence);
  admissible_ = true;
  sequences_.erase(sequence.id);
}

/// Hands a text with its features to those who learn from it: the positions that the newest weights have computed, the
/// latest ones of a long text.
void EngineCore::teach(const Sequence& sequence, int32_t kept) {
  constexpr int32_t kMost = 384, kLeast = 4;
  const int32_t end = std::min(kept, sequence.computed);
  if (!options_.textSink || sequence.model != versions_.back() || end - sequence.promptLength < kLeast) return;
  const int32_t first = std::max(0, end - kMost);
  const HeadWeights& head = *options_.head;
  const auto values = static_cast<size_t>((head.shape().fused + 1) * head.shape().width);
  VerifiedText text{
      sequence.learner(), sequence.request.tenant, {}, first, std::max(0, sequence.promptLength - first), {}};
  text.token.assign(sequence.tokens.begin() + first, sequence.tokens.begin() + end);
  text.kept.resize(values * text.token.size());
  for (int32_t p = first; p < end; ++p)
    std::memcpy(text.kept.data() + values * (p - first), backend_.side(sequence.table.slot(p)) + kHeadFeatures,
                values * sizeof(uint16_t));
  options_.textSink->ended(std::move(text));
}

/// Shelves the text, with the keys of what was computed, for later sequences. Where no token has come, or its keys are
/// laid aside, it has nothing that could be found.
void EngineCore::remember(Sequence& sequence, std::span<const int32_t> kept) {
  if (sequence.request.learn == Learn::nothing || sequence.emitted() == 0 || !sequence.text()) return;
  teach(sequence, static_cast<int32_t>(kept.size()));
  const size_t first = sequence.request.learn == Learn::answer ? sequence.promptLength : 0;
  const auto document = kept.subspan(std::min(first, kept.size()));
  const KeyedBy keys{sequence.text(), static_cast<int32_t>(first)};
  library_.add(*sequence.tenantShelf, document, keys);
  if (sequence.sessionShelf) library_.add(*sequence.sessionShelf, document, keys);
}

Tenant& EngineCore::tenant(const std::string& name) {
  Tenant& own = tenants_[name];
  if (own.number == 0) own.number = ++lastTenant_;
  return own;
}

/// Names that nothing here belongs to go: no request, no page of KV, no head, no beliefs.
void EngineCore::dropIdleTenants() {
  std::vector<int64_t> kept = pool_.tenants();
  for (const auto& [id, sequence] : sequences_) {
    kept.push_back(sequence->tenant);
    kept.push_back(sequence->owner->number);
  }
  std::sort(kept.begin(), kept.end());
  std::erase_if(tenants_, [&](const auto& entry) {
    const Tenant& tenant = entry.second;
    return !tenant.head && !tenant.beliefs && !std::binary_search(kept.begin(), kept.end(), tenant.number);
  });
  manyTenants_ = std::max(kFewestTenants, 2 * tenants_.size());
}

}  // namespace foretoken
