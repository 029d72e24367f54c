#include "addon/engine.h"

#include <filesystem>
#include <utility>

#include "addon/engine_handle.h"
#include "addon/errors.h"
#include "addon/promise_worker.h"
#include "addon/update_weights.h"
#include "addon/wrapped.h"
#include "common/error.h"
#include "engine/timed_backend.h"
#include "head/head_weights.h"
#include "train/head_file.h"

namespace foretoken::addon {
namespace {

using SharedHandle = std::shared_ptr<EngineHandle>;

constexpr napi_type_tag kEngineTag = {0x8b1d6a3f52c94e07ull, 0xa6f03c1e9d274b58ull};

const SharedHandle& shared(const Napi::CallbackInfo& call) {
  return unwrapped<EngineHandle>(call, kEngineTag, "an engine that loadEngine returned");
}

EngineHandle& self(const Napi::CallbackInfo& call) { return *shared(call); }

int32_t sequenceArgument(const Napi::CallbackInfo& call) {
  return static_cast<int32_t>(integerArgument(call, 0, "sequence", 1, INT32_MAX));
}

int32_t countArgument(const Napi::CallbackInfo& call, size_t index, const char* name) {
  return static_cast<int32_t>(integerArgument(call, index, name, 0, INT32_MAX));
}

Napi::Value info(const Napi::CallbackInfo& call) { return self(call).info(call.Env()); }

Napi::Value submit(const Napi::CallbackInfo& call) {
  return Napi::Number::New(call.Env(), self(call).submit(call.Env(), request(Fields(call[0], "request"))));
}

Napi::Value consumed(const Napi::CallbackInfo& call) {
  self(call).consumed(sequenceArgument(call), countArgument(call, 1, "count"));
  return call.Env().Undefined();
}

Napi::Value unread(const Napi::CallbackInfo& call) {
  self(call).unread(sequenceArgument(call));
  return call.Env().Undefined();
}

Napi::Value finish(const Napi::CallbackInfo& call) {
  self(call).finish(sequenceArgument(call), countArgument(call, 1, "keep"));
  return call.Env().Undefined();
}

Napi::Value setPolicy(const Napi::CallbackInfo& call) {
  const bool all = call[1].IsUndefined();
  const std::string tenant = all ? "" : stringArgument(call, 1, "tenant");
  self(call).setPolicy(all ? nullptr : &tenant, policy(Fields(call[0], "policy")));
  return call.Env().Undefined();
}

Napi::Value dropPolicy(const Napi::CallbackInfo& call) {
  self(call).dropPolicy(stringArgument(call, 0, "tenant"));
  return call.Env().Undefined();
}

Napi::Value stats(const Napi::CallbackInfo& call) { return self(call).stats(call.Env()); }

Napi::Value forget(const Napi::CallbackInfo& call) {
  const Fields what(call[0], "what");
  const std::string tenant = what.has("tenant") ? what.string("tenant") : "";
  const std::string session = what.has("session") ? what.string("session") : "";
  self(call).forget(what.has("tenant") ? &tenant : nullptr, what.has("session") ? &session : nullptr);
  return call.Env().Undefined();
}

Napi::Value settled(const Napi::CallbackInfo& call) { return self(call).settled(call.Env()); }

Napi::Value profile(const Napi::CallbackInfo& call) {
  return self(call).profile(call.Env(), static_cast<int>(integerArgument(call, 0, "rows", 1, kMaxDraftRows)),
                            countArgument(call, 1, "context"),
                            static_cast<int>(integerArgument(call, 2, "repeats", 1, 1000)));
}

Napi::Value profileOperations(const Napi::CallbackInfo& call) {
  const auto rows = static_cast<int>(integerArgument(call, 0, "rows", 1, kMaxDraftRows));
  const int context = countArgument(call, 1, "context");
  const auto repeats = static_cast<int>(integerArgument(call, 2, "repeats", 1, 1000));
  return self(call).profileOperations(call.Env(), rows, context, repeats);
}

Napi::Value score(const Napi::CallbackInfo& call) {
  return self(call).score(call.Env(), int32sArgument(call, 0, "tokens"));
}

Napi::Value setStaticMemory(const Napi::CallbackInfo& call) {
  return self(call).setStaticMemory(call.Env(), {int32sArgument(call, 0, "tokens"), bytesArgument(call, 1, "keys")});
}

Napi::Value restoreMemory(const Napi::CallbackInfo& call) {
  return self(call).restoreMemory(call.Env(), stringArgument(call, 0, "tenant"),
                                  {int32sArgument(call, 1, "tokens"), bytesArgument(call, 2, "keys")});
}

Napi::Value memoryOf(const Napi::CallbackInfo& call) {
  return self(call).memoryOf(call.Env(), stringArgument(call, 0, "tenant"), booleanArgument(call, 1, "take"));
}

Napi::Value droppedTenants(const Napi::CallbackInfo& call) { return self(call).droppedTenants(call.Env()); }

Napi::Value updateWeightsOf(const Napi::CallbackInfo& call) {
  const std::string inFlight = stringArgument(call, 1, "inFlight");
  if (inFlight != "finish" && inFlight != "restart")
    throw invalidArgument(call.Env(), "inFlight must be 'finish' or 'restart'");
  return updateWeights(call.Env(), shared(call), call[0], inFlight == "restart");
}

Napi::Value watchLearning(const Napi::CallbackInfo& call) {
  self(call).watchLearning(functionArgument(call, 0, "onJudged"), functionArgument(call, 1, "onStopped"),
                           functionArgument(call, 2, "onCpu"), functionArgument(call, 3, "onLost"));
  return call.Env().Undefined();
}

Napi::Value decide(const Napi::CallbackInfo& call) {
  using Decision = learn::Learner::Decision;
  static const std::map<std::string, Decision> decisions = {{"promote", Decision::promote},
                                                            {"discard", Decision::discard},
                                                            {"harmful", Decision::harmful},
                                                            {"rollback", Decision::rollBack}};
  const auto decision = decisions.find(stringArgument(call, 1, "decision"));
  if (decision == decisions.end()) throw invalidArgument(call.Env(), "there is no such decision");
  return self(call).decide(call.Env(), stringArgument(call, 0, "tenant"), decision->second,
                           integerArgument(call, 2, "candidate", 0, int64_t{1} << 50));
}

Napi::Value saveHead(const Napi::CallbackInfo& call) {
  return self(call).saveHead(call.Env(), stringArgument(call, 0, "tenant"), stringArgument(call, 1, "path"));
}

Napi::Value adoptHead(const Napi::CallbackInfo& call) {
  return self(call).adoptHead(call.Env(), stringArgument(call, 0, "tenant"), stringArgument(call, 1, "path"),
                              booleanArgument(call, 2, "again"));
}

Napi::Value close(const Napi::CallbackInfo& call) { return self(call).close(call.Env()); }

Napi::Object engineObject(Napi::Env env, const SharedHandle& handle) {
  auto object = wrapped(env, kEngineTag, handle);
  addMethod<info>(object, "info");
  addMethod<submit>(object, "submit");
  addMethod<consumed>(object, "consumed");
  addMethod<unread>(object, "unread");
  addMethod<finish>(object, "finish");
  addMethod<setPolicy>(object, "setPolicy");
  addMethod<dropPolicy>(object, "dropPolicy");
  addMethod<stats>(object, "stats");
  addMethod<forget>(object, "forget");
  addMethod<settled>(object, "settled");
  addMethod<profile>(object, "profile");
  addMethod<profileOperations>(object, "profileOperations");
  addMethod<score>(object, "score");
  addMethod<setStaticMemory>(object, "setStaticMemory");
  addMethod<restoreMemory>(object, "restoreMemory");
  addMethod<memoryOf>(object, "memoryOf");
  addMethod<droppedTenants>(object, "droppedTenants");
  addMethod<updateWeightsOf>(object, "updateWeights");
  addMethod<watchLearning>(object, "watchLearning");
  addMethod<decide>(object, "decide");
  addMethod<saveHead>(object, "saveHead");
  addMethod<adoptHead>(object, "adoptHead");
  addMethod<close>(object, "close");
  return object;
}

/// How far loading has come, copied for the JavaScript thread.
struct Progress {
  std::string stage;
  double done, total;
};
void callProgress(Napi::Env env, Napi::Function callback, std::nullptr_t*, Progress* progress) {
  const std::unique_ptr<Progress> owned(progress);
  if (env == nullptr) return;
  try {
    callback.Call({Napi::String::New(env, owned->stage), Napi::Number::New(env, owned->done),
                   Napi::Number::New(env, owned->total)});
  } catch (const Napi::Error& error) {
    napi_fatal_exception(env, error.Value());
  }
}
using ProgressChannel = Napi::TypedThreadSafeFunction<std::nullptr_t, Progress, callProgress>;

/// Opens and packs the model off the JavaScript thread.
class LoadWork final : public PromiseWork {
 public:
  LoadWork(Napi::Env env, std::string path, LoadOptions options, Napi::Function onOutcomes, Napi::Function onProgress)
      : PromiseWork(env, "foretoken load"),
        path_(std::move(path)),
        options_(std::move(options)),
        handle_(EngineHandle::create(env, onOutcomes)),
        progress_(ProgressChannel::New(env, onProgress, "foretoken load", 0, 1, nullptr)) {}

  ~LoadWork() override {
    progress_.Release();
    if (handle_) handle_->abandon(Env());
  }

 private:
  void work() override {
    auto backend = std::make_unique<TimedBackend>(options_.backend.create());
    backend_ = backend.get();
    ModelOptions model;
    model.weights = options_.weights;
    model.cacheFolder = options_.cacheFolder;
    model.maxRows = options_.engine.maxRows;
    model.maxLogitRows = options_.engine.maxSequences + kMaxDraftRows;
    model.progress = [this](const char* stage, int64_t done, int64_t total) {
      progress_.NonBlockingCall(new Progress{stage, static_cast<double>(done), static_cast<double>(total)});
    };
    std::unique_ptr<Model> loaded = loadModel(path_, *backend, model);
    if (options_.engine.speculation) findHead(*loaded, *backend);
    engine_ = std::make_unique<Engine>(std::move(backend), std::move(loaded), options_.engine, handle_.get());
  }

  Napi::Value answer() override {
    handle_->start(std::move(engine_), *backend_, options_.backend, std::move(learner_));
    return engineObject(Env(), std::exchange(handle_, nullptr));
  }

  /// The head that was asked for, or the one that lies ready for this model, if there is one; and who makes it learn.
  void findHead(const Model& target, Backend& backend) {
    std::string path = options_.head;
    for (const std::string& folder : options_.heads) {
      const std::string lying = folder + "/" + target.sourceHash() + ".head.safetensors";
      if (path.empty() && std::filesystem::exists(lying)) path = lying;
    }
    if (path.empty()) return;
    train::LoadedHead head = train::loadHead(path, {target.sourceHash(), options_.tokenizer, {}});
    options_.engine.head = std::make_shared<const HeadWeights>(
        HeadSource{head.shape, head.binding.fusedLayers, head.draft, head.weights, head.delta}, target, backend);
    if (!options_.learn) return;
    const BackendChoice& choice = options_.backend;
    learner_ = std::make_unique<learn::Learner>(std::move(head), options_.engine.head,
                                                BackendChoice{choice.backend, 1, choice.isa}.create(), choice.isa,
                                                learn::LearnerOptions{}, choice.stepTakers());
    options_.engine.textSink = learner_.get();
  }

  std::string path_;
  LoadOptions options_;
  SharedHandle handle_;
  ProgressChannel progress_;
  TimedBackend* backend_ = nullptr;
  std::unique_ptr<learn::Learner> learner_;
  std::unique_ptr<Engine> engine_;
};

Napi::Value loadEngine(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    std::string path = stringArgument(call, 0, "path");
    LoadOptions options = loadOptions(Fields(call[1], "options"));
    return queued(new LoadWork(call.Env(), std::move(path), std::move(options), functionArgument(call, 2, "onOutcomes"),
                               functionArgument(call, 3, "onProgress")));
  });
}

}  // namespace

void initEngine(Napi::Env env, Napi::Object exports) {
  exports.Set("loadEngine", Napi::Function::New(env, loadEngine, "loadEngine"));
}

}  // namespace foretoken::addon
