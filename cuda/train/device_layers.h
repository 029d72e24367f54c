// A head's layers learn on the device: forward and backward pass and AdamW in short launches on a low-priority stream
// beside decoding, which gives way to it after each. Weights and moments stay there; of a step the host learns whether
// it was taken.
#pragma once
#include "learn/layer_steps.h"

namespace foretoken::cuda {

/// Throws SHAPE_MISMATCH where the kernels can't take such a head, OUT_OF_MEMORY.
std::unique_ptr<learn::LayerSteps> createLayerSteps(int device, const learn::LayerStart& start);

}  // namespace foretoken::cuda
