#include "addon/errors.h"

#include "common/error.h"

namespace foretoken::addon {

Napi::Error toJsError(Napi::Env env, const std::exception& error) {
  Napi::Error result = Napi::Error::New(env, error.what());
  if (const auto* format = dynamic_cast<const FormatError*>(&error)) {
    result.Set("file", Napi::String::New(env, format->file()));
    result.Set("offset", Napi::Number::New(env, static_cast<double>(format->offset())));
  }
  result.Set("code", Napi::String::New(env, errorCode(error)));
  return result;
}

}  // namespace foretoken::addon
