// A batch that can't be told: whoever it tells of has failed, and the counts of the others stand.
#include "engine/outcomes.h"

#include <new>
#include <set>

#include "check.h"
#include "engine/ledger.h"

namespace foretoken {
namespace {

StepRecord step(int32_t sequence, int32_t tokens) {
  StepRecord record{};
  record.sequence = sequence, record.tokenCount = tokens;
  return record;
}

void failsAllOfWhomItTells() {
  Ledger ledger;
  for (const int32_t id : {1, 2, 3, 4, 5}) ledger.open(id, 10);
  Outcomes before;
  for (const int32_t id : {1, 5}) before.steps.push_back(step(id, 3));
  ledger.observe(before);
  Outcomes batch;
  batch.begun = true;
  batch.rounds.resize(2);
  batch.tokens = {7, 7, 7};
  batch.steps = {step(1, 1), step(2, 1), step(1, 1)};
  batch.recorded.push_back({3, 0, 0, 0});
  batch.finished.push_back({2, 0, 0});
  batch.errors.push_back({4, "BROKEN", "the model broke"});
  batch.lose(std::bad_alloc());
  std::multiset<int32_t> failed;
  for (const SequenceFailure& failure : batch.errors) {
    failed.insert(failure.sequence);
    CHECK(failure.code == (failure.sequence == 4 ? "BROKEN" : "OUT_OF_MEMORY"));
  }
  CHECK((failed == std::multiset<int32_t>{1, 2, 3, 4}));
  CHECK(batch.rounds.empty() && batch.tokens.empty() && batch.steps.empty() && batch.recorded.empty());
  CHECK(batch.finished.empty() && !batch.begun && batch.isUrgent() && !batch.empty());
  ledger.observe(batch);
  CHECK(ledger.running() == 1);
  ledger.finish(1, 2);
  CHECK(ledger.counts().tokens == 5);
}

}  // namespace
}  // namespace foretoken

int main() {
  foretoken::failsAllOfWhomItTells();
  return foretoken::test::finish("outcomes");
}
