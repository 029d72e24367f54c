// The same library as an addon of its own: through it a test lets calls of the CUDA runtime fail.
#include "cuda/simt/faults.h"

#include <napi.h>

#include <map>
#include <string>

namespace {

using foretoken::simt::Call;

/// arm(call, after, outOfMemory): after so many calls of a kind ('any': of whatever kind) one fails.
Napi::Value arm(const Napi::CallbackInfo& info) {
  static const std::map<std::string, std::optional<Call>> calls = {{"any", std::nullopt}, {"allocate", Call::allocate},
                                                                   {"copy", Call::copy},  {"launch", Call::launch},
                                                                   {"wait", Call::wait},  {"other", Call::other}};
  const auto call = calls.find(info[0].As<Napi::String>());
  if (call == calls.end()) throw Napi::TypeError::New(info.Env(), "no such call");
  const bool outOfMemory = info[2].As<Napi::Boolean>();
  foretoken::simt::faults.arm({call->second, info[1].As<Napi::Number>().Int64Value(),
                               outOfMemory ? cudaErrorMemoryAllocation : cudaErrorIllegalAddress});
  return info.Env().Undefined();
}

/// mend(): all is well again; says whether the fault has been met.
Napi::Value mend(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), foretoken::simt::faults.mend());
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("arm", Napi::Function::New(env, arm));
  exports.Set("mend", Napi::Function::New(env, mend));
  return exports;
}

}  // namespace

NODE_API_MODULE(foretoken_executor, init)
