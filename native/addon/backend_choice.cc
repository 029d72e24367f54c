#include "addon/backend_choice.h"

#include <algorithm>

#include "common/cuda_library.h"
#include "cpu/isa.h"
#include "cpu/topology.h"

namespace foretoken::addon {

std::unique_ptr<Backend> BackendChoice::create() const {
  if (backend == "cuda") return createCudaBackend({0, threadCount()});
  return createCpuBackend({threads, isa});
}

learn::StepTakers BackendChoice::stepTakers() const {
  return backend == "cuda" ? learn::cudaStepTakers(0) : learn::StepTakers{};
}

std::string BackendChoice::processor() const {
  return backend == "cuda" ? cudaInfo().devices[0].name : name(selectIsa(isa));
}

int BackendChoice::threadCount() const { return threads ? threads : defaultThreads(); }

BackendChoice BackendChoice::beside() const { return {backend, std::max(1, threadCount() / 2), isa}; }

}  // namespace foretoken::addon
