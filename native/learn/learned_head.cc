#include "learn/learned_head.h"

#include <utility>

namespace foretoken::learn {

LearnedHead inParts(train::HeadNumbers head, int64_t markov) {
  const auto border = head.weights.begin() + markov;
  HeadRows rows{{border, head.weights.end()}, std::move(head.draft), std::move(head.delta)};
  head.weights.erase(border, head.weights.end());
  return {std::make_shared<const train::Floats>(std::move(head.weights)),
          std::make_shared<const HeadRows>(std::move(rows))};
}

train::HeadNumbers together(const LearnedHead& head) {
  train::HeadNumbers out{{}, head.rows->draft, head.rows->delta};
  out.weights.reserve(head.layers->size() + head.rows->markov.size());
  out.weights.insert(out.weights.end(), head.layers->begin(), head.layers->end());
  out.weights.insert(out.weights.end(), head.rows->markov.begin(), head.rows->markov.end());
  return out;
}

}  // namespace foretoken::learn
