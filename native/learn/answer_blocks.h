// Blocks in the answer of a text: what heads are judged on and learn from.
#pragma once
#include "train/labelled_blocks.h"

namespace foretoken::learn {

/// Blocks at up to `count` positions in a row, `noise` (0..1) of the way through the answer.
train::LabelledBlocks blocksInAnswer(const train::BlockHeadShape&, const train::TrainSequence& text, int64_t count,
                                     double noise);

}  // namespace foretoken::learn
