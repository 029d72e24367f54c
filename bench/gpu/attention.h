// Attention on a card.
#pragma once
#include "bench/gpu/report.h"

namespace foretoken::bench {

/// One layer of Llama-3-8B's and of Qwen3-32B's shapes: a decoded row, a tree of drafts, a chunk of a prompt.
/// `ceiling`: bytes/s of reading, of which shares are.
void attention(Report& report, double ceiling);

}  // namespace foretoken::bench
