// What drafts are made with, on a card.
#pragma once
#include "bench/gpu/report.h"

namespace foretoken::bench {

/// Keys of hidden states, the nearest of 1,024 places a query and what they vote for, a head's trees of 16 nodes, walks
/// down trees of 64.
void drafting(Report& report);

}  // namespace foretoken::bench
