#include "addon/tensors.h"

#include <memory>
#include <string>

#include "addon/arguments.h"
#include "addon/errors.h"
#include "addon/promise_worker.h"
#include "common/error.h"
#include "model/source.h"

namespace foretoken::addon {
namespace {

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

Napi::Value readTensor(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&]() -> Napi::Value {
    const auto file = openTensors(stringArgument(call, 0, "path"));
    const std::string name = stringArgument(call, 1, "name");
    const TensorInfo* tensor = file->find(name);
    if (tensor == nullptr) throw Error("MISSING_TENSOR", "there is no tensor '" + name + "'");
    auto values = Napi::Float32Array::New(env, static_cast<size_t>(tensor->elements()));
    dequantize(tensor->type, tensor->data, values.Data(), tensor->elements());
    return values;
  });
}

Napi::Value hashModel(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    return PromiseWorker<std::string>::run(
        call.Env(), "foretoken hash",
        [path = stringArgument(call, 0, "path")] { return ModelSource::open(path).hash(); },
        [](Napi::Env env, const std::string& hash) -> Napi::Value { return Napi::String::New(env, hash); });
  });
}

}  // namespace

void initTensors(Napi::Env env, Napi::Object exports) {
  exports.Set("hashModel", Napi::Function::New(env, hashModel, "hashModel"));
  exports.Set("readTensor", Napi::Function::New(env, readTensor, "readTensor"));
  exports.Set("readTensors", Napi::Function::New(env, readTensors, "readTensors"));
}

}  // namespace foretoken::addon
