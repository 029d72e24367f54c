#pragma once
#include <napi.h>

namespace foretoken::addon {

/// Exports what benches and tests ask of the machine: `availableIsas`, `probe`, `benchKernel`.
void initBench(Napi::Env env, Napi::Object exports);

}  // namespace foretoken::addon
