// Whether a head fits a target: to be asked of every head that comes from a file before it drafts, learns or is
// trained, for its tokens and positions become indices there.
#pragma once
#include <span>

#include "model/model.h"
#include "train/block_head.h"

namespace foretoken::train {

/// Throws HEAD_MISMATCH where it does not. `fusedLayers`, `draft`: what the head looks at, and can draft.
void requireFit(const BlockHeadShape&, std::span<const int> fusedLayers, std::span<const int32_t> draft,
                const ModelConfig&);

}  // namespace foretoken::train
