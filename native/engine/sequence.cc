#include "engine/sequence.h"

#include <algorithm>

#include "engine/options.h"

namespace foretoken {

Sequence::Sequence(int32_t id, Request r, int32_t contextLength, int32_t vocabulary, bool drafts)
    : id(id),
      request(std::move(r)),
      promptLength(static_cast<int32_t>(request.prompt.size())),
      limit(static_cast<int32_t>(std::min<int64_t>(int64_t{promptLength} + request.maxTokens, contextLength))),
      tokens(request.prompt),
      vocabulary_(vocabulary),
      drafts_(drafts && request.speculate),
      predicted_(std::min(request.prediction.size(), static_cast<size_t>(contextLength))) {}

void Sequence::begin() {
  if (!begun_) {
    tokens.reserve(limit);
    table = PageTable(limit);
  }
  if (drafts_) makeDrafters();
  begun_ = true;
}

void Sequence::layAside() {
  suffix_.reset(), recall_.reset(), prediction_.reset(), adversarial_.reset();
  own_.reset(), echoes_.reset(), open_.reset(), asks_.reset();
  indexed_ = 0;
}

void Sequence::makeDrafters() {
  const int depth = std::min(request.maxLookahead, kMaxDraftNodes);
  own_ = std::make_unique<TextSegment>(limit, KeyForm::whole);
  echoes_ = std::make_unique<Echoes>(std::clamp(kEchoesPerToken * (limit - promptLength), 1, kEchoes));
  open_ = std::make_unique<OpenDrafts>(depth, kDraftersAsked * kMaxDraftNodes);
  asks_ = std::make_unique<OpenAsks>(depth, 2 * kMaxDraftNodes);
  if (request.record && !recorder) recorder = std::make_unique<Recorder>(request.maxLookahead);
  suffix_ = std::make_unique<SuffixDrafter>(own_.get());
  recall_ = std::make_unique<RecallDrafter>(own_.get(), echoes_.get());
  if (predicted_ > 0)
    prediction_ = std::make_unique<PredictionDrafter>(std::span(request.prediction).first(predicted_));
  if (request.force == static_cast<int32_t>(DrafterId::adversarial)) {
    adversarial_ =
        std::make_unique<AdversarialDrafter>(suffix_.get(), vocabulary_, request.seed + static_cast<uint64_t>(id));
  }
  const TextShelf* const nearest = request.learned ? sessionShelf.get() : nullptr;
  const TextShelf* const wider = request.learned ? tenantShelf.get() : nullptr;
  suffix_->share(nearest, wider, staticMemory.get());
  recall_->share(nearest, wider, staticMemory.get());
}

int32_t Sequence::draftDepth() const { return std::min(request.maxLookahead, limit - length() - 1); }

size_t Sequence::indexBytes() const {
  if (!begun_ || !own_) return 0;
  return own_->bytes() + echoes_->bytes() + (prediction_ ? prediction_->bytes() : 0);
}

bool Sequence::isStop(int32_t token) const {
  return std::find(request.stopTokens.begin(), request.stopTokens.end(), token) != request.stopTokens.end();
}

void Sequence::attach(std::shared_ptr<TextShelf> session, std::shared_ptr<TextShelf> ofTenant,
                      std::shared_ptr<const StaticMemory> common) {
  sessionShelf = std::move(session);
  tenantShelf = std::move(ofTenant);
  staticMemory = std::move(common);
}

Drafter* Sequence::drafter(DrafterId which) {
  if (!drafts()) return nullptr;
  switch (which) {
    case DrafterId::prediction: return prediction_.get();
    case DrafterId::suffix: return indexText(), suffix_.get();
    case DrafterId::adversarial: return indexText(), adversarial_.get();
    case DrafterId::recall: return indexText(), recall_.get();
    case DrafterId::blend:  // made of the others' drafts
    case DrafterId::head:   // drafts for all sequences at once
    case DrafterId::none: break;
  }
  return nullptr;
}

/// Only for those who look there: where nobody drafts, nothing is indexed until the text ends.
void Sequence::indexText() {
  for (; indexed_ < length(); ++indexed_) own_->append(tokens[indexed_]);
}

bool Sequence::hasPenalties() const {
  return request.repetitionPenalty != 1 || request.presencePenalty != 0 || request.frequencyPenalty != 0;
}

SampleRow Sequence::sampleRow(int32_t logitRow, std::span<const int32_t> path) const {
  SampleRow row{};
  row.logitRow = logitRow;
  row.seed = request.seed;
  row.position = length() + static_cast<int64_t>(path.size());
  row.temperature = request.temperature;
  row.topK = request.topK;
  row.topP = request.topP;
  row.minP = request.minP;
  row.repetitionPenalty = request.repetitionPenalty;
  row.presencePenalty = request.presencePenalty;
  row.frequencyPenalty = request.frequencyPenalty;
  row.biasToken = request.biasTokens.data();
  row.biasValue = request.biasValues.data();
  row.biasCount = static_cast<int32_t>(request.biasTokens.size());
  row.logprobs = request.logprobs;
  const auto onPath = static_cast<int32_t>(path.size());
  const int32_t window = request.penaltyWindow > 0 ? request.penaltyWindow : length() + onPath;
  row.historyLength = std::clamp(window - onPath, 0, length());
  row.history = tokens.data() + length() - row.historyLength;
  row.history2Length = std::min(onPath, window);
  row.history2 = path.data() + onPath - row.history2Length;
  return row;
}

}  // namespace foretoken
