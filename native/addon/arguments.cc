#include "addon/arguments.h"

#include <cmath>
#include <cstring>

namespace foretoken::addon {
namespace {

template <typename T>
std::vector<T> copyTyped(const Napi::Value& value, napi_typedarray_type type, bool* good) {
  *good = value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type;
  if (!*good) return {};
  const auto array = value.As<Napi::TypedArrayOf<T>>();
  if (array.ElementLength() == 0) return {};
  return std::vector<T>(array.Data(), array.Data() + array.ElementLength());
}

template <typename Array, typename T>
Array copyToJs(Napi::Env env, const std::vector<T>& values) {
  Array result = Array::New(env, values.size());
  if (!values.empty()) std::memcpy(result.Data(), values.data(), values.size() * sizeof(T));
  return result;
}

bool isWhole(double value, int64_t least, int64_t most) {
  return std::isfinite(value) && value == std::floor(value) && value >= static_cast<double>(least) &&
         value <= static_cast<double>(most);
}

std::string rangeText(int64_t least, int64_t most) {
  return "a whole number between " + std::to_string(least) + " and " + std::to_string(most);
}

}  // namespace

Napi::Error invalidArgument(Napi::Env env, const std::string& message) {
  Napi::Error error = Napi::TypeError::New(env, message);
  error.Set("code", Napi::String::New(env, "INVALID_ARGUMENT"));
  return error;
}

Fields::Fields(Napi::Value value, std::string path) : path_(std::move(path)) {
  if (!value.IsObject()) throw invalidArgument(value.Env(), path_ + " must be an object");
  object_ = value.As<Napi::Object>();
}

Napi::Value Fields::get(const char* name) const { return object_.Get(name); }

void Fields::wrong(const char* name, const char* wanted) const {
  throw invalidArgument(object_.Env(), path_ + "." + name + " must be " + wanted);
}

bool Fields::has(const char* name) const { return !get(name).IsUndefined(); }

Fields Fields::object(const char* name) const { return Fields(get(name), path_ + "." + name); }

std::string Fields::string(const char* name) const {
  const Napi::Value value = get(name);
  if (!value.IsString()) wrong(name, "a string");
  return value.As<Napi::String>().Utf8Value();
}

bool Fields::boolean(const char* name) const {
  const Napi::Value value = get(name);
  if (!value.IsBoolean()) wrong(name, "true or false");
  return value.As<Napi::Boolean>().Value();
}

double Fields::number(const char* name) const {
  const Napi::Value value = get(name);
  if (!value.IsNumber() || !std::isfinite(value.As<Napi::Number>().DoubleValue())) wrong(name, "a finite number");
  return value.As<Napi::Number>().DoubleValue();
}

int64_t Fields::integer(const char* name, int64_t least, int64_t most) const {
  const Napi::Value value = get(name);
  if (!value.IsNumber() || !isWhole(value.As<Napi::Number>().DoubleValue(), least, most)) {
    wrong(name, rangeText(least, most).c_str());
  }
  return value.As<Napi::Number>().Int64Value();
}

uint64_t Fields::bits64(const char* name) const {
  const Napi::Value value = get(name);
  if (!value.IsBigInt()) wrong(name, "a bigint");
  bool lossless;
  return value.As<Napi::BigInt>().Uint64Value(&lossless);
}

std::vector<int32_t> Fields::int32s(const char* name) const {
  bool good;
  auto result = copyTyped<int32_t>(get(name), napi_int32_array, &good);
  if (!good) wrong(name, "an Int32Array");
  return result;
}

std::vector<float> Fields::floats(const char* name) const {
  bool good;
  auto result = copyTyped<float>(get(name), napi_float32_array, &good);
  if (!good) wrong(name, "a Float32Array");
  return result;
}

std::vector<int64_t> Fields::integers(const char* name) const {
  constexpr int64_t kMost = int64_t{1} << 53;
  const Napi::Value value = get(name);
  if (!value.IsArray()) wrong(name, "an array");
  const auto list = value.As<Napi::Array>();
  std::vector<int64_t> result;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Value number = list[i];
    if (!number.IsNumber() || !isWhole(number.As<Napi::Number>().DoubleValue(), -kMost, kMost))
      wrong(name, "an array of whole numbers");
    result.push_back(number.As<Napi::Number>().Int64Value());
  }
  return result;
}

std::vector<std::string> Fields::strings(const char* name) const {
  const Napi::Value value = get(name);
  if (!value.IsArray()) wrong(name, "an array");
  const auto list = value.As<Napi::Array>();
  std::vector<std::string> result;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Value text = list[i];
    if (!text.IsString()) wrong(name, "an array of strings");
    result.push_back(text.As<Napi::String>());
  }
  return result;
}

std::span<const uint8_t> Fields::view(const char* name) const {
  const Napi::Value value = get(name);
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array)
    wrong(name, "a Uint8Array");
  const auto array = value.As<Napi::Uint8Array>();
  return {array.Data(), array.ElementLength()};
}

std::vector<uint8_t> Fields::bytes(const char* name) const {
  bool good;
  auto result = copyTyped<uint8_t>(get(name), napi_uint8_array, &good);
  if (!good) wrong(name, "a Uint8Array");
  return result;
}

int64_t integerArgument(const Napi::CallbackInfo& call, size_t index, const char* name, int64_t least, int64_t most) {
  const Napi::Value value = call[index];
  if (!value.IsNumber() || !isWhole(value.As<Napi::Number>().DoubleValue(), least, most)) {
    throw invalidArgument(call.Env(), std::string(name) + " must be " + rangeText(least, most));
  }
  return value.As<Napi::Number>().Int64Value();
}

bool booleanArgument(const Napi::CallbackInfo& call, size_t index, const char* name) {
  if (!call[index].IsBoolean()) throw invalidArgument(call.Env(), std::string(name) + " must be true or false");
  return call[index].As<Napi::Boolean>();
}

std::string stringArgument(const Napi::CallbackInfo& call, size_t index, const char* name) {
  if (!call[index].IsString()) throw invalidArgument(call.Env(), std::string(name) + " must be a string");
  return call[index].As<Napi::String>().Utf8Value();
}

Napi::Function functionArgument(const Napi::CallbackInfo& call, size_t index, const char* name) {
  if (!call[index].IsFunction()) throw invalidArgument(call.Env(), std::string(name) + " must be a function");
  return call[index].As<Napi::Function>();
}

std::vector<int32_t> int32sArgument(const Napi::CallbackInfo& call, size_t index, const char* name) {
  bool good;
  auto result = copyTyped<int32_t>(call[index], napi_int32_array, &good);
  if (!good) throw invalidArgument(call.Env(), std::string(name) + " must be an Int32Array");
  return result;
}

std::vector<uint8_t> bytesArgument(const Napi::CallbackInfo& call, size_t index, const char* name) {
  bool good;
  auto result = copyTyped<uint8_t>(call[index], napi_uint8_array, &good);
  if (!good) throw invalidArgument(call.Env(), std::string(name) + " must be a Uint8Array");
  return result;
}

Napi::Float32Array toJs(Napi::Env env, const std::vector<float>& values) {
  return copyToJs<Napi::Float32Array>(env, values);
}
Napi::Int32Array toJs(Napi::Env env, const std::vector<int32_t>& values) {
  return copyToJs<Napi::Int32Array>(env, values);
}
Napi::Uint8Array toJs(Napi::Env env, const std::vector<uint8_t>& values) {
  return copyToJs<Napi::Uint8Array>(env, values);
}
Napi::Float64Array toJs(Napi::Env env, const std::vector<double>& values) {
  return copyToJs<Napi::Float64Array>(env, values);
}

}  // namespace foretoken::addon
