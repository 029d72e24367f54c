// Computing the keys and values of tokens that are already known: prompts, and everything of a sequence that was
// preempted.
#include <algorithm>
#include <exception>

#include "common/error.h"
#include "engine/core.h"

namespace foretoken {

/// One chunk of what is to be computed, oldest sequence first. False: there is nothing to prefill.
bool EngineCore::prefill() {
  const auto begin = Clock::now();
  prefillParts_.clear();
  try {
    planPrefill();
    if (prefillParts_.empty()) return false;
    runPass();
    // Where no token is wanted nobody would wait for the pass, and the next one would have its time as well.
    if (sampleRows_.empty()) backend_.settle();
    const auto passed = Clock::now();
    auto sampled = passed;
    double waited = 0;
    if (!sampleRows_.empty()) {
      backend_.sample(model_->logits(), vocabulary_, sampleRows_, std::span(results_).first(sampleRows_.size()));
      sampled = Clock::now(), waited = backend_.waited();
    }
    recordPrefill(begin, passed, sampled, waited);
  } catch (const std::exception& error) {
    for (const PrefillPart& part : prefillParts_) breakOff(*part.sequence, error);
  }
  return true;
}

/// All rows are of one phase: of prompts, or of what was generated before its keys and values were given up. Whose turn
/// it is has its part before anything of its is done, so that it ends where that fails.
void EngineCore::planPrefill() {
  sampleRows_.clear();
  const bool decoding = std::any_of(active_.begin(), active_.end(), [&](const Sequence* s) {
    return s->state == Sequence::State::decoding && !tooFarAhead(*s);
  });
  int32_t room = decoding ? options_.prefillChunkBeside : options_.prefillChunk;
  for (Sequence* each = activeAfter(-1); each != nullptr && room > 0; each = activeAfter(each->id)) {
    Sequence& sequence = *each;
    if (sequence.state != Sequence::State::prefilling) continue;
    const bool isFirst = prefillParts_.empty();
    if (!isFirst && sequence.model.get() != model_) continue;
    PrefillPart& part = prefillParts_.emplace_back(PrefillPart{&sequence, 0, 0, -1});
    if (!startPrefill(sequence) || (!isFirst && sequence.isInPrompt() != pass_.ofPrompts())) {
      prefillParts_.pop_back();
      continue;
    }
    if (isFirst) {
      model_ = sequence.model.get();
      pass_.begin(sequence.isInPrompt());
    }
    const int32_t rows = std::min(room, sequence.pendingInPhase());
    room -= rows;
    part.firstRow = pass_.rows(), part.rows = rows;
    const int32_t index = pass_.addSequence(sequence.table);
    for (int32_t k = 0; k < rows; ++k) {
      const int32_t position = sequence.computed + k;
      const bool last = position + 1 == sequence.length();
      if (last) part.logitRow = pass_.logitRows();
      pass_.addInPlace(index, sequence.tokens[position], position, sequence.table.slot(position), last);
    }
    if (part.logitRow >= 0) sampleRows_.push_back(sequence.sampleRow(part.logitRow, {}));
  }
}

/// Before the first chunk: shares what the prefix cache has and takes pages for the rest. At least the last token is
/// always computed, because its logits are wanted. False: no pages, the sequence waits again.
bool EngineCore::startPrefill(Sequence& sequence) {
  if (sequence.table.size() > 0) return true;
  sequence.headKnown = {};
  const int32_t most = sequence.model == versions_.back() ? sharable(sequence, sequence.length() - 1) : 0;
  sequence.computed = sequence.table.adoptPrefix(pool_, sequence.tenant, sequence.tokens, most);
  for (int32_t p = 0; p < sequence.computed && keys_ && sequence.drafts(); ++p)
    sequence.learn(p, reinterpret_cast<const int8_t*>(backend_.side(sequence.table.slot(p))));
  if (sequence.cachedPromptTokens < 0) sequence.cachedPromptTokens = std::min(sequence.computed, sequence.promptLength);
  return ensureRoom(sequence, sequence.length());
}

/// `waited`: of the seconds of sampling, those that were the pass's.
void EngineCore::recordPrefill(Clock::time_point begin, Clock::time_point passed, Clock::time_point sampled,
                               double waited) {
  const auto seconds = [](Clock::duration d) { return std::chrono::duration<double>(d).count(); };
  const double sampling = seconds(sampled - passed), ofPass = std::min(waited, sampling);
  const auto rows = static_cast<double>(pass_.rows());
  out_->begun = true;
  out_->rounds.push_back({rows, static_cast<double>(prefillParts_.size()), static_cast<double>(pass_.contextTokens()),
                          rows, 0, seconds(passed - begin) + ofPass, sampling - ofPass, 0, 0, 0});
  for (const PrefillPart& part : prefillParts_) out_->whole([&] { takePrefilled(part); });
  out_->rounds.back().otherSeconds = seconds(Clock::now() - sampled);
  counters_.prefillSeconds += seconds(Clock::now() - begin);
  ++counters_.rounds;
}

/// A piece of a prompt has been computed; after the last one its sequence has its first token.
void EngineCore::takePrefilled(const PrefillPart& part) {
  Sequence& sequence = *part.sequence;
  for (int32_t k = 0; k < part.rows; ++k) verified(sequence, part.firstRow + k);
  sequence.computed += part.rows;
  share(sequence, sequence.promptLength);
  if (part.logitRow < 0) return;
  const auto round = static_cast<int32_t>(out_->rounds.size()) - 1;
  const auto offset = static_cast<int32_t>(out_->tokens.size());
  const auto logprobOffset = static_cast<int32_t>(out_->logprobs.size());
  emit(sequence, results_[part.logitRow]);
  if (sequence.drafts()) sequence.echoes().hearNothing();
  sequence.state = Sequence::State::decoding;
  out_->steps.push_back({.round = round,
                         .sequence = sequence.id,
                         .tokenOffset = offset,
                         .tokenCount = 1,
                         .draftOffset = static_cast<int32_t>(out_->draftOutcome.size()),
                         .draftCount = 0,
                         .accepted = 0,
                         .drafter = 0,
                         .weights = sequence.weights,
                         .logprobOffset = logprobOffset});
  endIfComplete(sequence);
}

}  // namespace foretoken
