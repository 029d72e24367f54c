// readTensors(path): what tensors a model's file or folder holds, for `foretoken inspect`.
#pragma once
#include <napi.h>

namespace foretoken::addon {

void initTensors(Napi::Env env, Napi::Object exports);

}  // namespace foretoken::addon
