#pragma once
#include <napi.h>

namespace foretoken::addon {

/// Exports `cudaInfo()`.
void initCuda(Napi::Env env, Napi::Object exports);

}  // namespace foretoken::addon
