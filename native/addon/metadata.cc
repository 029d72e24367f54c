#include "addon/metadata.h"

#include <type_traits>

#include "addon/arguments.h"
#include "addon/errors.h"
#include "common/error.h"
#include "format/gguf.h"

namespace foretoken::addon {
namespace {

constexpr int64_t kExactInDouble = int64_t{1} << 53;

Napi::Value integerToJs(Napi::Env env, int64_t value) {
  if (value > -kExactInDouble && value < kExactInDouble) return Napi::Number::New(env, static_cast<double>(value));
  return Napi::BigInt::New(env, value);
}

/// Bytes that are no UTF-8 become U+FFFD.
Napi::Value stringToJs(Napi::Env env, std::string_view text) {
  return Napi::String::New(env, text.data(), text.size());
}

template <typename Array, typename T>
Array numbersToJs(Napi::Env env, const std::vector<T>& values) {
  Array result = Array::New(env, values.size());
  for (size_t i = 0; i < values.size(); ++i)
    result[i] = static_cast<std::remove_pointer_t<decltype(result.Data())>>(values[i]);
  return result;
}

Napi::Value toJs(Napi::Env env, const GgufValue& value);

Napi::Value arrayToJs(Napi::Env env, const GgufValue& value) {
  switch (value.elementType()) {
    case GgufType::string: {
      const auto strings = value.strings();
      auto result = Napi::Array::New(env, strings.size());
      for (uint32_t i = 0; i < strings.size(); ++i) {
        const Napi::HandleScope scope(env);  // a vocabulary has 100,000 of them
        result.Set(i, stringToJs(env, strings[i]));
      }
      return result;
    }
    case GgufType::array: {
      const auto arrays = value.arrays();
      auto result = Napi::Array::New(env, arrays.size());
      for (uint32_t i = 0; i < arrays.size(); ++i) result.Set(i, toJs(env, arrays[i]));
      return result;
    }
    case GgufType::f32: return numbersToJs<Napi::Float32Array>(env, value.numbers());
    case GgufType::u32: return numbersToJs<Napi::Uint32Array>(env, value.integers());
    case GgufType::i8:
    case GgufType::i16:
    case GgufType::u16:
    case GgufType::i32: return numbersToJs<Napi::Int32Array>(env, value.integers());
    case GgufType::u8: return numbersToJs<Napi::Uint8Array>(env, value.integers());
    case GgufType::f64: return numbersToJs<Napi::Float64Array>(env, value.numbers());
    case GgufType::boolean:
    case GgufType::u64:
    case GgufType::i64: break;
  }
  const auto integers = value.integers();
  auto result = Napi::Array::New(env, integers.size());
  for (uint32_t i = 0; i < integers.size(); ++i) {
    const Napi::HandleScope scope(env);
    result.Set(i, value.elementType() == GgufType::boolean ? Napi::Boolean::New(env, integers[i] != 0)
                                                           : integerToJs(env, integers[i]));
  }
  return result;
}

/// A u64 beyond the range of int64_t.
Napi::Value unsignedToJs(Napi::Env env, const GgufValue& value) {
  try {
    return integerToJs(env, value.integer());
  } catch (const FormatError&) {
    return Napi::Number::New(env, value.number());
  }
}

Napi::Value toJs(Napi::Env env, const GgufValue& value) {
  switch (value.type()) {
    case GgufType::string: return stringToJs(env, value.string());
    case GgufType::array: return arrayToJs(env, value);
    case GgufType::boolean: return Napi::Boolean::New(env, value.boolean());
    case GgufType::f32:
    case GgufType::f64: return Napi::Number::New(env, value.number());
    case GgufType::u64: return unsignedToJs(env, value);
    default: return integerToJs(env, value.integer());
  }
}

Napi::Value readGgufMetadata(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  return guarded(env, [&]() -> Napi::Value {
    const auto file = GgufFile::open(stringArgument(call, 0, "path"));
    auto result = Napi::Object::New(env);
    for (const GgufFile::Entry& entry : file->metadata()) {
      const Napi::HandleScope scope(env);
      result.Set(stringToJs(env, entry.key), toJs(env, entry.value));
    }
    return result;
  });
}

}  // namespace

void initMetadata(Napi::Env env, Napi::Object exports) {
  exports.Set("readGgufMetadata", Napi::Function::New(env, readGgufMetadata, "readGgufMetadata"));
}

}  // namespace foretoken::addon
