#pragma once
#include "bench/gpu/report.h"

namespace foretoken::bench {

/// Every kernel of a step at the shapes of shapes.h. `ceiling`: bytes/s of reading, of which shares are.
void kernels(Report& report, double ceiling);

}  // namespace foretoken::bench
