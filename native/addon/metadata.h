#pragma once
#include <napi.h>

namespace foretoken::addon {

/// Exports `readGgufMetadata(path)`.
void initMetadata(Napi::Env env, Napi::Object exports);

}  // namespace foretoken::addon
