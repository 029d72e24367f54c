#include "engine/ledger.h"

#include <algorithm>

namespace foretoken {

void Ledger::open(int32_t sequence, int32_t promptTokens) {
  accounts_[sequence].promptTokens = promptTokens;
  ++running_;
}

void Ledger::abandon(int32_t sequence) { running_ -= static_cast<int32_t>(accounts_.erase(sequence)); }

void Ledger::observe(const Outcomes& batch) {
  for (const StepRecord& record : batch.steps) {
    const auto account = accounts_.find(record.sequence);
    if (account == accounts_.end() || account->second.closed) continue;
    Step step{account->second.emitted, record.tokenCount, 0, record.accepted, 0};
    for (int32_t i = 0; i < record.draftCount; ++i) {
      const int32_t node = batch.draftOutcome[record.draftOffset + i];
      if (isShadow(node)) continue;
      ++step.drafted;
      step.rejected += outcomeOf(node) == NodeOutcome::rejected;
    }
    account->second.emitted += record.tokenCount;
    account->second.steps.push_back(step);
    add(step, 1, step.tokens, step.accepted);
  }
  const auto ended = [&](int32_t sequence, int32_t cachedPromptTokens) {
    const auto account = accounts_.find(sequence);
    if (account == accounts_.end() || account->second.ended) return;
    counts_.promptTokens += account->second.promptTokens;
    counts_.cachedPromptTokens += cachedPromptTokens;
    account->second.ended = true;
    --running_;
    if (account->second.closed) accounts_.erase(account);
  };
  for (const FinishedRecord& record : batch.finished) ended(record.sequence, record.cachedPromptTokens);
  for (const SequenceFailure& failure : batch.errors) ended(failure.sequence, 0);
}

void Ledger::consumed(int32_t sequence, int32_t count) {
  const auto account = accounts_.find(sequence);
  if (account == accounts_.end()) return;
  auto& steps = account->second.steps;
  const auto open = std::find_if(steps.begin(), steps.end(), [&](const Step& s) { return s.begin + s.tokens > count; });
  steps.erase(steps.begin(), open);
}

void Ledger::finish(int32_t sequence, int32_t keep) {
  const auto account = accounts_.find(sequence);
  if (account == accounts_.end() || account->second.closed) return;
  for (const Step& step : account->second.steps) {
    const int32_t kept = std::clamp(keep - step.begin, 0, step.tokens);
    if (kept == step.tokens) continue;
    if (kept == 0) {
      add(step, -1, step.tokens, step.accepted);
    } else {
      const int32_t accepted = std::min(step.accepted, kept);
      add({0, 0, 0, 0, 0}, -1, step.tokens - kept, step.accepted - accepted);
    }
  }
  account->second.steps.clear();
  account->second.closed = true;
  if (account->second.ended) accounts_.erase(account);
}

void Ledger::add(const Step& step, int sign, int32_t tokens, int32_t accepted) {
  counts_.tokens += sign * tokens;
  counts_.accepted += sign * accepted;
  counts_.drafted += sign * step.drafted;
  counts_.rejected += sign * step.rejected;
}

}  // namespace foretoken
