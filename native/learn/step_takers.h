// Who takes steps of heads that learn in the CPU's place.
#pragma once
#include <exception>

#include "learn/layer_steps.h"
#include "learn/row_steps.h"

namespace foretoken::learn {

/// What is empty, the CPU does itself.
struct StepTakers {
  std::shared_ptr<RowSteps> rows;
  MakeLayerSteps layers;
  /// Is told where the CPU takes steps in the place of one of them, and why.
  std::function<void(std::exception_ptr)> onCpu = nullptr;
};

/// Those of libforetoken_cuda.so. Throws what createCudaBackend throws.
StepTakers cudaStepTakers(int device);

}  // namespace foretoken::learn
