#pragma once
#include "bench/gpu/report.h"

namespace foretoken::bench {

/// A whole decode step of a random model of the shapes of Llama-3-8B, plain and with drafts, as the engine runs it:
/// through the backend, with its graphs, until the host has the drawn tokens. False where a pass's first row draws
/// another token among others than alone.
bool step(Report& report, double ceiling);

}  // namespace foretoken::bench
