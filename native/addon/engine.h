// Exports `loadEngine`: engines as JavaScript sees them (lib/native.ts, NativeEngine).
#pragma once
#include <napi.h>

namespace foretoken::addon {

void initEngine(Napi::Env env, Napi::Object exports);

}  // namespace foretoken::addon
