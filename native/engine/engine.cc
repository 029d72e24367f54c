#include "engine/engine.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "common/error.h"
#include "common/start_thread.h"

namespace foretoken {
namespace {

/// Rounds that nobody waits for are delivered together: the thread that takes them competes with passes, and costs more
/// for being woken than for the rounds. Policy looks at what came a little more often than that, at most.
constexpr std::chrono::milliseconds kTogether{11};

/// How old the counters may be while rounds are decoded: to make them walks over all tenants.
constexpr std::chrono::milliseconds kCounted{100};

}  // namespace

Engine::Engine(std::unique_ptr<Backend> backend, std::shared_ptr<Model> model, const EngineOptions& options,
               OutcomeSink* sink)
    : backend_(std::move(backend)),
      model_(std::move(model)),
      head_(options.speculation ? options.head : nullptr),
      speculation_(options.speculation),
      core_(*backend_, model_, options),
      sink_(sink) {
  const int32_t ahead = std::min(options.runAhead, core_.contextLength());
  const size_t tokens = static_cast<size_t>(options.maxSequences) * (ahead + kMaxDraftNodes);
  for (Outcomes& batch : batches_) batch.reserve(tokens, tokens * 4);
  core_.setOutput(current_);
  published_ = core_.counters();
  thread_ = startThread("the engine", [this] { run(); });
}

Engine::~Engine() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  thread_.join();
}

int32_t Engine::submit(Request request) {
  if (closed_) throw Error("ENGINE_CLOSED", "the engine is closed");
  const int32_t vocabulary = model()->config().vocabulary;
  validate(request, vocabulary, core_.contextLength());
  auto sequence = std::make_shared<std::unique_ptr<Sequence>>(
      std::make_unique<Sequence>(nextId_, std::move(request), core_.contextLength(), vocabulary, speculation_));
  post([this, sequence] { core_.submit(std::move(*sequence)); });
  return nextId_++;
}

void Engine::consumed(int32_t sequence, int32_t count) {
  post([this, sequence, count] { core_.consumed(sequence, count); });
}

void Engine::finish(int32_t sequence, int32_t keep) {
  post([this, sequence, keep] { core_.finish(sequence, keep); });
}

void Engine::unread(int32_t sequence) {
  post([this, sequence] { core_.unread(sequence); });
}

void Engine::setPolicy(const std::string* tenant, Policy policy) {
  Tenants place = placeFor(tenant, policy);
  auto made = std::make_shared<std::pair<Tenants, Policy>>(std::move(place), std::move(policy));
  post([this, made] { core_.setPolicy(std::move(made->first), std::move(made->second)); });
}

void Engine::dropPolicy(const std::string& tenant) {
  post([this, tenant] { core_.dropPolicy(tenant); });
}

std::function<void()> Engine::headSwap(const std::string* tenant, std::shared_ptr<const HeadWeights> head) {
  if (core_.head() == nullptr)
    throw Error("NO_HEAD", "the engine was loaded without a draft head and has no room for one");
  if (head) core_.head()->requireRoom(*head);
  auto place = std::make_shared<Tenants>(placeFor(tenant));
  auto made = std::make_shared<Commands>();
  made->push_back(
      [this, place, head = std::move(head)]() mutable { core_.setHead(std::move(*place), std::move(head)); });
  return [this, made] { post(*made); };
}

void Engine::forget(const std::string* tenant, const std::string* session) {
  post([this, all = tenant == nullptr, ofTenant = tenant ? *tenant : "", any = session == nullptr,
        ofSession = session ? *session : "", learner = session ? nullptr : core_.forgetting(tenant)] {
    core_.forget(all ? nullptr : &ofTenant, any ? nullptr : &ofSession, learner);
  });
}

/// Queues a job; its result, or the error it ends with, goes to `reply`, and what it has changed is counted by then.
template <typename T, typename Job>
void Engine::ask(Job job, Reply<T> reply) {
  post([this, job = std::move(job), reply = std::move(reply)] {
    std::optional<T> result;
    std::exception_ptr failure;
    try {
      result = job();
    } catch (...) {
      failure = std::current_exception();
    }
    publishCounters();
    reply(result ? &*result : nullptr, failure);
  });
}

void Engine::settle(Reply<bool> reply) {
  ask<bool>([] { return true; }, std::move(reply));
}

void Engine::profile(int rows, int context, int repeats, Reply<Profile> reply) {
  ask<Profile>([this, rows, context, repeats] { return core_.profile(rows, context, repeats); }, std::move(reply));
}

void Engine::profileOperations(TimedBackend& backend, int rows, int context, int repeats,
                               Reply<std::vector<OperationTime>> reply) {
  ask<std::vector<OperationTime>>(
      [this, &backend, rows, context, repeats] {
        backend.start();
        try {
          core_.runPasses(rows, context, repeats);
        } catch (...) {
          backend.stop();
          throw;
        }
        return backend.stop();
      },
      std::move(reply));
}

void Engine::score(std::vector<int32_t> tokens, Reply<Score> reply) {
  ask<Score>([this, tokens = std::move(tokens)] { return core_.score(tokens); }, std::move(reply));
}

void Engine::setStaticMemory(MemoryImage image, Reply<bool> reply) {
  ask<bool>(
      [this, image = std::move(image)] {
        core_.setStaticMemory(image);
        return true;
      },
      std::move(reply));
}

void Engine::restoreMemory(std::string tenant, MemoryImage image, Reply<bool> reply) {
  ask<bool>(
      [this, tenant = std::move(tenant), image = std::move(image)] {
        core_.restoreMemory(tenant, image);
        return true;
      },
      std::move(reply));
}

void Engine::memoryOf(std::string tenant, bool take, Reply<TenantMemory> reply) {
  ask<TenantMemory>(
      [this, tenant = std::move(tenant), take] {
        TenantMemory memory{{}, model()->sourceHash()};
        static_cast<TakenMemory&>(memory) = take ? core_.takeMemory(tenant) : TakenMemory{core_.memoryOf(tenant)};
        return memory;
      },
      std::move(reply));
}

void Engine::droppedTenants(Reply<std::vector<std::string>> reply) {
  ask<std::vector<std::string>>([this] { return core_.droppedTenants(); }, std::move(reply));
}

void Engine::updateWeights(std::shared_ptr<Model> model, std::shared_ptr<const HeadWeights> head, bool restart,
                           Reply<int32_t> reply) {
  ask<int32_t>(
      [this, model = std::move(model), head = std::move(head), restart] {
        core_.updateWeights(model, restart, head);
        auto old = std::pair(model, head);  // dies here: to let go of weights takes longer than callers may wait
        {
          const std::lock_guard lock(mutex_);
          model_.swap(old.first), head_.swap(old.second);
        }
        return core_.counters().weightsVersion;
      },
      std::move(reply));
}

void Engine::close(std::function<void()> done) {
  post([this, done = std::move(done)]() mutable {
    closing_ = true;
    done_ = std::move(done);
    core_.ignoreBackPressure();
  });
  closed_ = true;
}

std::shared_ptr<Model> Engine::model() const {
  const std::lock_guard lock(mutex_);
  return model_;
}

std::shared_ptr<const HeadWeights> Engine::head() const {
  const std::lock_guard lock(mutex_);
  return head_;
}

/// Wakes the thread only if it sleeps: in steady decoding it finds the free batch by itself.
void Engine::recycle(Outcomes* batch) {
  batch->lent.store(false);
  if (!sleeping_.load()) return;
  { const std::lock_guard lock(mutex_); }
  wake_.notify_one();
}

EngineCounters Engine::counters() const {
  const std::lock_guard lock(mutex_);
  return published_;
}

void Engine::post(std::function<void()> command) {
  Commands made;
  made.push_back(std::move(command));
  post(made);
}

void Engine::post(Commands& made) {
  {
    const std::lock_guard lock(mutex_);
    commands_.splice(commands_.end(), made);
    hasCommands_ = true;
  }
  wake_.notify_one();
}

void Engine::run() {
  const std::function<void()> read = [this] { publish(); };  // first tokens don't wait for a round
  for (;;) {
    runCommands();
    if (stop_) return;
    const bool worked = core_.step(read);
    if (!worked || isDue()) publish();
    if (worked) continue;
    publishCounters();
    if (closing_ && core_.drained() && current_->empty()) break;
    waitForWork();
  }
  done_();
}

void Engine::runCommands() {
  if (!hasCommands_.load()) return;
  {
    const std::lock_guard lock(mutex_);
    running_.swap(commands_);
    hasCommands_ = false;
  }
  for (auto& command : running_) command();
  running_.clear();
  publishCounters();
}

/// Sleeps until there is a command, or a batch to hand out what is left with.
void Engine::waitForWork() {
  std::unique_lock lock(mutex_);
  sleeping_ = true;
  wake_.wait(lock, [&] { return stop_ || hasCommands_ || (!current_->empty() && freeBatch() != nullptr); });
  sleeping_ = false;
}

Outcomes* Engine::freeBatch() {
  for (Outcomes& batch : batches_) {
    if (&batch != current_ && !batch.lent.load()) return &batch;
  }
  return nullptr;
}

/// Whether somebody waits for what the batch holds, or it has held rounds for long enough.
bool Engine::isDue() const {
  return core_.isRead() || current_->isUrgent() || std::chrono::steady_clock::now() - delivered_ >= kTogether;
}

/// Hands the batch out if there is another to write to. Who hears of a sequence's end may count at once.
void Engine::publish() {
  if (current_->empty()) return;
  Outcomes* next = freeBatch();
  if (next == nullptr) return;
  delivered_ = std::chrono::steady_clock::now();
  if (current_->isUrgent() || delivered_ - counted_ >= kCounted) publishCounters();
  current_->lent.store(true);
  sink_->deliver(current_);
  next->clear();
  current_ = next;
  core_.setOutput(next);
}

/// Counts before it locks: that walks over all tenants.
void Engine::publishCounters() {
  counted_ = std::chrono::steady_clock::now();
  const EngineCounters counters = core_.counters();
  const std::lock_guard lock(mutex_);
  published_ = counters;
}

}  // namespace foretoken
