#include "common/cuda_library.h"

#include <dlfcn.h>

#include <atomic>
#include <filesystem>
#include <mutex>
#include <optional>

#include "common/error.h"

namespace foretoken {
namespace {

constexpr const char* kFileName = "libforetoken_cuda.so";

/// The folder of the binary that holds this function: the addon's in Node, a test program's in tests.
std::string ownFolder() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(&ownFolder), &info) == 0 || info.dli_fname == nullptr) return ".";
  const std::string file = info.dli_fname;
  const size_t slash = file.rfind('/');
  return slash == std::string::npos ? "." : file.substr(0, slash);
}

/// Whether this process has computed on its devices: what fails from then on has been lost, and does not come back.
std::atomic<bool> hasComputed{false};
constexpr const char* kLost = "this process has lost a device that it computed with: start it anew";

[[noreturn]] void unavailable(const std::string& why) {
  throw Error("CUDA_UNAVAILABLE", "CUDA can't be used here: " + why);
}

template <typename Function>
void lookUp(void* handle, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
  if (function == nullptr) unavailable(std::string(kFileName) + " lacks " + name + "; install foretoken again");
}

CudaLibrary load() {
  CudaLibrary library{};
  library.path = ownFolder() + "/" + kFileName;
  if (!std::filesystem::exists(library.path)) {
    unavailable(library.path +
                " is not there, as where foretoken was built without nvcc: build it again where the CUDA toolkit is");
  }
  void* handle = dlopen(library.path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* said = dlerror();
    unavailable(said != nullptr ? said : library.path + " can't be opened");
  }
  decltype(&foretoken_cuda_abi_version) abiVersion;
  lookUp(handle, "foretoken_cuda_abi_version", abiVersion);
  if (abiVersion() != FORETOKEN_CUDA_ABI_VERSION) {
    unavailable(library.path + " belongs to another version of foretoken; install or build it again");
  }
  lookUp(handle, "foretoken_cuda_versions", library.versions);
  lookUp(handle, "foretoken_cuda_device_count", library.deviceCount);
  lookUp(handle, "foretoken_cuda_describe", library.describe);
  lookUp(handle, "foretoken_cuda_axpy", library.axpy);
  lookUp(handle, "foretoken_cuda_create_backend", library.createBackend);
  lookUp(handle, "foretoken_cuda_create_row_steps", library.createRowSteps);
  lookUp(handle, "foretoken_cuda_create_layer_steps", library.createLayerSteps);
  return library;
}

void require(const foretoken_cuda_status& status, const std::string& during) {
  constexpr int32_t kMemoryAllocation = 2;  // cudaErrorMemoryAllocation
  if (status.code == 0) return;
  const std::string what = "CUDA failed while " + during + ": " + status.message;
  if (status.code == kMemoryAllocation) throw Error("OUT_OF_MEMORY", what);
  throw Error("CUDA_ERROR", hasComputed ? what + "; " + kLost : what);
}

/// Runs axpy on a device over a length that fills no block evenly and compares every element.
void checkKernel(const CudaLibrary& library, int index, const foretoken_cuda_device& device) {
  constexpr int32_t kNoKernelImage = 209;  // cudaErrorNoKernelImageForDevice
  constexpr size_t kCount = 1000;
  std::vector<float> x(kCount), y(kCount);
  for (size_t i = 0; i < kCount; ++i) {
    x[i] = static_cast<float>(i);
    y[i] = static_cast<float>(2 * i + 1);
  }
  foretoken_cuda_status status{};
  library.axpy(index, 0.5f, x.data(), y.data(), kCount, &status);
  if (status.code == kNoKernelImage)
    unavailable(std::string(device.name) + " has compute capability " + std::to_string(device.capability_major) + "." +
                std::to_string(device.capability_minor) +
                ", and there are kernels for Hopper (9.0) and Blackwell "
                "(10.x) only");
  const std::string during = "running a kernel on device " + std::to_string(index);
  require(status, during);
  for (size_t i = 0; i < kCount; ++i) {
    // Small multiples of a half: exact in fp32 whether or not the device fuses multiply and add.
    if (y[i] != 2.5f * static_cast<float>(i) + 1.0f) {
      throw Error("CUDA_ERROR", "CUDA gave a wrong result while " + during);
    }
  }
}

}  // namespace

const CudaLibrary& CudaLibrary::open() {
  static std::mutex mutex;
  static std::optional<CudaLibrary> library;
  const std::lock_guard lock(mutex);
  if (!library) library = load();
  return *library;
}

CudaInfo cudaInfo() {
  const CudaLibrary& library = CudaLibrary::open();
  foretoken_cuda_status status{};
  const int count = library.deviceCount(&status);
  const std::string why = status.code != 0 ? status.message : "there is no CUDA device";
  if (count == 0) unavailable(hasComputed ? why + "; " + kLost : why);

  CudaInfo info{library.path, 0, 0, {}};
  library.versions(&info.runtimeVersion, &info.driverVersion, &status);
  require(status, "asking for versions");
  for (int index = 0; index < count; ++index) {
    foretoken_cuda_device device{};
    library.describe(index, &device, &status);
    require(status, "describing device " + std::to_string(index));
    info.devices.push_back(device);
  }
  return info;
}

void requireCuda(int device) {
  const CudaInfo info = cudaInfo();
  if (device >= static_cast<int>(info.devices.size())) unavailable("there is no device " + std::to_string(device));
  checkKernel(CudaLibrary::open(), device, info.devices[device]);
  hasComputed = true;
}

}  // namespace foretoken
