#include "addon/errors.h"

#include <new>

#include "common/error.h"

namespace foretoken::addon {

Napi::Error toJsError(Napi::Env env, const std::exception& error) {
  Napi::Error result = Napi::Error::New(env, error.what());
  if (const auto* format = dynamic_cast<const FormatError*>(&error)) {
    result.Set("file", Napi::String::New(env, format->file()));
    result.Set("offset", Napi::Number::New(env, static_cast<double>(format->offset())));
  }
  const char* code = "INTERNAL_ERROR";
  if (const auto* own = dynamic_cast<const Error*>(&error)) {
    code = own->code().c_str();
  } else if (dynamic_cast<const std::bad_alloc*>(&error)) {
    code = "OUT_OF_MEMORY";
  }
  result.Set("code", Napi::String::New(env, code));
  return result;
}

}  // namespace foretoken::addon
