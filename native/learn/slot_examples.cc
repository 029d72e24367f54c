#include "learn/slot_examples.h"

#include <algorithm>
#include <cmath>

#include "quant/float_codecs.h"

namespace foretoken::learn {
namespace {

/// Logits so far below the largest add nothing that counts.
constexpr float kNegligible = 20;

/// Logarithm of the exponentials of all logits but those of `left`, which are in order.
float restOf(std::span<const float> logits, std::span<const int32_t> left, float most) {
  double sum = 0;
  for (size_t i = 0, next = 0; i < logits.size(); ++i) {
    const bool isLeft = next < left.size() && left[next] == static_cast<int32_t>(i);
    next += isLeft;
    if (!isLeft && logits[i] > most - kNegligible) sum += std::exp(logits[i] - most);
  }
  return most + static_cast<float>(std::log(sum + 1e-30));
}

/// Lists what came where it can't be drafted: it may be, later.
void listUnknown(train::Ops& ops, const train::TargetTables& target, std::span<const int64_t> slots,
                 const train::Floats& states, SlotExamples& out) {
  if (slots.empty()) return;
  std::vector<int32_t> tokens;
  for (const int64_t s : slots) tokens.push_back(out.truth[s]);
  const train::Floats rows = target.rowsOf(tokens);
  const auto width = static_cast<int64_t>(rows.size() / tokens.size());
  for (size_t i = 0; i < tokens.size(); ++i) {
    const int64_t at = (slots[i] + 1) * SlotExamples::kListed - 1;
    out.listed[at] = tokens[i];
    out.logit[at] = ops.kernels().dot(rows.data() + i * width, states.data() + i * width, width);
  }
}

}  // namespace

SlotExamples slotExamples(train::Ops& ops, const train::BlockHead& head, const train::LabelledBlocks& batch,
                          const train::TargetTables& target, const std::vector<int32_t>& draft,
                          const train::SlotLogits& given, const train::Floats& likely) {
  const auto vocabulary = static_cast<int32_t>(head.shape().vocabulary);
  const int64_t width = head.shape().width;
  const std::vector<int32_t> place = train::placesOf(draft, static_cast<int64_t>(target.place.size()));
  SlotExamples out;
  std::vector<int64_t> unknown;
  train::Floats states;
  std::vector<int32_t> listed;
  for (int64_t r = 0; r < static_cast<int64_t>(batch.truth.size()); ++r) {
    if (batch.truth[r] < 0 || batch.weight[r] == 0) continue;
    const std::span logits(given.logits.data() + r * vocabulary, vocabulary);
    const float* const state = given.state.data() + r * width;
    listed.resize(train::kHeadCandidates);
    head.candidates(likely.data() + r * vocabulary, std::span<int32_t, train::kHeadCandidates>(listed));
    const int32_t own = place[batch.truth[r]];
    if (own == vocabulary)
      unknown.push_back(out.slots()), states.insert(states.end(), state, state + width);
    else if (std::find(listed.begin(), listed.end(), own) == listed.end())
      listed.push_back(own);
    std::sort(listed.begin(), listed.end());
    float most = -INFINITY;
    for (const int32_t p : listed) most = std::max(most, logits[p]);
    for (int64_t i = 0; i < SlotExamples::kListed; ++i) {
      const bool isThere = i < static_cast<int64_t>(listed.size());
      out.listed.push_back(isThere ? draft[listed[i]] : -1);
      out.logit.push_back(isThere ? logits[listed[i]] : 0.0f);
    }
    out.rest.push_back(restOf(logits, listed, most));
    out.previous.push_back(batch.blocks.token[r]);
    out.truth.push_back(batch.truth[r]);
    out.weight.push_back(batch.weight[r] / batch.weight[0]);
    for (int64_t c = 0; c < width; ++c) out.state.push_back(floatToBf16(state[c]));
  }
  listUnknown(ops, target, unknown, states, out);
  return out;
}

}  // namespace foretoken::learn
