// JavaScript objects that hold a shared C++ one. A type tag says which kind, so that a method called on anything else
// is an error and no crash.
#pragma once
#include <napi.h>

#include <memory>

#include "addon/arguments.h"
#include "addon/errors.h"

namespace foretoken::addon {

/// A new object that holds `value` until it is collected.
template <class T>
Napi::Object wrapped(Napi::Env env, const napi_type_tag& tag, const std::shared_ptr<T>& value) {
  auto object = Napi::Object::New(env);
  auto* held = new std::shared_ptr<T>(value);
  const auto release = [](napi_env, void* data, void*) { delete static_cast<std::shared_ptr<T>*>(data); };
  if (napi_wrap(env, object, held, release, nullptr, nullptr) != napi_ok) {
    delete held;
    throw Napi::Error::New(env);
  }
  napi_type_tag_object(env, object, &tag);
  return object;
}

/// What the object holds that a method was called on; `whose` is what the error says the method belongs to.
template <class T>
const std::shared_ptr<T>& unwrapped(const Napi::CallbackInfo& call, const napi_type_tag& tag, const char* whose) {
  bool tagged = false;
  void* held = nullptr;
  if (call.This().IsObject() && napi_check_object_type_tag(call.Env(), call.This(), &tag, &tagged) == napi_ok &&
      tagged && napi_unwrap(call.Env(), call.This(), &held) == napi_ok) {
    return *static_cast<std::shared_ptr<T>*>(held);
  }
  throw invalidArgument(call.Env(), std::string("this method belongs to ") + whose);
}

template <Napi::Value (*method)(const Napi::CallbackInfo&)>
void addMethod(Napi::Object object, const char* name) {
  const auto checked = [](const Napi::CallbackInfo& call) { return guarded(call.Env(), [&] { return method(call); }); };
  object.Set(name, Napi::Function::New(object.Env(), checked, name));
}

}  // namespace foretoken::addon
