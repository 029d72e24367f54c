#pragma once
#include <napi.h>

namespace foretoken::addon {

/// Exports `openHeadRun`, which trains draft heads.
void initTrain(Napi::Env env, Napi::Object exports);

}  // namespace foretoken::addon
