// A step of a head's layers on a card.
#pragma once
#include "bench/gpu/report.h"

namespace foretoken::bench {

/// Of a head for Llama-3-8B (32,000 draft tokens), as a learner takes it: 32 blocks in a text of 544 tokens.
/// Milliseconds of the step, microseconds that a launch waits at most which wants the whole card meanwhile, and what a
/// decode step of a model of that size takes beside such steps.
void layers(Report& report);

}  // namespace foretoken::bench
