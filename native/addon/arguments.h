// Reading JavaScript arguments: every field is checked for its type and range, and an error names it.
#pragma once
#include <napi.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace foretoken::addon {

/// The fields of an options object. A missing field or one of another type throws INVALID_ARGUMENT with its path.
class Fields {
 public:
  /// `value` must be an object; `path` names it in errors ("request").
  Fields(Napi::Value value, std::string path);

  Fields object(const char* name) const;
  std::string string(const char* name) const;
  bool boolean(const char* name) const;
  /// A finite number.
  double number(const char* name) const;
  /// A whole number within [least, most].
  int64_t integer(const char* name, int64_t least, int64_t most) const;
  int32_t int32(const char* name) const { return static_cast<int32_t>(integer(name, INT32_MIN, INT32_MAX)); }
  /// A bigint; its lowest 64 bits.
  uint64_t bits64(const char* name) const;
  std::vector<int32_t> int32s(const char* name) const;
  std::vector<float> floats(const char* name) const;
  std::vector<uint8_t> bytes(const char* name) const;
  /// An array of whole numbers.
  std::vector<int64_t> integers(const char* name) const;
  std::vector<std::string> strings(const char* name) const;
  /// A Uint8Array without a copy: valid until JavaScript runs again.
  std::span<const uint8_t> view(const char* name) const;
  /// False where the field is absent or undefined.
  bool has(const char* name) const;
  Napi::Env env() const { return object_.Env(); }

 private:
  Napi::Value get(const char* name) const;
  [[noreturn]] void wrong(const char* name, const char* wanted) const;

  Napi::Object object_;
  std::string path_;
};

/// The error of a wrong argument.
Napi::Error invalidArgument(Napi::Env env, const std::string& message);

/// Positional arguments of a call, checked the same way.
int64_t integerArgument(const Napi::CallbackInfo& call, size_t index, const char* name, int64_t least, int64_t most);
bool booleanArgument(const Napi::CallbackInfo& call, size_t index, const char* name);
std::string stringArgument(const Napi::CallbackInfo& call, size_t index, const char* name);
Napi::Function functionArgument(const Napi::CallbackInfo& call, size_t index, const char* name);
std::vector<int32_t> int32sArgument(const Napi::CallbackInfo& call, size_t index, const char* name);
std::vector<uint8_t> bytesArgument(const Napi::CallbackInfo& call, size_t index, const char* name);

/// Copies into a new typed array.
Napi::Float32Array toJs(Napi::Env env, const std::vector<float>& values);
Napi::Int32Array toJs(Napi::Env env, const std::vector<int32_t>& values);
Napi::Uint8Array toJs(Napi::Env env, const std::vector<uint8_t>& values);
Napi::Float64Array toJs(Napi::Env env, const std::vector<double>& values);

}  // namespace foretoken::addon
