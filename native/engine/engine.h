// An engine: one model, one thread that runs round after round and never waits for its callers.
//
// Calls from any one other thread queue commands and return at once; the thread takes them between passes. What
// happened comes back as batches of outcomes through an OutcomeSink. While the receiver is busy with the batches it
// has, further rounds are added to one batch, so a slow receiver costs crossings, not rounds.
//
// Lack of memory ends no thread. A command is made by its caller, who gets the exception where there is no memory for
// it; what it then takes on the engine's thread the caller has made as well, or its lack is replied, or ends the
// request.
#pragma once
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "backend.h"
#include "engine/core.h"
#include "engine/options.h"
#include "engine/outcomes.h"
#include "engine/request.h"
#include "engine/timed_backend.h"
#include "model/model.h"

namespace foretoken {

/// The result of a job (its own to take) or the error it ended with; called on the engine thread, must not throw.
template <typename T>
using Reply = std::function<void(T* result, std::exception_ptr error)>;

/// What a tenant remembers, and the hash of the weights that made its newest keys.
struct TenantMemory : TakenMemory {
  std::string model;
};

class Engine {
 public:
  /// Starts the thread. `sink` must outlive the engine. Throws what EngineCore's constructor throws.
  Engine(std::unique_ptr<Backend> backend, std::shared_ptr<Model> model, const EngineOptions& options,
         OutcomeSink* sink);
  /// Stops after the pass that is running; what is not delivered yet is lost.
  ~Engine();

  /// Queues a request; its sequence id, which nextId() said. Throws INVALID_REQUEST, CONTEXT_EXCEEDED, ENGINE_CLOSED.
  int32_t submit(Request request);
  int32_t nextId() const { return nextId_; }
  void consumed(int32_t sequence, int32_t count);
  void finish(int32_t sequence, int32_t keep);
  /// Nobody waits for the tokens of a sequence one by one: while that is true of all that run, rounds are delivered
  /// some milliseconds' worth at a time, but for first tokens and ends.
  void unread(int32_t sequence);
  void setPolicy(const std::string* tenant, Policy policy);
  void dropPolicy(const std::string& tenant);
  /// What swaps a draft head between two rounds, see EngineCore: made on any thread, and called there once, which never
  /// fails. Throws NO_HEAD where the engine was made without one, HEAD_MISMATCH where it has no room for this one.
  std::function<void()> headSwap(const std::string* tenant, std::shared_ptr<const HeadWeights> head);
  void forget(const std::string* tenant, const std::string* session);
  /// Answers behind all that was asked before.
  void settle(Reply<bool> reply);
  void profile(int rows, int context, int repeats, Reply<Profile> reply);
  /// Runs passes with the clocks of `backend` (this engine's own) going; operations with their seconds over all
  /// repeats.
  void profileOperations(TimedBackend& backend, int rows, int context, int repeats,
                         Reply<std::vector<OperationTime>> reply);
  void score(std::vector<int32_t> tokens, Reply<Score> reply);
  void setStaticMemory(MemoryImage image, Reply<bool> reply);
  void restoreMemory(std::string tenant, MemoryImage image, Reply<bool> reply);
  /// `take`: see EngineCore::takeMemory.
  void memoryOf(std::string tenant, bool take, Reply<TenantMemory> reply);
  void droppedTenants(Reply<std::vector<std::string>> reply);
  /// Swaps to weights that came from Model::updated of `model()`, and to a head that came from HeadWeights::updated of
  /// `head()`, between two rounds; see EngineCore. The reply is the number of updates so far.
  void updateWeights(std::shared_ptr<Model> model, std::shared_ptr<const HeadWeights> head, bool restart,
                     Reply<int32_t> reply);
  /// Takes no more requests, runs what there is to its end (no longer minding back-pressure), delivers all outcomes,
  /// stops the thread, and calls `done` as the thread's last act.
  void close(std::function<void()> done);
  /// Gives a delivered batch back.
  void recycle(Outcomes* batch);

  EngineCounters counters() const;
  /// The newest weights.
  std::shared_ptr<Model> model() const;
  /// The common head; null where there is none.
  std::shared_ptr<const HeadWeights> head() const;
  Backend& backend() { return *backend_; }
  int32_t contextLength() const { return core_.contextLength(); }
  KvFormat kvFormat() const { return core_.kvFormat(); }

 private:
  static constexpr int kBatches = 3;
  /// None throws. In lists, so that one that is made is queued without memory.
  using Commands = std::list<std::function<void()>>;

  void run();
  template <typename T, typename Job>
  void ask(Job job, Reply<T> reply);
  void post(std::function<void()> command);
  void post(Commands& made);
  void runCommands();
  void waitForWork();
  Outcomes* freeBatch();
  bool isDue() const;
  void publish();
  void publishCounters();

  std::unique_ptr<Backend> backend_;
  std::shared_ptr<Model> model_;             ///< under mutex_
  std::shared_ptr<const HeadWeights> head_;  ///< under mutex_
  const bool speculation_;
  EngineCore core_;
  OutcomeSink* const sink_;
  int32_t nextId_ = 1;
  bool closed_ = false;  ///< as the caller sees it

  std::array<Outcomes, kBatches> batches_;
  Outcomes* current_ = &batches_[0];
  std::chrono::steady_clock::time_point delivered_;  ///< the latest batch
  std::chrono::steady_clock::time_point counted_;    ///< the latest counters
  bool closing_ = false;
  std::function<void()> done_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  Commands commands_, running_;
  std::atomic<bool> hasCommands_{false}, stop_{false}, sleeping_{false};
  EngineCounters published_;  ///< under mutex_, for counters()
  std::thread thread_;
};

}  // namespace foretoken
