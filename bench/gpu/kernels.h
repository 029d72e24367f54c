#pragma once
#include "bench/gpu/report.h"

namespace foretoken::bench {

/// The skinny product, and its inputs prepared, at the shapes of shapes.h. `ceiling`: bytes/s of reading, of which
/// shares are.
void kernels(Report& report, double ceiling);

}  // namespace foretoken::bench
