#include "addon/cuda.h"

#include "addon/errors.h"
#include "common/cuda_library.h"

namespace foretoken::addon {
namespace {

/// CUDA counts 13.0 as 13000.
std::string versionText(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

Napi::Object toJs(Napi::Env env, const foretoken_cuda_device& device) {
  auto result = Napi::Object::New(env);
  result.Set("name", device.name);
  result.Set("capability", std::to_string(device.capability_major) + "." + std::to_string(device.capability_minor));
  result.Set("memory", static_cast<double>(device.memory_bytes));
  return result;
}

Napi::Value cudaInfo(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&] {
    const CudaInfo info = foretoken::cudaInfo();
    auto devices = Napi::Array::New(env, info.devices.size());
    for (uint32_t i = 0; i < info.devices.size(); ++i) devices.Set(i, toJs(env, info.devices[i]));
    auto result = Napi::Object::New(env);
    result.Set("library", info.library);
    result.Set("runtime", versionText(info.runtimeVersion));
    result.Set("driver", versionText(info.driverVersion));
    result.Set("devices", devices);
    return result;
  });
}

}  // namespace

void initCuda(Napi::Env env, Napi::Object exports) { exports.Set("cudaInfo", Napi::Function::New(env, cudaInfo)); }

}  // namespace foretoken::addon
