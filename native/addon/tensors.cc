#include "addon/tensors.h"

#include <filesystem>
#include <memory>
#include <string>

#include "addon/errors.h"
#include "common/error.h"
#include "format/gguf.h"
#include "format/safetensors.h"

namespace foretoken::addon {
namespace {

std::unique_ptr<TensorFile> openTensors(const std::string& path) {
  if (std::filesystem::is_directory(path)) return SafetensorsFile::open(path);
  return GgufFile::open(path);
}

Napi::Object toJs(Napi::Env env, const TensorInfo& tensor) {
  auto shape = Napi::Array::New(env, tensor.shape.size());
  for (uint32_t i = 0; i < tensor.shape.size(); ++i) shape.Set(i, static_cast<double>(tensor.shape[i]));
  auto result = Napi::Object::New(env);
  result.Set("name", tensor.name);
  result.Set("type", std::string(name(tensor.type)));
  result.Set("shape", shape);
  result.Set("bytes", static_cast<double>(tensor.bytes));
  return result;
}

Napi::Value readTensors(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&]() -> Napi::Value {
    if (!call[0].IsString()) throw Error("INVALID_ARGUMENT", "path must be a string");
    const auto file = openTensors(call[0].As<Napi::String>());
    auto result = Napi::Array::New(env, file->tensors().size());
    uint32_t at = 0;
    for (const TensorInfo& tensor : file->tensors()) result.Set(at++, toJs(env, tensor));
    return result;
  });
}

}  // namespace

void initTensors(Napi::Env env, Napi::Object exports) {
  exports.Set("readTensors", Napi::Function::New(env, readTensors, "readTensors"));
}

}  // namespace foretoken::addon
