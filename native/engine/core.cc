#include "engine/core.h"

#include <algorithm>
#include <new>

#include "common/error.h"
#include "learn/verified_text.h"

namespace foretoken {
namespace {

EngineOptions checked(EngineOptions options) {
  if (options.maxSequences < 1 || options.maxSequences > 64) {
    throw Error("INVALID_OPTION", "maxSequences must be between 1 and 64");
  }
  if (options.runAhead < 1) throw Error("INVALID_OPTION", "runAhead must be at least 1");
  if (options.speculation) options.sideBytes = std::max(options.sideBytes, int32_t{kKeyWidth});
  if (!options.speculation) options.head = nullptr;
  if (!options.head) options.textSink = nullptr;
  if (options.head)
    options.sideBytes =
        std::max(options.sideBytes, headSideBytes(*options.head, /*state=*/options.textSink != nullptr));
  if (options.tenantIndexBytes == 0) options.tenantIndexBytes = options.indexBytes / 4;
  options.prefillChunk = std::clamp(options.prefillChunk, 1, options.maxRows);
  options.prefillChunkBeside = std::clamp(options.prefillChunkBeside, 1, options.maxRows);
  return options;
}

Beliefs everybodyDraftsInVain() {
  Beliefs beliefs;
  beliefs.allowed.fill(true);
  beliefs.askEvery.fill(1);
  return beliefs;
}

}  // namespace

EngineCore::EngineCore(Backend& backend, std::shared_ptr<Model> model, const EngineOptions& options)
    : backend_(backend),
      versions_{std::move(model)},
      model_(versions_.front().get()),
      options_(checked(options)),
      vocabulary_(model_->config().vocabulary),
      contextLength_(contextLengthFor(options_, model_->config())),
      promptsDiffer_(backend.promptsDiffer()),
      budget_(kvBudget(options_, model_->config(), backend)),
      pool_(budget_.scratchPages, budget_.sequencePages),
      library_(options_.indexBytes, options_.tenantIndexBytes, /*keys=*/true, options_.keepsDropped),
      recordersBeliefs_(everybodyDraftsInVain()),
      planner_(options_.maxSequences * kMaxDraftNodes),
      pass_(std::max(options_.maxRows, options_.maxSequences + kMaxDraftRows), options_.maxSequences,
            kMaxDraftRows * kMaxDraftNodes),
      paths_(static_cast<size_t>(options_.maxSequences + kMaxDraftRows) * kMaxDraftNodes),
      results_(options_.maxSequences + kMaxDraftRows) {
  const ModelConfig& config = model_->config();
  backend.allocateKv(kvShape(options_, config, budget_.scratchPages + budget_.sequencePages));
  active_.reserve(options_.maxSequences);
  entries_.reserve(options_.maxSequences);
  askers_.reserve(options_.maxSequences);
  planEntries_.reserve(options_.maxSequences);
  sampleRows_.reserve(results_.size());
  copyFrom_.reserve(kMaxDraftRows);
  copyTo_.reserve(kMaxDraftRows);
  prefillParts_.reserve(options_.maxSequences);
  for (int i = 0; i < options_.maxSequences; ++i) entryPool_.push_back(std::make_unique<Entry>());
  if (options_.speculation) centreKeys();
  if (options_.head) {
    head_.emplace(backend, options_.head, config.layers, budget_.scratchPages * kPageSize, options_.maxSequences);
    asks_.reserve(options_.maxSequences);
    asked_.reserve(options_.maxSequences);
    capture_.keptLayers = options_.head->fusedLayers();
    capture_.keptOffset = kHeadFeatures;
    if (options_.textSink) capture_.keptLayers.push_back(config.layers);
    commonHead_ = options_.head;
  }
  if (options_.captureSink == nullptr) return;
  captured_.resize(options_.captureLayers.size() * static_cast<size_t>(options_.maxRows) * config.width);
  capture_.layers = options_.captureLayers;
  capture_.out = captured_.data();
  capturedRow_.resize(options_.captureLayers.size());
}

EngineCore::~EngineCore() = default;

void EngineCore::submit(std::unique_ptr<Sequence> sequence) {
  const Request& request = sequence->request;
  const std::string& learner = sequence->learner();
  ++counters_.submitted;
  try {
    if (tenants_.size() >= manyTenants_) dropIdleTenants();
    sequence->tenant = tenant(request.tenant).number;
    sequence->owner = &tenant(learner);
    if (sequence->drafts()) {
      sequence->attach(request.session.empty() ? nullptr : library_.shelf(learner, request.session),
                       library_.shelf(learner, ""), staticMemory_);
    }
    if (waiting_.capacity() <= sequences_.size()) waiting_.reserve(2 * sequences_.size() + 1);
    sequences_[sequence->id] = nullptr;
  } catch (const std::bad_alloc& error) {
    return tellFailure(*sequence, error);
  }
  waiting_.push_back(sequence.get());
  sequences_[sequence->id] = std::move(sequence);
  admissible_ = true;
}

void EngineCore::consumed(int32_t id, int32_t count) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return;
  found->second->consumed = std::max(found->second->consumed, count);
  admissible_ = true;  // a paused sequence may have been waiting for this
}

void EngineCore::unread(int32_t id) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return;
  found->second->isRead = false;
  admissible_ = true;  // it may have been paused
}

bool EngineCore::isRead() const {
  return std::any_of(active_.begin(), active_.end(), [](const Sequence* sequence) { return sequence->isRead; });
}

void EngineCore::finish(int32_t id, int32_t keep) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return;
  Sequence& sequence = *found->second;
  try {
    if (sequence.state != Sequence::State::ended) out_->whole([&] { end(sequence, FinishReason::cancelled); });
  } catch (const std::bad_alloc& error) {
    return fail(sequence, error);  // what it recorded can't be told
  }
  settle(sequence, std::clamp(keep, 0, sequence.emitted()));
}

std::function<void()> EngineCore::forgetting(const std::string* tenant) const {
  return options_.textSink ? options_.textSink->forgetting(tenant) : nullptr;
}

void EngineCore::forget(const std::string* tenant, const std::string* session, const std::function<void()>& learner) {
  if (session != nullptr && session->empty()) return;  // that of requests without one
  library_.forget(tenant, session);
  for (auto& [id, sequence] : sequences_) {
    const bool ofTenant = tenant == nullptr || sequence->request.tenant == *tenant || sequence->learner() == *tenant;
    const bool meant = ofTenant && (session == nullptr || sequence->request.session == *session);
    if (!meant) continue;
    sequence->remembered = false;
  }
  if (session != nullptr) return;  // prefixes and heads belong to tenants
  if (learner) learner();
  if (tenant == nullptr) {
    pool_.forget(-1);
    for (auto& [name, each] : tenants_) each.forget();
  } else if (const auto known = tenants_.find(*tenant); known != tenants_.end()) {
    if (known->second.number > 0) pool_.forget(known->second.number);
    known->second.forget();
  }
}

void EngineCore::setStaticMemory(const MemoryImage& image) {
  staticMemory_ = image.tokens.empty() ? nullptr : std::make_shared<const StaticMemory>(image, vocabulary_);
}

void EngineCore::restoreMemory(const std::string& tenant, const MemoryImage& image) {
  requireFits(image, vocabulary_);
  const auto shelf = library_.shelf(tenant, "");
  const std::span<const int32_t> tokens(image.tokens);
  const bool isNew = shelf->bytes() == 0;
  try {
    for (size_t first = 0; first < tokens.size();) {
      const auto end = static_cast<size_t>(std::find(tokens.begin() + first, tokens.end(), kBorder) - tokens.begin());
      if (end > first)
        library_.add(*shelf, tokens.subspan(first, end - first),
                     {.stored = image.keys.data() + first * kPackedKeyBytes});
      first = end + 1;
    }
  } catch (const std::bad_alloc&) {
    if (isNew) library_.clear(*shelf);
    throw;
  }
}

TakenMemory EngineCore::takeMemory(const std::string& tenant) {
  TakenMemory taken{.image = library_.image(tenant), .cut = library_.isCut(tenant)};
  taken.dropped = library_.take(tenant);
  return taken;
}

void EngineCore::setHead(Tenants place, std::shared_ptr<const HeadWeights> head) {
  (place.empty() ? commonHead_ : takeIn(tenants_, place).head) = std::move(head);
}

void EngineCore::setPolicy(const std::string* tenant, Policy policy) {
  Tenants place = placeFor(tenant, policy);
  setPolicy(std::move(place), std::move(policy));
}

void EngineCore::setPolicy(Tenants place, Policy policy) {
  if (place.empty()) {
    commonBeliefs_ = policy;
  } else {
    auto beliefs = std::move(place.begin()->second.beliefs);
    takeIn(tenants_, place).beliefs = std::move(beliefs);
  }
  prices_ = std::move(policy);
}

void EngineCore::dropPolicy(const std::string& tenant) {
  if (const auto known = tenants_.find(tenant); known != tenants_.end()) known->second.beliefs = nullptr;
}

void EngineCore::updateWeights(std::shared_ptr<Model> model, bool restart, std::shared_ptr<const HeadWeights> head) {
  versions_.reserve(versions_.size() + 1);
  const auto& drafts = head ? head : commonHead_;
  if (options_.textSink) options_.textSink->weightsMoved(model, drafts);
  versions_.push_back(std::move(model));
  if (head) {
    commonHead_ = std::move(head);
    for (auto& [name, tenant] : tenants_) tenant.head = nullptr;
  }
  ++counters_.weightsVersion;
  pool_.forget(-1);
  if (restart) {
    while (!active_.empty()) preempt(*active_.back());
    for (Sequence* sequence : waiting_) sequence->model = nullptr;
  }
  dropOldWeights();
}

bool EngineCore::step(const std::function<void()>& read) {
  load_.set(busy());
  dropOldWeights();
  admit();
  bool worked = prefill();
  if (worked && read) read();
  for (const auto& weights : versions_) worked |= decode(*weights);
  return worked;
}

/// Sequences that want the processor: not those that wait for their readers.
int EngineCore::busy() const {
  const auto isPaused = [&](const Sequence* s) { return tooFarAhead(*s); };
  // Places are given oldest first: behind one that has not begun none has, however many wait.
  const auto begun = std::find_if(waiting_.begin(), waiting_.end(), [](const Sequence* s) { return !s->hasBegun(); });
  const auto paused =
      std::count_if(active_.begin(), active_.end(), isPaused) + std::count_if(waiting_.begin(), begun, isPaused);
  return static_cast<int>(active_.size() + waiting_.size() - paused);
}

EngineCounters EngineCore::counters() const {
  EngineCounters result = counters_;
  result.active = static_cast<int32_t>(active_.size());
  result.waiting = static_cast<int32_t>(waiting_.size());
  result.weightsHeld = static_cast<int32_t>(versions_.size());
  result.pagesTotal = pool_.total();
  result.pagesUsed = pool_.used();
  result.pagesCached = pool_.cached();
  result.indexBytes = static_cast<int64_t>(library_.bytes());
  result.droppedTexts = library_.dropped();
  result.tenants = static_cast<int32_t>(tenants_.size());
  result.headBytes = commonHead_ ? static_cast<int64_t>(commonHead_->bytes()) : 0;
  for (const auto& [name, tenant] : tenants_)
    if (tenant.head) result.tenantHeadBytes += static_cast<int64_t>(tenant.head->bytesBeside(*commonHead_));
  result.staticMemoryBytes = staticMemory_ ? static_cast<int64_t>(staticMemory_->bytes()) : 0;
  return result;
}

/// Runs the pass that was built. Keys are computed whoever decodes: whoever shares its pages may draft from them.
void EngineCore::runPass() {
  const Pass& pass = pass_.finish();
  if (head_)
    for (int row = 0; row < pass.rows; ++row) head_->written(pass.slot[row]);
  capture_.projection = keys_ ? &keys_->projection() : nullptr;
  const bool wanted = capture_.projection != nullptr || options_.captureSink != nullptr || head_;
  model_->forward(pass, wanted ? &capture_ : nullptr);
}

/// A row of the last pass has become part of its sequence: shows it to those who learn from it.
void EngineCore::verified(Sequence& sequence, int32_t row) {
  if (keys_ && sequence.drafts()) {
    const uint8_t* side = backend_.side(pass_.slot(row));
    sequence.learn(pass_.position(row), reinterpret_cast<const int8_t*>(side));
  }
  if (options_.captureSink == nullptr) return;
  const int64_t width = model_->config().width;
  for (size_t k = 0; k < capturedRow_.size(); ++k) {
    capturedRow_[k] = captured_.data() + (static_cast<int64_t>(k) * pass_.rows() + row) * width;
  }
  options_.captureSink->verified(sequence.id, pass_.position(row), pass_.token(row), capturedRow_);
}

/// Appends a drawn token to its sequence and to the output.
void EngineCore::emit(Sequence& sequence, const SampleResult& result) {
  sequence.tokens.push_back(result.token);
  out_->tokens.push_back(result.token);
  if (tooFarAhead(sequence)) admissible_ = true;  // it need not keep its place from others
  if (sequence.request.logprobs < 0) return;
  out_->logprobs.push_back(result.logprob);
  for (int32_t i = 0; i < sequence.request.logprobs; ++i) {
    out_->logprobs.push_back(static_cast<float>(result.topToken[i]));
    out_->logprobs.push_back(result.topLogprob[i]);
  }
}

/// Ends the sequence if its last token says so.
bool EngineCore::endIfComplete(Sequence& sequence) {
  if (sequence.isStop(sequence.tokens.back())) {
    end(sequence, FinishReason::stop);
  } else if (sequence.length() >= sequence.limit) {
    end(sequence, FinishReason::length);
  }
  return sequence.state == Sequence::State::ended;
}

}  // namespace foretoken
