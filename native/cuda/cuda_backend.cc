// The CUDA backend, and who takes steps of heads beside it, live in libforetoken_cuda.so; this is the way to them.
#include "backend.h"
#include "common/cuda_library.h"
#include "common/error.h"
#include "learn/step_takers.h"

namespace foretoken {
namespace {

/// What `create` makes. Throws what stood in its way.
template <class T, class Create>
std::unique_ptr<T> fromLibrary(const char* what, const Create& create) {
  foretoken_cuda_status status{};
  void* const made = create(CudaLibrary::open(), &status);
  if (made == nullptr) throw Error(status.error, std::string("while making ") + what + ": " + status.message);
  return std::unique_ptr<T>(static_cast<T*>(made));
}

}  // namespace

std::unique_ptr<Backend> createCudaBackend(const CudaOptions& options) {
  requireCuda(options.device);
  return fromLibrary<Backend>("a backend", [&](const CudaLibrary& library, foretoken_cuda_status* status) {
    return library.createBackend(options.device, options.threads, status);
  });
}

namespace learn {

StepTakers cudaStepTakers(int device) {
  requireCuda(device);
  StepTakers takers;
  takers.rows = fromLibrary<RowSteps>("a learner of rows", [&](const auto& library, foretoken_cuda_status* status) {
    return library.createRowSteps(device, status);
  });
  takers.layers = [device](const LayerStart& start) {
    return fromLibrary<LayerSteps>("a learner of layers", [&](const auto& library, foretoken_cuda_status* status) {
      return library.createLayerSteps(device, &start, status);
    });
  };
  return takers;
}

}  // namespace learn
}  // namespace foretoken
