// Drawing tokens from logits on a card.
#pragma once
#include "bench/gpu/report.h"

namespace foretoken::bench {

/// Microseconds for 1, 8 and 64 rows of 128,256 tokens in bf16, greedy, sampled and with top-k, top-p and min-p; false
/// where a row draws another token among others than alone, or greedily not its greatest logit.
bool drawing(Report& report);

}  // namespace foretoken::bench
