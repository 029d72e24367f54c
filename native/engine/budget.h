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
/// Pages for `options` within `availableBytes`. Throws OUT_OF_MEMORY if not even one full context fits.
KvBudget kvBudget(const EngineOptions& options, const ModelConfig& config, size_t availableBytes);

}  // namespace foretoken
