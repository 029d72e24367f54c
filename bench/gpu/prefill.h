#pragma once
#include "bench/gpu/report.h"

namespace foretoken::bench {

/// The products for prefill at the shapes of shapes.h, as far as the card has them.
void prefill(Report& report);

}  // namespace foretoken::bench
