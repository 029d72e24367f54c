// The pieces of a head's training on a card.
#pragma once
#include "bench/gpu/report.h"

namespace foretoken::bench {

/// Of linear layers with loss over 256 rows (width 4096, 32,000 draft tokens) and of a step over 64 million weights:
/// milliseconds of all launches together, and microseconds of the longest, when planned for 16 multiprocessors.
void training(Report& report);

}  // namespace foretoken::bench
