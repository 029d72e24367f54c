// C++ exceptions as JavaScript errors: `code` always, `file` and `offset` where a file was at fault.
#pragma once
#include <napi.h>

#include <exception>

namespace foretoken::addon {

/// Builds the JavaScript error for an exception. Anything that is not a foretoken::Error gets code INTERNAL_ERROR,
/// std::bad_alloc OUT_OF_MEMORY.
Napi::Error toJsError(Napi::Env env, const std::exception& error);

/// Calls `function` and throws its C++ exceptions as JavaScript errors; every exported function runs inside of this.
template <typename Function>
auto guarded(Napi::Env env, Function&& function) {
  try {
    return function();
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw toJsError(env, error);
  }
}

}  // namespace foretoken::addon
