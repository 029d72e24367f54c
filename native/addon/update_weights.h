// NativeEngine.updateWeights: new weights are read, checked and packed on a thread of the pool, then handed to the
// engine.
#pragma once
#include <napi.h>

#include <memory>

#include "addon/engine_handle.h"

namespace foretoken::addon {

/// `source`: a path, or an array of { name, dtype, shape, data }, whose data is copied before this returns.
Napi::Promise updateWeights(Napi::Env env, std::shared_ptr<EngineHandle> handle, Napi::Value source, bool restart);

}  // namespace foretoken::addon
