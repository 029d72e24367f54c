#pragma once
#include <napi.h>

namespace foretoken::addon {

/// Exports `createReplay`.
void initReplay(Napi::Env env, Napi::Object exports);

}  // namespace foretoken::addon
