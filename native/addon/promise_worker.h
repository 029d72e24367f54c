// One-shot work off the JavaScript thread, answered by a promise.
#pragma once
#include <napi.h>

#include <exception>
#include <functional>
#include <utility>

#include "addon/errors.h"

namespace foretoken::addon {

/// What runs work() on a thread of the pool and then settles a promise: with what answer() makes, or with the error
/// that either threw. Deletes itself; queued by who makes it.
class PromiseWork : public Napi::AsyncWorker {
 public:
  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  PromiseWork(Napi::Env env, const char* name) : Napi::AsyncWorker(env, name), deferred_(env) {}

 private:
  virtual void work() = 0;
  /// On the JavaScript thread, after work() that did not throw.
  virtual Napi::Value answer() = 0;

  void Execute() final {
    try {
      work();
    } catch (...) {
      failure_ = std::current_exception();
    }
  }

  void OnOK() final {
    try {
      settle();
    } catch (const Napi::Error&) {
      // The environment is ending: nobody is left to be answered.
    }
  }

  void settle() {
    try {
      if (failure_) std::rethrow_exception(failure_);
      deferred_.Resolve(answer());
    } catch (const Napi::Error& error) {
      deferred_.Reject(error.Value());
    } catch (const std::exception& error) {
      deferred_.Reject(toJsError(Env(), error).Value());
    }
  }

  Napi::Promise::Deferred deferred_;
  std::exception_ptr failure_;
};

/// Queues it; its promise.
inline Napi::Promise queued(PromiseWork* work) {
  const Napi::Promise promise = work->promise();
  work->Queue();
  return promise;
}

/// Runs a function, then `convert` makes a JavaScript value of its result.
template <typename T>
class PromiseWorker final : public PromiseWork {
 public:
  using Convert = Napi::Value (*)(Napi::Env, const T&);

  static Napi::Promise run(Napi::Env env, const char* name, std::function<T()> function, Convert convert) {
    return queued(new PromiseWorker(env, name, std::move(function), convert));
  }

 private:
  PromiseWorker(Napi::Env env, const char* name, std::function<T()> function, Convert convert)
      : PromiseWork(env, name), function_(std::move(function)), convert_(convert) {}

  void work() override { result_ = function_(); }
  Napi::Value answer() override { return convert_(Env(), result_); }

  std::function<T()> function_;
  Convert convert_;
  T result_{};
};

}  // namespace foretoken::addon
