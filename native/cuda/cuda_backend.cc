// The CUDA backend lives in libforetoken_cuda.so; this is the way to it.
#include "backend.h"
#include "common/cuda_library.h"
#include "common/error.h"

namespace foretoken {

std::unique_ptr<Backend> createCudaBackend(const CudaOptions& options) {
  cudaInfo();  // throws where there is no device, or none that computes as it should
  foretoken_cuda_status status{};
  void* const backend = CudaLibrary::open().createBackend(options.device, options.threads, &status);
  if (backend == nullptr)
    throw Error("CUDA_ERROR", std::string("CUDA failed while making a backend: ") + status.message);
  return std::unique_ptr<Backend>(static_cast<Backend*>(backend));
}

}  // namespace foretoken
