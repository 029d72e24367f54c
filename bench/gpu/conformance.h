#pragma once
#include <string>

#include "bench/gpu/report.h"

namespace foretoken::bench {

/// Runs the probes on the device and compares them with what the executor of cuda/simt says of them in `executor`.
/// Writes the device's words to `golden`, if that is a name. False where they differ.
bool conformance(Report& report, const std::string& executor, const std::string& golden);

}  // namespace foretoken::bench
