// How many KV pages an engine gets.
#pragma once
#include <cstddef>
#include <cstdint>

#include "engine/options.h"
#include "model/model.h"

namespace foretoken {

/// Tokens a sequence may hold under these options. Throws INVALID_OPTION when more is asked than the model has.
int32_t contextLengthFor(const EngineOptions& options, const ModelConfig& config);

struct KvBudget {
  int32_t scratchPages;   ///< pages 0 .. scratchPages - 1 hold tree nodes off the main chain for the length of a round
  int32_t sequencePages;  ///< pages after them, for sequences and the prefix cache
};
/// Keys and values under these options, of the model and of the head behind it, in so many pages.
KvShape kvShape(const EngineOptions& options, const ModelConfig& config, int32_t pages);
/// Pages for `options` within the memory that the backend has left. Throws OUT_OF_MEMORY if not even one full context
/// fits, and what the backend has against keys and values of this shape.
KvBudget kvBudget(const EngineOptions& options, const ModelConfig& config, const Backend& backend);

}  // namespace foretoken
