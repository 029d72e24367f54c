// One block: its threads as fibers, what they wait for, and the scheduler that lets them go on in an order of its
// choice.
//
// A thread runs until it must wait for others (barrier, warp collective, condition). When no thread can go on, pending
// asynchronous work is done; when there is none, the launch fails with what everybody waits for.
#pragma once
#include <array>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "cuda/simt/failure.h"
#include "cuda/simt/fiber.h"
#include "cuda/simt/language.h"
#include "cuda/simt/schedule.h"

namespace foretoken::simt {

/// A place in the source: the caller's, where it is a default argument.
struct Where {
  const char* file = "";
  int line = 0;
  static constexpr Where current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

constexpr int kWarpLanes = 32;
constexpr int kBarriers = 16;

struct Warp;

enum class State : uint8_t { ready, collective, barrier, condition, polling, done };

struct Thread {
  Fiber fiber;
  uint3 index;
  int linear, lane;
  Warp* warp;
  State state;
  const char* waitsAt;  ///< the operation, for reports
  Where where;
  int barrier;  ///< State::barrier: which one
  int verdict;  ///< what the barrier counted
  const std::function<bool()>* condition;
  uint64_t polled;  ///< State::polling: the round it last looked in
  /// cp.async: copies not yet committed, then committed groups, oldest first.
  std::vector<std::function<void()>> openCopies;
  std::vector<std::vector<std::function<void()>>> copyGroups;
};

/// Lanes of one mask that gather for a collective operation.
struct Gathering {
  uint32_t mask = 0, arrived = 0;
  const char* operation = nullptr;
};

struct Warp {
  std::array<Thread*, kWarpLanes> lane;
  std::array<void*, kWarpLanes> frame;  ///< what each gathered lane brings, on its own stack
  std::array<Gathering, kWarpLanes> gathering;
  int lanes;

  /// Those who gather with this mask, or a free place for the first of them.
  Gathering& gatheringOf(uint32_t mask) {
    const auto same = [mask](const Gathering& g) { return g.arrived != 0 && g.mask == mask; };
    const auto found = std::find_if(gathering.begin(), gathering.end(), same);
    if (found != gathering.end()) return *found;
    return *std::find_if(gathering.begin(), gathering.end(), [](const Gathering& g) { return g.arrived == 0; });
  }
};

/// Four warps that multiply together (wgmma.h).
constexpr int kWarpgroupThreads = 128;
struct Product;
struct Warpgroup {
  std::array<void*, kWarpgroupThreads> frame;
  int arrived = 0;
  const char* operation = nullptr;
  std::vector<std::shared_ptr<Product>> open;                 ///< issued, not committed
  std::vector<std::vector<std::shared_ptr<Product>>> groups;  ///< committed, oldest first
};

/// The block's tensor memory and the products that go to it (tensor.h).
struct TensorUnit;

struct Barrier {
  int arrived = 0;
  int needed = 0;  ///< 0: all threads that have not exited
  int sum = 0;
  int whole = 0;  ///< threads that arrived through __syncthreads
  Where where;
};

class Block {
 public:
  Block(const Schedule& schedule, uint64_t salt)
      : chance_(schedule.seed == 0 ? 0 : schedule.seed * 0x9e3779b97f4a7c15ull + salt),
        completion_(schedule.completion) {}

  /// Runs all threads to their end. Throws Failure.
  void run(const std::function<void()>& body, dim3 shape);

  Thread& self() { return *self_; }
  /// Threads by linear index.
  Thread& thread(int linear) { return threads_[linear]; }
  int size() const { return static_cast<int>(threads_.size()); }
  std::shared_ptr<TensorUnit> tensorUnit;
  Warpgroup& warpgroup() { return warpgroups_[self_->linear / kWarpgroupThreads]; }

  /// The running thread waits; somebody makes it ready again.
  void wait(State state, const char* operation, const Where& where) {
    self_->state = state;
    self_->waitsAt = operation;
    self_->where = where;
    self_->fiber.leave();
  }

  /// Waits until `condition` holds.
  void waitUntil(const std::function<bool()>& condition, const char* operation, const Where& where) {
    if (condition() && !chance_.oneIn(4)) return;
    self_->condition = &condition;
    wait(State::condition, operation, where);
  }

  /// Lets others go first: a thread that looks at memory again and again. Looks once a round.
  void poll(const char* operation, const Where& where) {
    self_->polled = round_;
    wait(State::polling, operation, where);
  }

  /// Now and then lets others go first.
  void maybePoll(const char* operation, const Where& where) {
    if (chance_.oneIn(4)) poll(operation, where);
  }

  /// Asynchronous work: at once, or when nobody can go on, or in between.
  void later(std::function<void()> work) {
    if (chance_.atOnce(completion_)) {
      work();
    } else {
      pending_.push_back(std::move(work));
    }
  }
  /// Whether asynchronous work that is issued now is done at once.
  bool atOnce() { return chance_.atOnce(completion_); }

  int synchronize(int id, int needed, int value, const Where& where);
  void arrive(int id, int needed, const Where& where);

  /// Stops the launch. Called by the running thread, never returns.
  [[noreturn]] void fail(std::string what, const Where& where) {
    failure_ = std::move(what);  // nothing is destroyed on a stack that is left for good
    failure_ += " " + place(where) + " in " + name(*self_);
    self_->fiber.leave(true);
    std::abort();
  }

 private:
  static void threadMain();
  void reset(dim3 shape);
  void resume(Thread& thread);
  bool mayResume(Thread& thread);
  void runWarp(Warp& warp);
  void round();
  bool doPending(bool all);
  void release(int id);
  bool releaseBarriers();
  bool complete(const Barrier& barrier) const {
    return barrier.arrived > 0 && barrier.arrived >= (barrier.needed ? barrier.needed : alive_);
  }
  [[noreturn]] void reportDeadlock(const char* what);
  static std::string name(const Thread& thread);
  static std::string place(const Where& where);

  /// Rounds in which threads only polled, after which nothing will come any more.
  static constexpr int kPatience = 100000;

  std::vector<Thread> threads_;
  std::vector<Warp> warps_;
  std::vector<Warpgroup> warpgroups_;
  std::vector<int> order_;
  std::array<Barrier, kBarriers> barriers_;
  std::deque<std::function<void()>> pending_;
  const std::function<void()>* body_ = nullptr;
  Thread* self_ = nullptr;
  Chance chance_;
  Completion completion_;
  uint64_t round_ = 0;
  int alive_ = 0;
  int starved_ = -1;       ///< the warp that goes on only when no other can
  bool progress_ = false;  ///< somebody went on this round
  bool movement_ = false;  ///< … and did more than look at memory again
  std::string failure_;
};

/// The block that runs, or ran last.
inline Block* block = nullptr;

inline std::string Block::name(const Thread& thread) {
  const auto triple = [](unsigned x, unsigned y, unsigned z) {
    return "(" + std::to_string(x) + "," + std::to_string(y) + "," + std::to_string(z) + ")";
  };
  return "block " + triple(blockIdx.x, blockIdx.y, blockIdx.z) + " thread " +
         triple(thread.index.x, thread.index.y, thread.index.z);
}

inline std::string Block::place(const Where& where) {
  return std::string("at ") + where.file + ":" + std::to_string(where.line);
}

inline void Block::threadMain() {
  Block& b = *block;
  Thread& self = *b.self_;
  self.fiber.begin();
  (*b.body_)();
  self.state = State::done;
  --b.alive_;
  self.fiber.leave(true);
  std::abort();
}

inline void Block::reset(dim3 shape) {
  const int count = static_cast<int>(shape.x * shape.y * shape.z);
  threads_.resize(count);
  warps_.resize((count + kWarpLanes - 1) / kWarpLanes);
  warpgroups_.resize((count + kWarpgroupThreads - 1) / kWarpgroupThreads);
  order_.resize(warps_.size());
  std::iota(order_.begin(), order_.end(), 0);
  if (chance_.oneIn(2)) starved_ = chance_.below(static_cast<int>(warps_.size()));
  for (int i = 0; i < count; ++i) {
    Thread& thread = threads_[i];
    thread.index = {i % shape.x, i / shape.x % shape.y, i / (shape.x * shape.y)};
    thread.linear = i;
    thread.lane = i % kWarpLanes;
    thread.warp = &warps_[i / kWarpLanes];
    thread.state = State::ready;
    thread.warp->lane[thread.lane] = &thread;
    thread.warp->lanes = thread.lane + 1;
    thread.fiber.reset(i, threadMain);
  }
  alive_ = count;
}

inline void Block::resume(Thread& thread) {
  self_ = &thread;
  threadIdx = thread.index;
  thread.fiber.enter();
  if (failure_.empty() && thread.fiber.overflowed())
    failure_ = "the stack of a thread overflowed in " + name(thread) + ": large local arrays?";
  if (!failure_.empty()) throw Failure(failure_);
}

inline bool Block::mayResume(Thread& thread) {
  switch (thread.state) {
    case State::ready: movement_ = true; return true;
    case State::condition:
      if (!(*thread.condition)()) return false;
      movement_ = true;
      break;
    case State::polling:
      progress_ = true;
      if (thread.polled == round_) return false;
      break;
    default: return false;
  }
  thread.state = State::ready;
  return true;
}

/// Lanes of a warp go on until all of them wait, or until chance lets another warp overtake.
inline void Block::runWarp(Warp& warp) {
  std::array<int, kWarpLanes> lanes;
  std::iota(lanes.begin(), lanes.end(), 0);
  for (bool again = true; again;) {
    again = false;
    chance_.shuffle(lanes);
    for (const int lane : lanes) {
      if (lane >= warp.lanes || !mayResume(*warp.lane[lane])) continue;
      again = progress_ = true;
      resume(*warp.lane[lane]);
    }
    if (chance_.oneIn(4)) return;
  }
}

inline void Block::round() {
  ++round_;
  progress_ = movement_ = false;
  chance_.shuffle(order_);
  for (const int warp : order_)
    if (warp != starved_) runWarp(warps_[warp]);
  if (!progress_ && starved_ >= 0) runWarp(warps_[starved_]);
  if (releaseBarriers()) progress_ = movement_ = true;
}

/// All pending asynchronous work, or some of it as chance has it. Returns whether anything was done.
inline bool Block::doPending(bool all) {
  if (pending_.empty() || (!all && (completion_ == Completion::late || !chance_.oneIn(3)))) return false;
  const auto work = std::move(pending_.front());
  pending_.pop_front();
  work();
  return true;
}

inline void Block::run(const std::function<void()>& body, dim3 shape) {
  block = this;
  body_ = &body;
  reset(shape);
  for (int quiet = 0; alive_ > 0;) {
    round();
    quiet = movement_ ? 0 : quiet + 1;
    if (doPending(false) || movement_ || doPending(true)) continue;
    if (!progress_) reportDeadlock("deadlock");
    if (quiet > kPatience) reportDeadlock("livelock, everybody looks at memory that nobody will change");
  }
}

inline void Block::release(int id) {
  Barrier& barrier = barriers_[id];
  for (Thread& thread : threads_) {
    if (thread.state != State::barrier || thread.barrier != id) continue;
    thread.state = State::ready;
    thread.verdict = barrier.sum;
  }
  barrier = {};
}

/// Threads that exited are not waited for.
inline bool Block::releaseBarriers() {
  bool any = false;
  for (int id = 0; id < kBarriers; ++id) {
    if (!complete(barriers_[id])) continue;
    release(id);
    any = true;
  }
  return any;
}

/// Arrives and waits. `needed` 0: the whole block, which must then be at the same place of the source. Returns the sum
/// of all values.
inline int Block::synchronize(int id, int needed, int value, const Where& where) {
  Barrier& barrier = barriers_[id];
  if (needed == 0) {
    if (barrier.whole++ == 0) {
      barrier.where = where;
    } else if (barrier.where.line != where.line || std::strcmp(barrier.where.file, where.file) != 0) {
      fail("divergent barrier: other threads wait " + place(barrier.where) + ", one arrives", where);
    }
  }
  barrier.sum += value;
  barrier.needed = needed;
  ++barrier.arrived;
  Thread& self = *self_;
  self.barrier = id;
  if (complete(barrier)) {
    self.verdict = barrier.sum;
    release(id);
    maybePoll("barrier", where);
  } else {
    wait(State::barrier, "barrier", where);
  }
  return self.verdict;
}

/// Arrives and goes on.
inline void Block::arrive(int id, int needed, const Where&) {
  Barrier& barrier = barriers_[id];
  barrier.needed = needed;
  ++barrier.arrived;
  if (complete(barrier)) release(id);
}

/// Names every place at which threads wait, and one thread of each.
inline void Block::reportDeadlock(const char* what) {
  std::map<std::string, std::pair<int, const Thread*>> places;
  for (const Thread& thread : threads_) {
    if (thread.state == State::done) continue;
    auto& [count, example] = places[std::string(thread.waitsAt) + " " + place(thread.where)];
    if (count++ == 0) example = &thread;
  }
  std::string text = what;
  for (const auto& [where, found] : places)
    text +=
        "; " + std::to_string(found.first) + " threads wait for " + where + ", " + name(*found.second) + " among them";
  const int exited = size() - alive_;
  if (exited > 0) text += "; " + std::to_string(exited) + " threads have exited";
  throw Failure(text);
}

/// Every lane of `mask` brings a frame; the last one to arrive lets `operation` work on all of them.
template <class Frame, class Operation>
void collective(uint32_t mask, const char* name, Frame& frame, Operation operation, const Where& where) {
  Thread& self = block->self();
  Warp& warp = *self.warp;
  if (!(mask >> self.lane & 1)) block->fail(std::string(name) + " with a mask that lacks the calling lane", where);
  Gathering& gathering = warp.gatheringOf(mask);
  if (gathering.arrived == 0) {
    gathering.mask = mask;
    gathering.operation = name;
  } else if (std::strcmp(gathering.operation, name) != 0) {
    block->fail(std::string("divergent warp: ") + name + " while other lanes wait in " + gathering.operation, where);
  }
  warp.frame[self.lane] = &frame;
  gathering.arrived |= 1u << self.lane;
  if (gathering.arrived != mask) {
    block->wait(State::collective, name, where);
    return;
  }
  gathering.arrived = 0;
  std::array<Frame*, kWarpLanes> frames{};
  for (int lane = 0; lane < kWarpLanes; ++lane)
    if (mask >> lane & 1) frames[lane] = static_cast<Frame*>(warp.frame[lane]);
  operation(frames);
  for (int lane = 0; lane < kWarpLanes; ++lane)
    if (mask >> lane & 1 && lane != self.lane) warp.lane[lane]->state = State::ready;
}

}  // namespace foretoken::simt
