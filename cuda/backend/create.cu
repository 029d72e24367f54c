// The backend as the addon gets it.
#include <cstdio>
#include <exception>

#include "cuda/abi.h"
#include "cuda/backend/cuda_backend.h"

extern "C" __attribute__((visibility("default"))) void* foretoken_cuda_create_backend(int32_t device, int32_t threads,
                                                                                      foretoken_cuda_status* status) {
  *status = {};
  try {
    foretoken::Backend* const backend =
        new foretoken::cuda::CudaBackend(foretoken::cuda::BackendOptions{device, threads});
    return backend;
  } catch (const std::exception& error) {
    status->code = -1;
    std::snprintf(status->message, sizeof status->message, "%s", error.what());
    return nullptr;
  }
}
