#include "learn/layer_steps.h"

namespace foretoken::learn {

bool isLearned(const train::Parameter& p) {
  const auto has = [&](const char* part) { return p.name.find(part) != std::string::npos; };
  return p.isMatrix() && (has(".attention.q.") || has(".attention.o.") || has(".mlp."));
}

train::TargetTables tablesFor(const std::vector<int32_t>& draft, const train::TargetTables& target) {
  if (draft == target.draft) return target;
  return {.embedding = target.embedding,
          .draft = draft,
          .place = train::placesOf(draft, static_cast<int64_t>(target.place.size())),
          .output = target.rowsOf(draft),
          .rowsOf = target.rowsOf};
}

void addDelta(const train::OutputDelta& delta, int64_t width, train::Floats& output) {
  for (size_t i = 0; i < delta.place.size(); ++i)
    for (int64_t c = 0; c < width; ++c) output[delta.place[i] * width + c] += delta.row[i * width + c];
}

}  // namespace foretoken::learn
