// libforetoken_cuda.so, found beside the binary this code is linked into and opened at first use only.
#pragma once
#include <string>
#include <vector>

#include "cuda/abi.h"

namespace foretoken {

/// The entry points of cuda/abi.h, looked up in the opened library.
struct CudaLibrary {
  std::string path;
  decltype(&foretoken_cuda_versions) versions;
  decltype(&foretoken_cuda_device_count) deviceCount;
  decltype(&foretoken_cuda_describe) describe;
  decltype(&foretoken_cuda_axpy) axpy;
  decltype(&foretoken_cuda_create_backend) createBackend;
  decltype(&foretoken_cuda_create_row_steps) createRowSteps;
  decltype(&foretoken_cuda_create_layer_steps) createLayerSteps;

  /// Opens the library at the first call and keeps it for the life of the process.
  /// Throws Error CUDA_UNAVAILABLE where it is absent, does not load or is of another version; a later call tries
  /// again.
  static const CudaLibrary& open();
};

/// What a machine offers.
struct CudaInfo {
  std::string library;
  int runtimeVersion;
  int driverVersion;
  std::vector<foretoken_cuda_device> devices;
};

/// Throws Error CUDA_UNAVAILABLE without library, driver or device. Leaves the devices alone: others may have them.
CudaInfo cudaInfo();

/// Runs a kernel on a device. Throws Error CUDA_UNAVAILABLE where there is none, or none that kernels were built for;
/// CUDA_ERROR where it fails or computes wrongly.
void requireCuda(int device);

}  // namespace foretoken
