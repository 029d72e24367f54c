#include "kv/pass_builder.h"

namespace foretoken {

PassBuilder::PassBuilder(int32_t maxRows, int32_t maxSequences, int32_t maxAncestors) {
  for (auto* rows : {&token_, &position_, &slot_, &sequence_, &base_, &logitRow_}) rows->reserve(maxRows);
  ancestorBegin_.reserve(maxRows + 1);
  ancestors_.reserve(maxAncestors);
  pages_.reserve(maxSequences);
}

void PassBuilder::begin(bool prompts) {
  for (auto* rows : {&token_, &position_, &slot_, &sequence_, &base_, &logitRow_, &ancestors_}) rows->clear();
  ancestorBegin_.assign(1, 0);
  pages_.clear();
  contextTokens_ = 0;
  pass_.prompts = prompts;
}

int32_t PassBuilder::addSequence(const PageTable& table) {
  pages_.push_back(table.pages());
  return static_cast<int32_t>(pages_.size()) - 1;
}

int32_t PassBuilder::add(int32_t sequence, int32_t token, int32_t position, int32_t slot, int32_t base, bool logits) {
  const int32_t row = rows();
  token_.push_back(token);
  position_.push_back(position);
  slot_.push_back(slot);
  sequence_.push_back(sequence);
  base_.push_back(base);
  ancestorBegin_.push_back(static_cast<int32_t>(ancestors_.size()));
  if (logits) logitRow_.push_back(row);
  contextTokens_ += position + 1;
  return row;
}

int32_t PassBuilder::addInPlace(int32_t sequence, int32_t token, int32_t position, int32_t slot, bool logits) {
  return add(sequence, token, position, slot, position + 1, logits);
}

int32_t PassBuilder::addBeside(int32_t sequence, int32_t token, int32_t parent, int32_t slot, bool logits) {
  for (int32_t i = ancestorBegin_[parent]; i < ancestorBegin_[parent + 1]; ++i) ancestors_.push_back(ancestors_[i]);
  ancestors_.push_back(slot);
  return add(sequence, token, position_[parent] + 1, slot, base_[parent], logits);
}

const Pass& PassBuilder::finish() {
  pass_.rows = rows();
  pass_.token = token_.data();
  pass_.position = position_.data();
  pass_.slot = slot_.data();
  pass_.sequence = sequence_.data();
  pass_.base = base_.data();
  pass_.ancestorBegin = ancestorBegin_.data();
  pass_.ancestors = ancestors_.data();
  pass_.pages = pages_.data();
  pass_.logitRows = logitRows();
  pass_.logitRow = logitRow_.data();
  return pass_;
}

}  // namespace foretoken
