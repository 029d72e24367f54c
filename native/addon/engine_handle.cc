#include "addon/engine_handle.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <optional>

#include "addon/errors.h"
#include "common/error.h"
#include "cpu/cpu_backend.h"

namespace foretoken::addon {
namespace {

/// Bytes of this process in memory; 0 where the system does not tell.
int64_t residentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

/// What it throws ends up where an exception in the event loop would.
void callWatcher(const Napi::FunctionReference& watcher, const std::initializer_list<napi_value>& arguments) {
  try {
    watcher.Call(arguments);
  } catch (const Napi::Error& error) {
    napi_fatal_exception(watcher.Env(), error.Value());
  }
}

}  // namespace

std::shared_ptr<EngineHandle> EngineHandle::create(Napi::Env env, Napi::Function onOutcomes) {
  std::shared_ptr<EngineHandle> handle(new EngineHandle());
  // The channel keeps the handle alive: messages may still be queued when everybody else has let go.
  auto* keeper = new std::shared_ptr<EngineHandle>(handle);
  handle->channel_ = Channel::New(
      env, onOutcomes, "foretoken engine", 0, 1, handle.get(),
      [](Napi::Env, std::shared_ptr<EngineHandle>* kept, EngineHandle*) { delete kept; }, keeper);
  handle->channel_.Unref(env);
  // Hooks run last in, first out: this one before the channel's own, so the thread is gone when the channel goes.
  handle->hook_ = std::make_unique<Hook>(env.AddCleanupHook(
      +[](EngineHandle* h) { h->teardown(); }, handle.get()));
  return handle;
}

EngineHandle::~EngineHandle() = default;

void EngineHandle::start(std::unique_ptr<Engine> engine, TimedBackend& backend, BackendChoice choice,
                         std::unique_ptr<learn::Learner> learner) {
  engine_ = std::move(engine);
  learner_ = std::move(learner);
  backend_ = &backend;
  choice_ = std::move(choice);
}

void EngineHandle::abandon(Napi::Env env) {
  hook_->Remove(env);
  channel_.Release();
}

/// On the engine's thread.
void EngineHandle::deliver(Outcomes* batch) {
  Message& message = batchMessages_[delivered_++ % batchMessages_.size()];
  message.batch = batch;
  channel_.NonBlockingCall(&message);
}

EngineHandle::Prepared EngineHandle::prepared(Task task) {
  return std::make_shared<std::unique_ptr<Message>>(new Message{nullptr, std::move(task)});
}

/// On any thread: runs the message's task on the JavaScript thread, once.
void EngineHandle::send(const Prepared& message) {
  if (channel_.NonBlockingCall(message->get()) == napi_ok) message->release();
}

void EngineHandle::callJs(Napi::Env env, Napi::Function callback, EngineHandle* handle, Message* message) {
  if (message->batch == nullptr) {
    const std::unique_ptr<Message> owned(message);
    if (env != nullptr) owned->task(env);
  } else if (env != nullptr) {
    handle->receive(env, callback, message->batch);
  }
}

void EngineHandle::receive(Napi::Env env, Napi::Function callback, Outcomes* batch) {
  if (!engine_) return;
  const Napi::HandleScope scope(env);
  try {
    const Napi::Object outcomes = taken(env, batch);
    letGoIfIdle(env);
    callback.Call({outcomes});
  } catch (const Napi::Error& error) {
    napi_fatal_exception(env, error.Value());  // as if the callback had been called by the event loop itself
  } catch (const std::exception& error) {
    napi_fatal_exception(env, toJsError(env, error).Value());
  }
}

/// What a batch holds; the engine has it back, whatever happens. Where it can't be told, nothing of it is, and the
/// requests that it is of have failed: none may miss a token and go on.
Napi::Object EngineHandle::taken(Napi::Env env, Outcomes* batch) {
  const auto recycle = [this](Outcomes* lent) { engine_->recycle(lent); };
  const std::unique_ptr<Outcomes, decltype(recycle)> lent(batch, recycle);
  const auto tell = [&] {
    ledger_.observe(*batch);
    return toJs(env, *batch);
  };
  try {
    return tell();
  } catch (const std::exception& error) {
    batch->lose(error);
    return tell();
  }
}

Engine& EngineHandle::open() {
  if (!engine_ || closing_) throw Error("ENGINE_CLOSED", "the engine is closed");
  return *engine_;
}

void EngineHandle::hold(Napi::Env env) {
  if (!held_) channel_.Ref(env);
  held_ = true;
}

void EngineHandle::letGoIfIdle(Napi::Env env) {
  if (!held_ || ledger_.running() > 0 || promises_ > 0) return;
  channel_.Unref(env);
  held_ = false;
}

Napi::Object EngineHandle::info(Napi::Env env) {
  const std::shared_ptr<Model> held = open().model();  // an update may replace it meanwhile
  const Model& model = *held;
  const ModelConfig& config = model.config();
  auto result = Napi::Object::New(env);
  result.Set("architecture", config.architecture);
  result.Set("layers", config.layers);
  result.Set("width", config.width);
  result.Set("heads", config.heads);
  result.Set("kvHeads", config.kvHeads);
  result.Set("headDim", config.headDim);
  result.Set("ffn", config.ffn);
  result.Set("vocabulary", config.vocabulary);
  result.Set("contextLength", engine_->contextLength());
  result.Set("weightsDescription", model.weightsDescription());
  result.Set("weightBytes", static_cast<double>(model.weightBytes()));
  result.Set("sourceHash", model.sourceHash());
  result.Set("backend", choice_.backend);
  result.Set("isa", choice_.processor());
  result.Set("kvFormat", engine_->kvFormat() == KvFormat::fp8 ? "fp8" : "bf16");
  result.Set("threads", choice_.threadCount());
  return result;
}

int32_t EngineHandle::submit(Napi::Env env, Request request) {
  Engine& engine = open();
  const auto promptTokens = static_cast<int32_t>(request.prompt.size());
  const int32_t id = engine.nextId();
  ledger_.open(id, promptTokens);
  try {
    engine.submit(std::move(request));
  } catch (...) {
    ledger_.abandon(id);
    throw;
  }
  hold(env);
  return id;
}

void EngineHandle::consumed(int32_t sequence, int32_t count) {
  ledger_.consumed(sequence, count);
  if (engine_) engine_->consumed(sequence, count);
}

void EngineHandle::unread(int32_t sequence) {
  if (engine_) engine_->unread(sequence);
}

void EngineHandle::finish(int32_t sequence, int32_t keep) {
  ledger_.finish(sequence, keep);
  if (engine_) engine_->finish(sequence, keep);
}

void EngineHandle::setPolicy(const std::string* tenant, Policy policy) { open().setPolicy(tenant, std::move(policy)); }

void EngineHandle::dropPolicy(const std::string& tenant) { open().dropPolicy(tenant); }

void EngineHandle::forget(const std::string* tenant, const std::string* session) { open().forget(tenant, session); }

Napi::Object EngineHandle::stats(Napi::Env env) {
  const EngineCounters counters = open().counters();
  const Ledger::Counts& counts = ledger_.counts();
  auto result = Napi::Object::New(env);
  const auto set = [&](const char* name, double value) { result.Set(name, value); };
  set("tokens", static_cast<double>(counts.tokens));
  set("promptTokens", static_cast<double>(counts.promptTokens));
  set("cachedPromptTokens", static_cast<double>(counts.cachedPromptTokens));
  set("rounds", static_cast<double>(counters.rounds));
  set("drafted", static_cast<double>(counts.drafted));
  set("accepted", static_cast<double>(counts.accepted));
  set("rejected", static_cast<double>(counts.rejected));
  set("active", counters.active);
  set("waiting", static_cast<double>(counters.waiting + (engine_->nextId() - 1 - counters.submitted)));
  set("kvPagesTotal", counters.pagesTotal);
  set("kvPagesUsed", counters.pagesUsed);
  set("kvPagesCached", counters.pagesCached);
  set("weightsVersion", counters.weightsVersion);
  set("weightsHeld", counters.weightsHeld);
  set("indexBytes", static_cast<double>(counters.indexBytes));
  set("droppedTexts", static_cast<double>(counters.droppedTexts));
  set("staticMemoryBytes", static_cast<double>(counters.staticMemoryBytes));
  set("headBytes", static_cast<double>(counters.headBytes));
  set("tenantHeadBytes", static_cast<double>(counters.tenantHeadBytes));
  set("headDrafts", static_cast<double>(counters.headDrafts));
  set("headSeconds", counters.headSeconds);
  const learn::LearnerCounters learning = learner_ ? learner_->counters() : learn::LearnerCounters{};
  set("learnedTexts", static_cast<double>(learning.texts));
  set("learningDropped", static_cast<double>(learning.dropped));
  set("learningSteps", static_cast<double>(learning.steps));
  set("learningLayerSteps", static_cast<double>(learning.layerSteps));
  set("learningSkipped", static_cast<double>(learning.skipped));
  set("learningBacklog", static_cast<double>(learning.backlog));
  set("learningTenants", static_cast<double>(learning.tenants));
  set("learningBytes", static_cast<double>(learning.bytes));
  set("learningDeviceBytes", static_cast<double>(learning.deviceBytes));
  set("learningSeconds", learning.seconds);
  result.Set("learningPaused", learning.paused);
  set("weightBytes", static_cast<double>(engine_->model()->weightBytes()));
  set("residentBytes", static_cast<double>(residentBytes()));
  set("prefillSeconds", counters.prefillSeconds);
  set("decodeSeconds", counters.decodeSeconds);
  return result;
}

/// A promise of what the engine's thread will answer. `convert` makes a JavaScript object of it.
template <typename T>
Napi::Promise EngineHandle::answer(Napi::Env env, const std::function<void(Reply<T>)>& ask,
                                   std::function<Napi::Object(Napi::Env, const T&)> convert) {
  struct Answer {
    std::optional<T> value;
    std::exception_ptr failure;
  };
  const auto deferred = Napi::Promise::Deferred::New(env);
  const auto answer = std::make_shared<Answer>();
  const auto message = prepared([this, deferred, convert, answer](Napi::Env jsEnv) {
    const Napi::HandleScope scope(jsEnv);
    --promises_;
    letGoIfIdle(jsEnv);
    try {
      if (answer->failure) std::rethrow_exception(answer->failure);
      deferred.Resolve(convert(jsEnv, *answer->value));
    } catch (const Napi::Error& error) {
      deferred.Reject(error.Value());
    } catch (const std::exception& error) {
      deferred.Reject(toJsError(jsEnv, error).Value());
    }
  });
  ask([this, answer, message](T* result, std::exception_ptr failure) {
    if (result) answer->value = std::move(*result);
    answer->failure = std::move(failure);
    send(message);
  });
  ++promises_;
  hold(env);
  return deferred.Promise();
}

namespace {

/// A reply without a value.
std::function<void(std::exception_ptr)> bare(Reply<bool> reply) {
  return [reply](std::exception_ptr failure) {
    bool done = true;
    reply(failure ? nullptr : &done, failure);
  };
}

}  // namespace

/// The learner hears of what was asked from the engine's thread, and so it answers last.
Napi::Promise EngineHandle::settled(Napi::Env env) {
  Engine& engine = open();
  return answer<bool>(
      env,
      [&](Reply<bool> reply) {
        const auto bareReply = bare(reply);  // made here: calling it takes no memory
        const auto learned = learner_ ? learner_->settling([bareReply] { bareReply(nullptr); }) : nullptr;
        engine.settle([reply, learned](bool* done, std::exception_ptr failure) {
          failure || !learned ? reply(done, std::move(failure)) : learned();
        });
      },
      [](Napi::Env jsEnv, const bool&) { return Napi::Object::New(jsEnv); });
}

Napi::Promise EngineHandle::profile(Napi::Env env, int rows, int context, int repeats) {
  Engine& engine = open();
  return answer<Profile>(
      env, [&](Reply<Profile> reply) { engine.profile(rows, context, repeats, std::move(reply)); },
      [](Napi::Env jsEnv, const Profile& profile) {
        auto result = Napi::Object::New(jsEnv);
        result.Set("passSeconds", toJs(jsEnv, profile.passSeconds));
        result.Set("draftSeconds", toJs(jsEnv, profile.draftSeconds));
        result.Set("headPositionSeconds", profile.headPositionSeconds);
        return result;
      });
}

Napi::Promise EngineHandle::profileOperations(Napi::Env env, int rows, int context, int repeats) {
  Engine& engine = open();
  return answer<std::vector<OperationTime>>(
      env,
      [&](Reply<std::vector<OperationTime>> reply) {
        engine.profileOperations(*backend_, rows, context, repeats, std::move(reply));
      },
      [](Napi::Env jsEnv, const std::vector<OperationTime>& operations) -> Napi::Object {
        auto result = Napi::Array::New(jsEnv, operations.size());
        for (uint32_t i = 0; i < operations.size(); ++i) {
          auto operation = Napi::Object::New(jsEnv);
          operation.Set("name", operations[i].name);
          operation.Set("seconds", operations[i].seconds);
          operation.Set("bytes", operations[i].bytes);
          result.Set(i, operation);
        }
        return result;
      });
}

Napi::Promise EngineHandle::score(Napi::Env env, std::vector<int32_t> tokens) {
  Engine& engine = open();
  return answer<Score>(
      env, [&](Reply<Score> reply) { engine.score(std::move(tokens), std::move(reply)); },
      [](Napi::Env jsEnv, const Score& score) {
        auto result = Napi::Object::New(jsEnv);
        result.Set("logprob", toJs(jsEnv, score.logprob));
        result.Set("argmax", toJs(jsEnv, score.argmax));
        return result;
      });
}

Napi::Promise EngineHandle::setStaticMemory(Napi::Env env, MemoryImage image) {
  Engine& engine = open();
  return answer<bool>(
      env, [&](Reply<bool> reply) { engine.setStaticMemory(std::move(image), std::move(reply)); },
      [](Napi::Env jsEnv, const bool&) { return Napi::Object::New(jsEnv); });
}

Napi::Promise EngineHandle::restoreMemory(Napi::Env env, std::string tenant, MemoryImage image) {
  Engine& engine = open();
  return answer<bool>(
      env, [&](Reply<bool> reply) { engine.restoreMemory(std::move(tenant), std::move(image), std::move(reply)); },
      [](Napi::Env jsEnv, const bool&) { return Napi::Object::New(jsEnv); });
}

Napi::Promise EngineHandle::memoryOf(Napi::Env env, std::string tenant, bool take) {
  Engine& engine = open();
  return answer<TenantMemory>(
      env, [&](Reply<TenantMemory> reply) { engine.memoryOf(std::move(tenant), take, std::move(reply)); },
      [](Napi::Env jsEnv, const TenantMemory& memory) {
        auto result = Napi::Object::New(jsEnv);
        result.Set("tokens", toJs(jsEnv, memory.image.tokens));
        result.Set("keys", toJs(jsEnv, memory.image.keys));
        result.Set("model", memory.model);
        result.Set("dropped", memory.dropped);
        result.Set("cut", memory.cut);
        return result;
      });
}

Napi::Promise EngineHandle::droppedTenants(Napi::Env env) {
  using Names = std::vector<std::string>;
  Engine& engine = open();
  return answer<Names>(
      env, [&](Reply<Names> reply) { engine.droppedTenants(std::move(reply)); },
      [](Napi::Env jsEnv, const Names& names) {
        auto result = Napi::Array::New(jsEnv, names.size());
        for (size_t i = 0; i < names.size(); ++i) result.Set(static_cast<uint32_t>(i), names[i]);
        return result;
      });
}

Napi::Promise EngineHandle::swapWeights(Napi::Env env, std::shared_ptr<Model> model,
                                        std::shared_ptr<const HeadWeights> head, bool restart, WeightUpdate update) {
  Engine& engine = open();
  return answer<int32_t>(
      env,
      [&](Reply<int32_t> reply) { engine.updateWeights(std::move(model), std::move(head), restart, std::move(reply)); },
      [update](Napi::Env jsEnv, const int32_t& version) {
        auto result = Napi::Object::New(jsEnv);
        result.Set("tensors", static_cast<double>(update.tensors));
        result.Set("bytes", static_cast<double>(update.bytes));
        result.Set("version", version);
        return result;
      });
}

learn::Learner& EngineHandle::learner() {
  open();
  if (learner_) return *learner_;
  throw Error("NO_HEAD", "the engine has no draft head that learns: load it with one");
}

void EngineHandle::watchLearning(Napi::Function onJudged, Napi::Function onStopped, Napi::Function onCpu,
                                 Napi::Function onLost) {
  learn::Learner& own = learner();
  onJudged_ = Napi::Persistent(onJudged), onStopped_ = Napi::Persistent(onStopped);
  onCpu_ = Napi::Persistent(onCpu), onLost_ = Napi::Persistent(onLost);
  struct Stop {
    std::string tenant;
    std::exception_ptr why;
  };
  const auto stop = std::make_shared<Stop>();
  const auto stopped = prepared([this, stop](Napi::Env env) { tell(env, onStopped_, stop->tenant, stop->why); });
  own.start(engine_->model(),
            {.judged =
                 [this](learn::Judged judged) {
                   auto shared = std::make_shared<learn::Judged>(std::move(judged));
                   post([this, shared](Napi::Env env) { tellJudged(env, *shared); });
                 },
             .drafts =
                 [engine = engine_.get()](const std::string& tenant, std::shared_ptr<const HeadWeights> head) {
                   return engine->headSwap(&tenant, std::move(head));
                 },
             .stopped =
                 [this, stop, stopped](std::string tenant, std::exception_ptr why) {
                   stop->tenant = std::move(tenant), stop->why = std::move(why);
                   send(stopped);
                 },
             .onCpu =
                 [this](const std::string& tenant, std::exception_ptr why) {
                   post([this, tenant, why](Napi::Env env) { tell(env, onCpu_, tenant, why); });
                 },
             .lost =
                 [this](const std::string& tenant, std::exception_ptr why) {
                   post([this, tenant, why](Napi::Env env) { tell(env, onLost_, tenant, why); });
                 }});
}

void EngineHandle::tellJudged(Napi::Env env, const learn::Judged& judged) {
  if (!engine_ || closing_) return;
  const Napi::HandleScope scope(env);
  auto result = Napi::Object::New(env);
  result.Set("learner", judged.learner);
  result.Set("tenant", judged.tenant);
  result.Set("live", toJs(env, judged.foreseen.live));
  result.Set("candidate", toJs(env, judged.foreseen.candidate));
  result.Set("previous", toJs(env, judged.foreseen.previous));
  result.Set("candidateNumber", static_cast<double>(judged.foreseen.candidateNumber));
  callWatcher(onJudged_, {result});
}

/// Tells a watcher whose learning met which error.
void EngineHandle::tell(Napi::Env env, const Napi::FunctionReference& watcher, const std::string& tenant,
                        std::exception_ptr why) {
  if (!engine_ || closing_) return;
  const Napi::HandleScope scope(env);
  try {
    std::rethrow_exception(why);
  } catch (const std::exception& error) {
    callWatcher(watcher, {Napi::String::New(env, tenant), toJsError(env, error).Value()});
  }
}

Napi::Promise EngineHandle::decide(Napi::Env env, const std::string& tenant, learn::Learner::Decision decision,
                                   int64_t candidate) {
  learn::Learner& own = learner();
  return answer<bool>(
      env,
      [&](Reply<bool> reply) {
        own.decide(tenant, decision, candidate, [reply](bool done) { reply(&done, nullptr); });
      },
      [](Napi::Env jsEnv, const bool& done) {
        auto result = Napi::Object::New(jsEnv);
        result.Set("done", done);
        return result;
      });
}

Napi::Promise EngineHandle::saveHead(Napi::Env env, const std::string& tenant, const std::string& path) {
  learn::Learner& own = learner();
  return answer<std::string>(
      env,
      [&](Reply<std::string> reply) {
        own.save(tenant, path, [reply](const std::string* model, std::exception_ptr failure) {
          std::string of = model ? *model : "";
          reply(model ? &of : nullptr, std::move(failure));
        });
      },
      [](Napi::Env jsEnv, const std::string& model) {
        auto result = Napi::Object::New(jsEnv);
        result.Set("model", model);
        return result;
      });
}

Napi::Promise EngineHandle::adoptHead(Napi::Env env, const std::string& tenant, const std::string& path, bool again) {
  learn::Learner& own = learner();
  return answer<bool>(
      env, [&](Reply<bool> reply) { own.adopt(tenant, path, again, bare(std::move(reply))); },
      [](Napi::Env jsEnv, const bool&) { return Napi::Object::New(jsEnv); });
}

/// Waits for the learner, which other programs may keep from its core for seconds, and lets go of weights, keys and
/// values. Deletes itself once it is queued.
class EngineHandle::Closing final : public Napi::AsyncWorker {
 public:
  Closing(Napi::Env env, EngineHandle& handle) : Napi::AsyncWorker(env, "foretoken close"), handle_(handle) {}

  void begin() {
    engine_ = std::move(handle_.engine_), learner_ = std::move(handle_.learner_);
    Queue();
  }

  void Execute() override {
    if (learner_) learner_->stop();
    engine_.reset();
    learner_.reset();
  }

  void OnOK() override { handle_.closed(Env()); }

 private:
  EngineHandle& handle_;
  std::unique_ptr<learn::Learner> learner_;  ///< outlives the engine
  std::unique_ptr<Engine> engine_;
};

/// Every call gets a promise; the first one closes.
Napi::Promise EngineHandle::close(Napi::Env env) {
  auto deferred = Napi::Promise::Deferred::New(env);
  if (isClosed_) {
    deferred.Resolve(env.Undefined());
    return deferred.Promise();
  }
  closers_.reserve(closers_.size() + 1);
  if (!closing_) {
    const auto work = std::make_shared<std::unique_ptr<Closing>>(std::make_unique<Closing>(env, *this));
    const auto done = prepared([work](Napi::Env) { work->release()->begin(); });
    engine_->close([this, done] { send(done); });
    closing_ = true;
    ++promises_;
    hold(env);
  }
  closers_.push_back(deferred);
  return deferred.Promise();
}

/// Nothing is left to wait for.
void EngineHandle::closed(Napi::Env env) {
  isClosed_ = true;
  onJudged_.Reset(), onStopped_.Reset(), onCpu_.Reset(), onLost_.Reset();
  hook_->Remove(env);
  try {
    for (const auto& closer : closers_) closer.Resolve(env.Undefined());
  } catch (const Napi::Error&) {
    // The environment is ending: nobody is left to be answered.
  }
  closers_.clear();
  channel_.Release();  // the last use: the handle may go with it
}

/// The environment ends: stops the thread, whatever it is doing, and answers nobody.
void EngineHandle::teardown() {
  if (learner_) learner_->stop();
  engine_.reset();
  learner_.reset();
  onJudged_.Reset(), onStopped_.Reset(), onCpu_.Reset(), onLost_.Reset();
}

}  // namespace foretoken::addon
