#include "learn/learner.h"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "common/error.h"
#include "common/load.h"
#include "common/start_thread.h"
#include "quant/float_codecs.h"
#include "train/head_fit.h"

namespace foretoken::learn {
namespace {

/// Texts of one tenant that wait to be taken, and of all; beyond that the oldest is dropped.
constexpr std::ptrdiff_t kMostWaiting = 4;
constexpr size_t kMostWaitingInAll = 16;
/// Seconds of work that may be saved up while a sequence is decoded, and how often is looked whether there are any.
constexpr double kMostBudget = 0.25;
constexpr auto kLook = std::chrono::milliseconds(20);
/// A step takes some 25 ms: one that begins between two requests would be under way in the next one.
constexpr std::chrono::milliseconds kCalm{100};

/// Whatever else wants the core gets it first.
void yieldToAll() {
  sched_param parameters{};
  pthread_setschedparam(pthread_self(), SCHED_IDLE, &parameters);
}

double threadSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

/// Whether memory is lacking, which may pass.
bool lacksMemory(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const std::bad_alloc&) {
    return true;
  } catch (const Error& error) {
    return error.code() == "OUT_OF_MEMORY";
  } catch (...) {
    return false;
  }
}

}  // namespace

Learner::Learner(train::LoadedHead file, std::shared_ptr<const HeadWeights> base, std::unique_ptr<Backend> packing,
                 const std::string& isa, const LearnerOptions& options, StepTakers takers)
    : file_(std::move(file)),
      base_(std::move(base)),
      options_(options),
      packing_(std::move(packing)),
      takers_(std::move(takers)),
      head_(file_.shape),
      ops_(pool_, selectIsa(isa)),
      start_(std::make_shared<const LearnedHead>(
          inParts({std::move(file_.weights), std::move(file_.draft), std::move(file_.delta)}, head_.before()))) {
  takers_.onCpu = [this](std::exception_ptr why) { callbacks_.onCpu(whose_, std::move(why)); };
}

Learner::~Learner() { stop(); }

void Learner::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Learner::start(std::shared_ptr<const Model> target, LearnerCallbacks callbacks) {
  if (thread_.joinable()) return;
  target_ = std::move(target);
  callbacks_ = std::move(callbacks);
  thread_ = startThread("learning", [this] { run(); });
  const std::lock_guard lock(mutex_);
  started_ = true;
}

void Learner::ended(VerifiedText text) {
  {
    const std::lock_guard lock(mutex_);
    if (stop_ || !started_ || ended_) return;
    const auto isOwn = [&](const VerifiedText& other) { return other.learner == text.learner; };
    const bool full = std::count_if(texts_.begin(), texts_.end(), isOwn) >= kMostWaiting;
    if (full || texts_.size() >= kMostWaitingInAll) {
      texts_.erase(full ? std::find_if(texts_.begin(), texts_.end(), isOwn) : texts_.begin());
      ++counters_.dropped;
    }
    texts_.push_back(std::move(text));
  }
  wake_.notify_one();
}

void Learner::weightsMoved(std::shared_ptr<const Model> target, std::shared_ptr<const HeadWeights> head) {
  Commands made;
  made.push_back([this, target = std::move(target), head = std::move(head)] {
    target_ = target, base_ = head, moved_ = true;
    tables_ = {}, embedding_ = {};
    for (auto& [name, each] : tenants_) each.learner->targetMoved(start_);
    std::erase_if(adopted_, [](const auto& each) { return !each.second.fits; });
    for (auto& [name, each] : adopted_) each.drafts = false;
    withdraw([](const std::string&) { return true; });
  });
  {
    const std::lock_guard lock(mutex_);
    counters_.dropped += static_cast<int64_t>(texts_.size());
    texts_.clear();
  }
  post(made);
}

void Learner::post(std::function<void()> command) {
  Commands made;
  made.push_back(std::move(command));
  post(made);
}

void Learner::post(Commands& made) {
  {
    const std::lock_guard lock(mutex_);
    commands_.splice(commands_.end(), made);
  }
  wake_.notify_one();
}

/// What makes a head draft for a tenant (null: it has none of its own), after which none before it is left to withdraw;
/// calling it never fails.
std::function<void()> Learner::give(const std::string& name, std::shared_ptr<const HeadWeights> head) {
  const auto swap = callbacks_.drafts(name, std::move(head));
  given_.insert(name);
  return [this, name, swap] { swap(), withdrawn_.erase(name); };
}

/// The engine may have got heads just before they were forgotten, or before the weights moved that they were judged
/// with, whether their tenants learn or not. Needs no memory.
void Learner::withdraw(const std::function<bool(const std::string&)>& meant) {
  for (auto each = given_.begin(); each != given_.end();) {
    const auto next = std::next(each);
    if (meant(*each)) withdrawn_.insert(given_.extract(each));
    each = next;
  }
}

/// Where memory is lacking, the next time.
void Learner::tellWithdrawn() {
  for (; !withdrawn_.empty(); withdrawn_.erase(withdrawn_.begin())) callbacks_.drafts(*withdrawn_.begin(), nullptr)();
}

void Learner::run() {
  yieldToAll();
  Commands commands;
  for (bool may = true, worked = false;;) {
    {
      std::unique_lock lock(mutex_);
      if (!worked) await(lock, may);
      if (stop_) return;
      commands.swap(commands_);
    }
    for (const auto& command : commands) attempt([&] { return command(), true; });
    commands.clear();
    attempt([this] { return tellWithdrawn(), true; });
    may = mayWork();
    worked = may && attempt([this] { return work(); });
  }
}

/// Until there is something to do. Only what has to wait for calm, or for memory, is looked at now and then.
void Learner::await(std::unique_lock<std::mutex>& lock, bool may) {
  const auto isAsked = [this] { return stop_ || !commands_.empty(); };
  if (withdrawn_.empty() && owed() == 0 && texts_.empty()) {
    wake_.wait(lock, [&] { return isAsked() || !texts_.empty(); });
    checked_ = Clock::now();  // what has been decoded meanwhile allows no work
  } else {
    wake_.wait_for(lock, kLook, [&] { return isAsked() || (may && !texts_.empty()); });
  }
}

/// Steps that tenants are owed.
int64_t Learner::owed() const {
  return std::accumulate(tenants_.begin(), tenants_.end(), int64_t{0},
                         [](int64_t sum, const auto& each) { return sum + each.second.owed + each.second.owedLayers; });
}

/// What `work` says; false where it throws. All but lack of memory ends learning.
bool Learner::attempt(const std::function<bool()>& work) {
  try {
    return work();
  } catch (...) {
    if (!lacksMemory(std::current_exception())) endLearning(std::current_exception());
    return false;
  }
}

/// A device that failed once is not asked again. Commands are carried out as before: tenants keep the heads they have.
void Learner::endLearning(std::exception_ptr why) {
  {
    const std::lock_guard lock(mutex_);
    if (std::exchange(ended_, true)) return;
    texts_.clear();
  }
  for (auto& [name, each] : tenants_) each.owed = each.owedLayers = 0, each.learner->endLearning();
  publish(0);
  callbacks_.stopped(std::move(whose_), std::move(why));
}

/// Nothing has been decoded for a while, or one sequence is and there is time left of what its decoding allows.
bool Learner::mayWork() {
  const int busy = Load::now();
  const auto now = Clock::now();
  const double passed = std::chrono::duration<double>(now - checked_).count();
  checked_ = now;
  if (busy == 1) budget_ = std::min(kMostBudget, budget_ + options_.share * passed);
  const bool may = busy == 0 ? Load::calm() > kCalm : busy == 1 && budget_ > 0;
  const std::lock_guard lock(mutex_);
  counters_.paused = busy != 0 && !may;
  return may;
}

/// A text that waits, else a step of whose turn it is. False where there is nothing to do. Where memory runs out, the
/// tenant's head loses what it was learning, and nobody anything else.
bool Learner::work() {
  const double began = threadSeconds();
  std::optional<VerifiedText> text;
  whose_.clear();
  {
    const std::lock_guard lock(mutex_);
    if (!commands_.empty()) return true;  // a text may be of weights that a command is about
    if (!texts_.empty()) text = std::move(texts_.front()), texts_.pop_front(), taking_ = true;
  }
  bool worked = true;
  try {
    if (text)
      take(std::move(*text));
    else
      worked = step(&Tenant::owed, &HeadLearner::step) ||
               (Load::now() == 0 && step(&Tenant::owedLayers, &HeadLearner::stepLayers));
  } catch (...) {
    const std::exception_ptr why = std::current_exception();
    if (!lacksMemory(why)) throw;
    const auto own = tenants_.find(whose_);
    if (own != tenants_.end()) own->second.learner->recover();
    {
      const std::lock_guard lock(mutex_);
      counters_.dropped += text.has_value();
    }
    // Nobody is told where there is no memory for that either.
    attempt([&] { return callbacks_.lost(whose_, why), true; });
  }
  const double seconds = threadSeconds() - began;
  if (Load::now() != 0) budget_ -= seconds;
  if (worked) publish(seconds);
  return worked;
}

/// A step of the next tenant that is owed one.
bool Learner::step(int64_t Tenant::*owed, bool (HeadLearner::*step)()) {
  auto next = tenants_.upper_bound(last_);
  for (size_t i = 0; i < tenants_.size(); ++i, ++next) {
    if (next == tenants_.end()) next = tenants_.begin();
    Tenant& tenant = next->second;
    if (tenant.*owed == 0) continue;
    whose_ = next->first;
    --(tenant.*owed);
    last_ = next->first;
    (tenant.learner.get()->*step)();
    return true;
  }
  return false;
}

/// The target's rows, when a text first needs them.
void Learner::prepare() {
  if (!tables_.draft.empty()) return;
  const ModelConfig& config = target_->config();
  std::vector<int32_t> all(config.vocabulary);
  std::iota(all.begin(), all.end(), 0);
  embedding_.clear();
  embedding_.reserve(all.size() * config.width);
  overRows(target_->embedding(), all, *packing_, [&](const float* row) {
    for (int c = 0; c < config.width; ++c) embedding_.push_back(floatToBf16(row[c]));
  });
  tables_.rowsOf = [this](std::span<const int32_t> tokens) { return rowsOf(target_->output(), tokens, *packing_); };
  tables_.output = tables_.rowsOf(start_->rows->draft);
  tables_.embedding = embedding_.data();
  tables_.place = train::placesOf(start_->rows->draft, config.vocabulary);
  const float* const scale = target_->outputNorm();
  norm_ = {{scale, scale + config.width}, config.normEps};
  tables_.draft = start_->rows->draft;  // now all is there
}

/// Ends learning of the tenant that was seen longest ago. False where there is none that has nothing to lose.
bool Learner::makeRoom() {
  auto oldest = tenants_.end();
  for (auto each = tenants_.begin(); each != tenants_.end(); ++each)
    if (each->second.learner->live() == start_ && (oldest == tenants_.end() || each->second.seen < oldest->second.seen))
      oldest = each;
  if (oldest == tenants_.end()) return false;
  dismiss(oldest);
  return true;
}

/// Ends a tenant's learning. What it has done goes on being counted.
Learner::Tenants::iterator Learner::dismiss(Tenants::iterator tenant) {
  gone_.add(*tenant->second.learner);
  return tenants_.erase(tenant);
}

void Learner::Taken::add(const HeadLearner& learner) {
  steps += learner.steps(), layerSteps += learner.layerSteps(), skipped += learner.skipped();
}

/// Null where too many have learned already, or nothing can be learned from what drafts.
Learner::Tenant* Learner::tenant(const std::string& name) {
  const auto known = tenants_.find(name);
  if (known != tenants_.end()) return known->second.seen = ++seen_, &known->second;
  const auto adopted = adopted_.find(name);
  if (adopted != adopted_.end() && !adopted->second.fits) return nullptr;
  if (tenants_.size() >= options_.mostTenants && !makeRoom()) return nullptr;
  auto learner = std::make_unique<HeadLearner>(ops_, head_, tables_, norm_, options_.learn, start_, takers_);
  if (adopted != adopted_.end() && !beginsFrom(adopted->second, *learner)) return nullptr;
  Tenant* const own = &tenants_.emplace(name, Tenant{.learner = std::move(learner), .seen = ++seen_}).first->second;
  if (adopted != adopted_.end()) adopted_.erase(adopted);
  return own;
}

/// False where what drafts can't be read any more: what is learned would be judged against another head.
bool Learner::beginsFrom(Adopted& adopted, HeadLearner& learner) const {
  try {
    const Saved saved = read(adopted.path);
    adopted.fits = saved.shape == file_.shape;
    if (adopted.fits) adopted.drafts ? learner.adopt(saved.head) : learner.propose(saved.head);
  } catch (const Error& error) {
    if (error.code() == "OUT_OF_MEMORY") throw;
    adopted.fits = false;
  }
  return adopted.fits || !adopted.drafts;
}

void Learner::take(VerifiedText text) {
  Judged judged{text.learner, text.tenant, {}};
  whose_ = text.learner;
  Tenant* const own = tenant(text.learner);
  if (own == nullptr) {
    const std::lock_guard lock(mutex_);
    ++counters_.dropped;
    return;
  }
  prepare();
  if (!own->learner->take(std::move(text), judged.foreseen)) return;
  {
    const std::lock_guard lock(mutex_);
    ++counters_.texts;
  }
  for (int64_t* const owed : {&own->owed, &own->owedLayers})
    *owed = std::min(*owed + options_.stepsPerText, 4 * options_.stepsPerText);
  if (!judged.foreseen.live.empty()) callbacks_.judged(std::move(judged));
}

void Learner::publish(double seconds) {
  Taken taken = gone_;
  int64_t bytes = 0;
  int64_t deviceBytes = takers_.rows ? static_cast<int64_t>(takers_.rows->deviceBytes()) : 0;
  for (const auto& [name, each] : tenants_) {
    taken.add(*each.learner);
    bytes += static_cast<int64_t>(each.learner->bytes());
    deviceBytes += static_cast<int64_t>(each.learner->deviceBytes());
  }
  const std::lock_guard lock(mutex_);
  counters_.steps = taken.steps, counters_.layerSteps = taken.layerSteps, counters_.skipped = taken.skipped;
  counters_.bytes = bytes;
  counters_.deviceBytes = deviceBytes;
  counters_.tenants = static_cast<int64_t>(tenants_.size());
  counters_.backlog = owed();
  taking_ = false;
  counters_.seconds += seconds;
}

/// Keys and values that are there can go on being used where nothing that they depend on differs.
bool Learner::sharesContext(const train::Floats& layers) const {
  for (const train::Parameter& p : head_.parameters().all()) {
    const bool ofContext = p.name.starts_with("fc.") || p.name.starts_with("feature_norms.") ||
                           p.name.starts_with("context_norm.") || p.name.find(".attention.k.") != std::string::npos ||
                           p.name.find(".attention.v.") != std::string::npos;
    if (ofContext && !std::equal(layers.begin() + p.offset, layers.begin() + p.offset + p.size(),
                                 start_->layers->begin() + p.offset))
      return false;
  }
  return true;
}

std::shared_ptr<const HeadWeights> Learner::packed(const train::BlockHeadShape& shape, const LearnedHead& head) {
  const train::HeadNumbers numbers = together(head);
  const HeadSource source{shape, file_.binding.fusedLayers, numbers.draft, numbers.weights, numbers.delta};
  HeadParts shared;
  if (shape == file_.shape) {
    if (sharesContext(*head.layers)) shared.context = base_->context();
    if (head.layers == start_->layers) shared.layers = base_->parts().layers;
    const train::OutputDelta &own = head.rows->delta, &common = start_->rows->delta;
    if (head.rows->draft == start_->rows->draft && own.place == common.place && own.row == common.row)
      shared.output = base_->parts().output;
  }
  return std::make_shared<const HeadWeights>(source, *target_, *packing_, HeadFormats{}, std::move(shared));
}

void Learner::decide(const std::string& name, Decision decision, int64_t candidate, std::function<void(bool)> done) {
  post([=, this] {
    const auto known = tenants_.find(name);
    if (known == tenants_.end()) return done(false);
    const HeadLearner& learner = *known->second.learner;
    const bool meant =
        decision == Decision::rollBack ? learner.previous() != nullptr : learner.candidateNumber() == candidate;
    if (!meant) return done(false);
    done(attempt([&] {
      whose_ = name;
      return carryOut(name, decision), true;
    }));
  });
}

/// What is to draft is packed first, so that nothing has changed where that fails.
void Learner::carryOut(const std::string& name, Decision decision) {
  HeadLearner& learner = *tenants_.find(name)->second.learner;
  const auto draftsNext = [&](const HeadLearner::Weights& next, void (HeadLearner::*change)()) {
    const auto swap = give(name, next == start_ ? nullptr : packed(file_.shape, *next));
    (learner.*change)();
    swap();
  };
  switch (decision) {
    case Decision::promote: return draftsNext(learner.candidate(), &HeadLearner::promote);
    case Decision::rollBack: return draftsNext(learner.previous(), &HeadLearner::rollBack);
    case Decision::discard: return learner.discard(false);
    case Decision::harmful: return learner.discard(true);
  }
}

void Learner::save(const std::string& name, const std::string& path,
                   std::function<void(const std::string*, std::exception_ptr)> done) {
  post([=, this] {
    try {
      const Saved live = liveOf(name);
      train::HeadBinding binding = file_.binding;
      if (moved_) binding.model = target_->sourceHash();
      train::saveHead(path, train::BlockHead(live.shape), together(*live.head), binding, FileType::f32);
      done(&binding.model, nullptr);
    } catch (...) {
      done(nullptr, std::current_exception());
    }
  });
}

/// What drafts for a tenant.
Learner::Saved Learner::liveOf(const std::string& name) const {
  if (const auto known = tenants_.find(name); known != tenants_.end())
    return {file_.shape, known->second.learner->live()};
  const auto adopted = adopted_.find(name);
  if (adopted != adopted_.end() && adopted->second.drafts) return read(adopted->second.path);
  return {file_.shape, start_};
}

/// A head that was saved, if the target can be drafted for with it.
Learner::Saved Learner::read(const std::string& path) const {
  train::LoadedHead file = train::loadHead(path, file_.binding);
  const train::BlockHeadShape shape = file.shape;
  train::requireFit(shape, file.binding.fusedLayers, file.draft, target_->config());
  const int64_t markov = train::BlockHead::layoutOf(shape).find("before.weight").offset;
  LearnedHead parts = inParts(std::move(file), markov);
  if (*parts.layers == *start_->layers) parts.layers = start_->layers;
  return {shape, std::make_shared<const LearnedHead>(std::move(parts))};
}

/// What a tenant learns goes on from a head that was saved: now, or once there is a place for it. Nothing is learned
/// while one of another shape drafts.
void Learner::goOnFrom(const std::string& name, Adopted adopted, const HeadLearner::Weights& head) {
  if (!adopted.fits && !adopted.drafts) return;
  const bool drafts = adopted.drafts;
  if (Tenant* const own = adopted.fits ? tenant(name) : nullptr)
    return drafts ? own->learner->adopt(head) : own->learner->propose(head);
  adopted_.insert_or_assign(name, std::move(adopted));
  if (const auto known = tenants_.find(name); known != tenants_.end()) dismiss(known);
}

void Learner::adopt(const std::string& name, const std::string& path, bool again,
                    std::function<void(std::exception_ptr)> done) {
  post([=, this] {
    try {
      const Saved saved = read(path);
      const bool drafts = !moved_ && !again;
      const auto swap = drafts ? give(name, packed(saved.shape, *saved.head)) : nullptr;
      goOnFrom(name, {path, drafts, saved.shape == file_.shape}, saved.head);
      if (swap) swap();
      done(nullptr);
    } catch (...) {
      done(std::current_exception());
    }
  });
}

std::function<void()> Learner::forgetting(const std::string* name) {
  const auto made = std::make_shared<Commands>();
  const std::function<bool(const std::string&)> meant =
      [all = name == nullptr, which = name ? *name : ""](const std::string& each) { return all || each == which; };
  made->push_back([this, meant] {
    for (auto each = tenants_.begin(); each != tenants_.end();)
      each = meant(each->first) ? dismiss(each) : std::next(each);
    std::erase_if(adopted_, [&](const auto& each) { return meant(each.first); });
    withdraw(meant);
    publish(0);
  });
  return [this, made, meant] {
    {
      const std::lock_guard lock(mutex_);
      std::erase_if(texts_, [&](const VerifiedText& text) { return meant(text.learner); });
    }
    post(*made);
  };
}

std::function<void()> Learner::settling(std::function<void()> done) {
  if (!thread_.joinable()) return nullptr;
  const auto made = std::make_shared<Commands>();
  made->push_back([this, done = std::move(done)] {
    attempt([this] { return tellWithdrawn(), true; });
    publish(0);
    done();
  });
  return [this, made] { post(*made); };
}

LearnerCounters Learner::counters() const {
  const std::lock_guard lock(mutex_);
  LearnerCounters result = counters_;
  result.backlog += static_cast<int64_t>(texts_.size()) + (taking_ ? 1 : 0);
  result.paused = result.paused && result.backlog > 0;
  return result;
}

}  // namespace foretoken::learn
