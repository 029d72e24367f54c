// One engine on JavaScript's side: it owns the native engine, receives its batches, and keeps the counts.
//
// Rules of this border:
// - Everything but deliver() and what runs on the engine's thread runs on the JavaScript thread that loaded the engine.
// - One thread-safe function carries everything back. It holds the event loop only while a sequence runs or a promise
//   is pending, so an idle engine never keeps a process alive.
// - What carries an answer back is made with the question, on the JavaScript thread: other threads, which have nobody
//   to tell, need no memory to give one.
// - When the environment ends (worker thread or process), a clean-up hook stops the engine's thread before the
//   thread-safe function goes; nothing is called afterwards.
// - What closing has to wait for, it waits for on a thread of the pool. An environment that ends meanwhile waits for
//   that work before its hooks run.
#pragma once
#include <napi.h>

#include <array>
#include <functional>
#include <memory>
#include <vector>

#include "addon/convert.h"
#include "engine/engine.h"
#include "engine/ledger.h"
#include "learn/learner.h"

namespace foretoken::addon {

/// What an update brought, as it arrived.
struct WeightUpdate {
  int64_t tensors = 0;
  uint64_t bytes = 0;
};

class EngineHandle final : public OutcomeSink {
 public:
  /// Prepares the way back to JavaScript; the engine itself is added by start().
  static std::shared_ptr<EngineHandle> create(Napi::Env env, Napi::Function onOutcomes);
  ~EngineHandle() override;

  /// Takes an engine over, made (on any thread) with this handle as its sink, and what learns from its texts (may be
  /// null).
  void start(std::unique_ptr<Engine> engine, TimedBackend& backend, BackendChoice choice,
             std::unique_ptr<learn::Learner> learner);
  /// No engine will come: loading failed.
  void abandon(Napi::Env env);

  void deliver(Outcomes* batch) override;

  Napi::Object info(Napi::Env env);
  int32_t submit(Napi::Env env, Request request);
  void consumed(int32_t sequence, int32_t count);
  void unread(int32_t sequence);
  void finish(int32_t sequence, int32_t keep);
  void setPolicy(const std::string* tenant, Policy policy);
  void dropPolicy(const std::string& tenant);
  Napi::Object stats(Napi::Env env);
  void forget(const std::string* tenant, const std::string* session);
  Napi::Promise settled(Napi::Env env);
  Napi::Promise profile(Napi::Env env, int rows, int context, int repeats);
  Napi::Promise profileOperations(Napi::Env env, int rows, int context, int repeats);
  Napi::Promise score(Napi::Env env, std::vector<int32_t> tokens);
  Napi::Promise setStaticMemory(Napi::Env env, MemoryImage image);
  Napi::Promise restoreMemory(Napi::Env env, std::string tenant, MemoryImage image);
  Napi::Promise memoryOf(Napi::Env env, std::string tenant, bool take);
  Napi::Promise droppedTenants(Napi::Env env);
  /// The newest weights and the common head (null where there is none), for an update to start from.
  std::shared_ptr<Model> model() { return open().model(); }
  /// What the engine runs on.
  const BackendChoice& choice() const { return choice_; }
  std::shared_ptr<const HeadWeights> head() { return open().head(); }
  Napi::Promise swapWeights(Napi::Env env, std::shared_ptr<Model> model, std::shared_ptr<const HeadWeights> head,
                            bool restart, WeightUpdate update);
  /// Heads begin to learn; what texts say about them goes to `onJudged`, the error that ends it to `onStopped`, why the
  /// CPU learns in a device's place to `onCpu`, and what cost a tenant all that its head was learning to `onLost`.
  void watchLearning(Napi::Function onJudged, Napi::Function onStopped, Napi::Function onCpu, Napi::Function onLost);
  Napi::Promise decide(Napi::Env env, const std::string& tenant, learn::Learner::Decision decision, int64_t candidate);
  Napi::Promise saveHead(Napi::Env env, const std::string& tenant, const std::string& path);
  Napi::Promise adoptHead(Napi::Env env, const std::string& tenant, const std::string& path, bool again);
  Napi::Promise close(Napi::Env env);

 private:
  class Closing;
  using Task = std::function<void(Napi::Env)>;
  /// What travels through the thread-safe function: a batch, or something to do on the JavaScript thread.
  struct Message {
    Outcomes* batch = nullptr;
    Task task;
  };
  /// A message that waits for its occasion; freed if that never comes.
  using Prepared = std::shared_ptr<std::unique_ptr<Message>>;
  static void callJs(Napi::Env env, Napi::Function callback, EngineHandle* handle, Message* message);
  using Hook = Napi::Env::CleanupHook<void (*)(EngineHandle*), EngineHandle>;
  using Channel = Napi::TypedThreadSafeFunction<EngineHandle, Message, callJs>;

  EngineHandle() = default;
  Engine& open();
  learn::Learner& learner();
  void tellJudged(Napi::Env env, const learn::Judged& judged);
  void tell(Napi::Env env, const Napi::FunctionReference& watcher, const std::string& tenant, std::exception_ptr why);
  void receive(Napi::Env env, Napi::Function callback, Outcomes* batch);
  Napi::Object taken(Napi::Env env, Outcomes* batch);
  static Prepared prepared(Task task);
  void send(const Prepared& message);
  void post(Task task) { send(prepared(std::move(task))); }
  template <typename T>
  Napi::Promise answer(Napi::Env env, const std::function<void(Reply<T>)>& ask,
                       std::function<Napi::Object(Napi::Env, const T&)> convert);
  void hold(Napi::Env env);
  void letGoIfIdle(Napi::Env env);
  void closed(Napi::Env env);
  void teardown();

  Channel channel_;
  std::unique_ptr<Hook> hook_;
  std::unique_ptr<learn::Learner> learner_;  ///< outlives the engine, which hands it texts
  std::unique_ptr<Engine> engine_;
  Napi::FunctionReference onJudged_, onStopped_, onCpu_, onLost_;
  bool closing_ = false, isClosed_ = false;
  int promises_ = 0;   ///< pending
  bool held_ = false;  ///< whether channel_ holds the event loop now
  std::vector<Napi::Promise::Deferred> closers_;
  Ledger ledger_;
  std::array<Message, 4> batchMessages_;  ///< more than there are batches: the one written longest ago is free
  size_t delivered_ = 0;                  ///< batches, as the engine's thread counts them
  TimedBackend* backend_ = nullptr;       ///< of engine_
  BackendChoice choice_;
};

}  // namespace foretoken::addon
