// Heads that learn while the engine serves: one thread of the lowest priority takes finished texts, judges the heads of
// their tenant on them, and trains. It works where no engine of the process has decoded for a moment, takes a bounded
// share of the time beside one sequence, and waits where more are busy; layers move only where nothing is decoded.
// Where a device fails it, learning ends and drafting goes on. Who decides about candidates sits elsewhere and sees
// lengths, no text.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "head/head_weights.h"
#include "learn/head_learner.h"
#include "learn/verified_text.h"
#include "train/head_file.h"

namespace foretoken::learn {

/// What a text says about the heads of its learner.
struct Judged {
  std::string learner, tenant;  ///< as in VerifiedText
  Foreseen foreseen;
};

struct LearnerOptions {
  LearnOptions learn;
  double share = 0.03;       ///< of one core's time, while one sequence is decoded
  int64_t stepsPerText = 8;  ///< at most, of rows and of layers, for each text that came
  size_t mostTenants =
      4;  ///< that learn at a time: of those without a promoted head the one seen longest ago gives way
};

struct LearnerCounters {
  int64_t texts = 0, dropped = 0, steps = 0, layerSteps = 0, skipped = 0, tenants = 0, bytes = 0, deviceBytes = 0;
  int64_t backlog = 0;  ///< texts that wait or are being taken, and steps that are owed
  double seconds = 0;   ///< of the processor
  bool paused = false;
};

/// What the engine and whoever decides are told; called on the learner's thread.
struct LearnerCallbacks {
  std::function<void(Judged)> judged;
  /// What makes a head draft for a tenant from the next round on (null: it has none of its own); to be called once,
  /// which never fails.
  std::function<std::function<void()>(const std::string& tenant, std::shared_ptr<const HeadWeights>)> drafts;
  /// Computing failed while it worked for this tenant: nobody learns any more, and what drafts goes on drafting. Must
  /// not throw.
  std::function<void(std::string tenant, std::exception_ptr why)> stopped = nullptr;
  /// A device can't take the steps of this tenant's layers, for want of memory or kernels; the CPU does.
  std::function<void(const std::string& tenant, std::exception_ptr why)> onCpu = nullptr;
  /// There was no memory to work for this tenant: what its head was learning is lost, and it begins again with the
  /// texts that come.
  std::function<void(const std::string& tenant, std::exception_ptr why)> lost = nullptr;
};

class Learner final : public TextSink {
 public:
  /// `base`: the head that drafts for all who have none of their own, made from `file` for `target`.
  /// Heads are packed by `packing`, of the kind that the target runs on; what is learned is computed by the CPU (`isa`
  /// as in CpuOptions), but for the steps that `takers` take.
  Learner(train::LoadedHead file, std::shared_ptr<const HeadWeights> base, std::unique_ptr<Backend> packing,
          const std::string& isa, const LearnerOptions& options, StepTakers takers = {});
  ~Learner() override;

  /// Begins; what callbacks use is there until stop().
  void start(std::shared_ptr<const Model> target, LearnerCallbacks callbacks);
  /// Ends the work; texts that come later are ignored. What was asked for and not done yet is answered by nobody.
  void stop();

  void ended(VerifiedText text) override;
  /// Nothing of a tenant is left, or of all.
  std::function<void()> forgetting(const std::string* tenant) override;
  /// Heads that were promoted become candidates again; the one for all drafts meanwhile.
  void weightsMoved(std::shared_ptr<const Model> target, std::shared_ptr<const HeadWeights> head) override;

  enum class Decision { promote, discard, harmful, rollBack };
  /// About a candidate by its number, or (rollBack) about the live head. `done` says on the learner's thread whether it
  /// was carried out: there was such a candidate, and memory for it to draft.
  void decide(const std::string& tenant, Decision decision, int64_t candidate, std::function<void(bool)> done);
  /// Writes the head that drafts for a tenant; `done` gets the hash of the weights that it is of (null: none is
  /// written), and what went wrong.
  void save(const std::string& tenant, const std::string& path,
            std::function<void(const std::string*, std::exception_ptr)> done);
  /// A tenant goes on with a head that was saved; with `again`, or where the target's weights have moved, as a
  /// candidate.
  void adopt(const std::string& tenant, const std::string& path, bool again,
             std::function<void(std::exception_ptr)> done);
  /// What calls `done` on the learner's thread behind all that was asked before, with that counted; calling it never
  /// fails. Null where it has not begun.
  std::function<void()> settling(std::function<void()> done);
  LearnerCounters counters() const;

 private:
  using Clock = std::chrono::steady_clock;
  struct Tenant {
    std::unique_ptr<HeadLearner> learner;
    int64_t owed = 0, owedLayers = 0;  ///< steps
    uint64_t seen = 0;                 ///< when its last text came, in texts
  };
  using Tenants = std::map<std::string, Tenant>;
  /// What learners have done.
  struct Taken {
    int64_t steps = 0, layerSteps = 0, skipped = 0;
    void add(const HeadLearner& learner);
  };
  struct Saved {
    train::BlockHeadShape shape;
    HeadLearner::Weights head;
  };
  /// A saved head that no learner goes on from yet. It stays in its file: as numbers to learn from it takes several
  /// times what it takes to draft.
  struct Adopted {
    std::string path;
    bool drafts;  ///< false: it is to be judged first
    bool fits;    ///< false: nothing can be learned from it, for its shape or its file
  };
  /// In lists, so that one that is made is queued without memory.
  using Commands = std::list<std::function<void()>>;

  void post(std::function<void()> command);
  void post(Commands& made);
  void tellWithdrawn();
  std::function<void()> give(const std::string& name, std::shared_ptr<const HeadWeights> head);
  void withdraw(const std::function<bool(const std::string&)>& meant);
  bool attempt(const std::function<bool()>& work);
  void endLearning(std::exception_ptr why);
  void carryOut(const std::string& name, Decision decision);
  void run();
  void await(std::unique_lock<std::mutex>& lock, bool may);
  int64_t owed() const;
  bool mayWork();
  bool work();
  void prepare();
  Saved read(const std::string& path) const;
  Saved liveOf(const std::string& name) const;
  void goOnFrom(const std::string& name, Adopted adopted, const HeadLearner::Weights& head);
  bool beginsFrom(Adopted& adopted, HeadLearner& learner) const;
  Tenant* tenant(const std::string& name);
  bool step(int64_t Tenant::*owed, bool (HeadLearner::*step)());
  bool makeRoom();
  Tenants::iterator dismiss(Tenants::iterator tenant);
  void take(VerifiedText text);
  void publish(double seconds);
  std::shared_ptr<const HeadWeights> packed(const train::BlockHeadShape& shape, const LearnedHead& head);
  bool sharesContext(const train::Floats& layers) const;

  train::LoadedHead file_;
  std::shared_ptr<const HeadWeights> base_;
  const LearnerOptions options_;
  const std::unique_ptr<Backend> packing_;
  StepTakers takers_;
  train::BlockHead head_;
  ThreadPool pool_{1};
  train::Ops ops_;
  std::shared_ptr<const Model> target_;
  bool moved_ = false;  ///< whether its weights are not those that heads on disk are of
  LearnerCallbacks callbacks_;
  HeadLearner::Weights start_;
  std::vector<uint16_t> embedding_;
  train::TargetTables tables_;  ///< empty until the first text of these weights
  OutputNorm norm_;
  Tenants tenants_;
  Taken gone_;                              ///< by tenants that are here no more
  std::map<std::string, Adopted> adopted_;  ///< by tenants that have no learner
  std::set<std::string> given_;             ///< for whom a head of their own may draft
  std::set<std::string> withdrawn_;         ///< for whom none may any more, until the engine has been told
  std::string last_;                        ///< whose turn it was
  std::string whose_;                       ///< for whom something is done, or was
  uint64_t seen_ = 0;
  double budget_ = 0;
  Clock::time_point checked_ = Clock::now();

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<VerifiedText> texts_;
  Commands commands_;
  bool taking_ = false;  ///< a text that is in `texts_` no more and not counted yet
  LearnerCounters counters_;
  bool started_ = false, stop_ = false, ended_ = false;
  std::thread thread_;
};

}  // namespace foretoken::learn
