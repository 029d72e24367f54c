// Packed weights that models of this process read together: engines of the same source in the same formats hold one
// copy. Nobody writes them once they are there; updated weights are a copy of their own.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "common/memory.h"

namespace foretoken {

/// What some model of this process holds under `key`, or else what `make` returns, which is then held under it as long
/// as anybody has it. `key` says all that the bytes depend on. Throws what `make` throws. Of two callers at the same
/// time both may make it; one of the two is kept.
std::shared_ptr<const Memory> sharedWeights(const std::string& key, const std::function<Memory()>& make);

}  // namespace foretoken
