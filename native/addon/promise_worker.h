// One-shot work off the JavaScript thread, answered by a promise.
#pragma once
#include <napi.h>

#include <functional>
#include <utility>

#include "addon/errors.h"

namespace foretoken::addon {

/// Runs `work` on a thread of the pool, then `convert` makes a JavaScript value of its result.
template <typename T>
class PromiseWorker final : public Napi::AsyncWorker {
 public:
  using Convert = Napi::Value (*)(Napi::Env, const T&);

  static Napi::Promise run(Napi::Env env, const char* name, std::function<T()> work, Convert convert) {
    auto* worker = new PromiseWorker(env, name, std::move(work), convert);  // deletes itself
    worker->Queue();
    return worker->deferred_.Promise();
  }

 private:
  PromiseWorker(Napi::Env env, const char* name, std::function<T()> work, Convert convert)
      : Napi::AsyncWorker(env, name), deferred_(env), work_(std::move(work)), convert_(convert) {}

  void Execute() override {
    try {
      result_ = work_();
    } catch (...) {
      failure_ = std::current_exception();
    }
  }

  void OnOK() override {
    if (!failure_) return deferred_.Resolve(convert_(Env(), result_));
    try {
      std::rethrow_exception(failure_);
    } catch (const std::exception& error) {
      deferred_.Reject(toJsError(Env(), error).Value());
    }
  }

  Napi::Promise::Deferred deferred_;
  std::function<T()> work_;
  Convert convert_;
  T result_{};
  std::exception_ptr failure_;
};

}  // namespace foretoken::addon
