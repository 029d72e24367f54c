// What computes, as the addon gets it.
#include <cstdio>
#include <exception>

#include "common/error.h"
#include "cuda/abi.h"
#include "cuda/backend/cuda_backend.h"
#include "cuda/train/device_layers.h"
#include "cuda/train/device_rows.h"

#define FORETOKEN_EXPORT extern "C" __attribute__((visibility("default")))

namespace {

/// What `make` gives; null where it throws.
template <class Make>
void* created(foretoken_cuda_status* status, const Make& make) {
  *status = {};
  try {
    return make();
  } catch (const std::exception& error) {
    status->code = -1;
    std::snprintf(status->error, sizeof status->error, "%s", foretoken::errorCode(error).c_str());
    std::snprintf(status->message, sizeof status->message, "%s", error.what());
    return nullptr;
  }
}

}  // namespace

FORETOKEN_EXPORT void* foretoken_cuda_create_backend(int32_t device, int32_t threads, foretoken_cuda_status* status) {
  return created(status, [&]() -> foretoken::Backend* {
    return new foretoken::cuda::CudaBackend(foretoken::cuda::BackendOptions{device, threads});
  });
}

FORETOKEN_EXPORT void* foretoken_cuda_create_row_steps(int32_t device, foretoken_cuda_status* status) {
  return created(status, [&]() -> foretoken::learn::RowSteps* { return new foretoken::cuda::DeviceRowSteps(device); });
}

FORETOKEN_EXPORT void* foretoken_cuda_create_layer_steps(int32_t device, const void* start,
                                                         foretoken_cuda_status* status) {
  return created(status, [&]() -> foretoken::learn::LayerSteps* {
    return foretoken::cuda::createLayerSteps(device, *static_cast<const foretoken::learn::LayerStart*>(start))
        .release();
  });
}
