#pragma once
#include <string>

#include "bench/gpu/report.h"

namespace foretoken::bench {

/// Runs probes and trials on the device and compares them with what the executor of cuda/simt says of them in
/// `executor`: the former word by word, the latter within their tolerances. Writes the device's words to `golden`, if
/// that is a name. False where they differ.
bool conformance(Report& report, const std::string& executor, const std::string& golden);

}  // namespace foretoken::bench
