// The engine with a draft head on a real (tiny) model: forced in every round or asked by the policy, batched, sharing
// prefixes, on few pages, swapped in the middle, every sequence gets the bits of plain decoding one at a time.
#include "common/error.h"
#include "common/load.h"
#include "engine/engine.h"
#include "engine/timed_backend.h"
#include "engine_rig.h"
#include "format/tensor_buffers.h"
#include "head_rig.h"

namespace foretoken {
namespace {

using test::engineOptions;
using test::HeadRig;
using test::kContext;

constexpr const char* kModel = "tied-f16.gguf";

struct Loaded : test::EngineRig {
  Loaded(const HeadRig& rig, EngineOptions options, bool withHead = true)
      : EngineRig("auto", std::move(options), [&](EngineOptions& engine, const Model& target, Backend& packing) {
          if (withHead) engine.head = std::make_shared<const HeadWeights>(rig.source(), target, packing);
        }) {}
  void run() {
    EngineRig::run([&](const StepRecord& step) {
      for (int32_t i = step.draftOffset; i < step.draftOffset + step.draftCount; ++i) {
        const bool ofHead = out.draftOutcome[i] >> 24 == static_cast<int>(DrafterId::head);
        (isShadow(out.draftOutcome[i]) ? shadows : drafted) += ofHead;
      }
      accepted += step.drafter == static_cast<int32_t>(DrafterId::head) ? step.accepted : 0;
      asked += step.asked > 0;
    });
  }
  int64_t drafted = 0, accepted = 0, shadows = 0, asked = 0;
};

Request request(int32_t n, int32_t vocabulary) {
  Request r;
  const int32_t shared = n % 3;  // prompts of one group begin alike
  for (int32_t i = 0; i < 40 + n % 17; ++i)
    r.prompt.push_back((i < 36 ? shared * 131 + i % 9 : n * 17 + i) % vocabulary);
  r.maxTokens = 60;
  r.seed = static_cast<uint64_t>(n);
  r.temperature = n % 2 == 0 ? 0.0f : 0.8f;
  r.maxLookahead = 1 + n % 7;
  return r;
}

constexpr int kRequests = 12;

std::map<int32_t, std::vector<int32_t>> plainTexts(const HeadRig& rig) {
  Loaded plain(rig, engineOptions(1), false);
  for (int32_t n = 0; n < kRequests; ++n) {
    Request r = request(n, plain.model->config().vocabulary);
    r.speculate = false;
    plain.submit(n + 1, r);
    plain.run();
  }
  return plain.got;
}

EngineOptions crowded(const HeadRig& rig) {
  EngineOptions result = engineOptions(4);
  result.prefillChunk = 24;
  result.prefillChunkBeside = 7;
  const ModelConfig& config = rig.target.config();
  const size_t layers = config.layers + rig.shape.layers;
  const size_t side = kHeadFeatures + rig.shape.fused * rig.shape.width * 2;
  const size_t page = (4 * layers * config.kvHeads * config.headDim + side) * kPageSize;
  result.kvBytes = page * (kContext / kPageSize + kMaxDraftRows / kPageSize + 8);
  return result;
}

void testForced(const HeadRig& rig, const std::map<int32_t, std::vector<int32_t>>& expected) {
  Loaded drafting(rig, crowded(rig));
  for (int32_t n = 0; n < kRequests; ++n) {
    Request r = request(n, drafting.model->config().vocabulary);
    r.force = static_cast<int32_t>(n % 4 == 3 ? DrafterId::adversarial : DrafterId::head);
    drafting.submit(n + 1, r);
    if (n % 2 == 1) drafting.core->step();  // they join in the middle of things
    if (n % 5 == 0)
      drafting.core->setHead(nullptr,
                             std::make_shared<const HeadWeights>(rig.source(), *drafting.model, *drafting.backend));
  }
  drafting.run();
  CHECK(drafting.got == expected);
  CHECK(drafting.drafted > 1000 && drafting.cached > 0);
  CHECK(drafting.core->counters().pagesUsed == 0 || drafting.core->drained());
}

/// A page that was kept has the features of its positions: after a hit the same drafts come as after a miss.
void testPrefixHits(const HeadRig& rig) {
  const auto secondRun = [&](bool forget) {
    Loaded drafting(rig, engineOptions(1));
    Request r = request(5, drafting.model->config().vocabulary);
    r.force = static_cast<int32_t>(DrafterId::head);
    drafting.submit(1, r);
    drafting.run();
    drafting.core->finish(1, 60);
    const std::string tenant = r.tenant;
    if (forget) drafting.core->forget(&tenant, nullptr);
    drafting.submit(2, r);
    drafting.drafted = drafting.accepted = 0;
    drafting.run();
    CHECK((drafting.cached > 0) == !forget);
    return std::make_pair(drafting.drafted, drafting.accepted);
  };
  const auto hit = secondRun(false), miss = secondRun(true);
  CHECK(hit == miss && hit.first > 0);
}

Policy policy(int32_t askEvery) {
  Policy result;
  result.rowBudget = 32;
  for (int rows = 1; rows <= 32; ++rows) result.passSeconds.push_back(1.0f + 0.01f * static_cast<float>(rows));
  result.allowed[static_cast<int>(DrafterId::recall)] = result.allowed[static_cast<int>(DrafterId::head)] = true;
  for (auto& depth : result.acceptance[static_cast<int>(DrafterId::recall)]) depth.fill(0.3f);
  for (auto& depth : result.acceptance[static_cast<int>(DrafterId::head)]) depth.fill(0.5f);
  result.askEvery.fill(askEvery);
  return result;
}

/// It is asked where the policy says so, its draft is taken where it promises more, and shadows are scored.
void testPolicy(const HeadRig& rig, const std::map<int32_t, std::vector<int32_t>>& expected) {
  for (const int32_t every : {0, 1, 3}) {
    Loaded drafting(rig, engineOptions(3));
    drafting.core->setPolicy(nullptr, policy(every));
    for (int32_t n = 0; n < kRequests; ++n) drafting.submit(n + 1, request(n, drafting.model->config().vocabulary));
    drafting.run();
    CHECK(drafting.got == expected);
    CHECK((drafting.asked > 0) == (every > 0) && (drafting.drafted > 0) == (every > 0));
    CHECK(drafting.core->counters().headDrafts == drafting.asked);
    CHECK(every == 0 || drafting.core->counters().headSeconds > 0);
    static int64_t always;
    if (every == 1) always = drafting.asked;
    CHECK(every != 3 || (drafting.asked > 0 && drafting.asked < always));
  }
}

/// What asking brought is told in plain rounds, whatever those take.
void testToldInPlainRounds(const HeadRig& rig) {
  const auto asksOf = [&](float scale) {
    Loaded drafting(rig, engineOptions(1));
    Policy scaled = policy(1);
    scaled.plainSeconds = scale * scaled.passSeconds[0];
    for (float& seconds : scaled.passSeconds) seconds *= scale;
    drafting.core->setPolicy(nullptr, scaled);
    drafting.submit(1, request(4, drafting.model->config().vocabulary));
    while (drafting.core->step()) continue;
    std::vector<int32_t> passes;
    for (const AskRecord& ask : drafting.out.asks) passes.push_back(ask.passes);
    return passes;
  };
  const std::vector<int32_t> once = asksOf(1);
  CHECK(std::any_of(once.begin(), once.end(), [](int32_t passes) { return passes > 0; }));
  for (const float scale : {1e-6f, 1e4f}) {
    const std::vector<int32_t> scaled = asksOf(scale);
    CHECK(scaled.size() == once.size());
    for (size_t i = 0; i < once.size(); ++i) CHECK(std::abs(scaled[i] - once[i]) <= 2);
  }
}

/// A target with some other numbers in the matrix that its tokens come from.
std::shared_ptr<Model> movedTarget(const Model& model) {
  const ModelConfig& config = model.config();
  const int64_t size = int64_t{config.vocabulary} * config.width;
  const std::vector<float> numbers = test::randomValues(size, 77, 0.3f);
  TensorBuffers update;
  update.add("token_embd.weight", "F32", {config.vocabulary, config.width},
             {reinterpret_cast<const uint8_t*>(numbers.data()), numbers.size() * sizeof(float)});
  return model.updated(update, *createCpuBackend({1, ""}));
}

/// After an update of the weights a head that followed drafts as one that was made for the new ones, which is not as
/// the old one would; tenants' own heads, which are of the old ones, do not draft any more.
void testFollowsWeights(const HeadRig& rig) {
  enum class Kind { stale, followed, made };
  const auto draftsOf = [&](Kind kind) {
    Loaded drafting(rig, engineOptions(1));
    const auto old = drafting.core->head()->head().updated(*drafting.model, *drafting.backend);
    const auto next = movedTarget(*drafting.model);
    Request r = request(4, drafting.model->config().vocabulary);
    r.force = static_cast<int32_t>(DrafterId::head);
    drafting.core->setHead(&r.tenant, old);
    drafting.core->updateWeights(next, false,
                                 kind == Kind::stale ? old
                                 : kind == Kind::followed
                                     ? old->updated(*next, *drafting.backend)
                                     : std::make_shared<const HeadWeights>(rig.source(), *next, *drafting.backend));
    drafting.submit(1, r);
    while (drafting.core->step()) continue;
    CHECK(drafting.out.draftConfidence.size() > 100);
    return std::make_pair(drafting.out.draftConfidence, drafting.out.tokens);
  };
  const auto stale = draftsOf(Kind::stale), followed = draftsOf(Kind::followed), made = draftsOf(Kind::made);
  CHECK(followed == made && followed.first != stale.first && followed.second == stale.second);
}

/// A head that several tenants taught together drafts for all of them and for nobody else, until it is forgotten.
void testSharedHead(const HeadRig& rig) {
  HeadRig other(kModel, 7);
  const auto drafts = [&](const std::string& tenant, const std::string& learner, bool isShared, bool forget) {
    Loaded drafting(rig, engineOptions(1));
    // It shares the context with the common one, as heads that learn do.
    HeadSource source = rig.source();
    source.weights = other.weights;
    const std::string team = "team";
    if (isShared)
      drafting.core->setHead(
          &team, std::make_shared<const HeadWeights>(source, *drafting.model, *drafting.backend, HeadFormats{},
                                                     HeadParts{.context = drafting.core->head()->head().context()}));
    if (forget) drafting.core->forget(&team, nullptr);
    Request r = request(4, drafting.model->config().vocabulary);
    r.tenant = tenant, r.learner = learner;
    r.force = static_cast<int32_t>(DrafterId::head);
    drafting.submit(1, r);
    while (drafting.core->step()) continue;
    CHECK(drafting.out.draftConfidence.size() > 100);
    return drafting.out.draftConfidence;
  };
  const auto common = drafts("a", "", false, false), shared = drafts("a", "team", true, false);
  CHECK(shared != common && drafts("b", "team", true, false) == shared);
  CHECK(drafts("a", "", true, false) == common && drafts("b", "other", true, false) == common);
  CHECK(drafts("a", "team", true, true) == common);
}

/// A backend whose draft heads break, when told so.
class Breaking final : public TimedBackend {
 public:
  Breaking() : TimedBackend(createCpuBackend({2, ""})) {}
  void kept(const Pass& pass, int32_t offset, Tensor& out) override {
    if (breaks) throw Error("CUDA_ERROR", "the head broke");
    TimedBackend::kept(pass, offset, out);
  }
  bool breaks = false;
};

/// Where the head's own pass fails, the sequences of the round end with its error, as with any other pass's.
void testFailingHead(const HeadRig& rig, const std::map<int32_t, std::vector<int32_t>>& expected) {
  auto own = std::make_unique<Breaking>();
  Breaking& backend = *own;
  test::EngineRig engine(
      "auto", engineOptions(2),
      [&](EngineOptions& options, const Model& target, Backend& packing) {
        options.head = std::make_shared<const HeadWeights>(rig.source(), target, packing);
      },
      std::move(own));
  const auto submit = [&](int32_t n) {
    Request r = request(n, engine.model->config().vocabulary);
    r.force = static_cast<int32_t>(DrafterId::head);
    engine.submit(n + 1, r);
  };
  submit(0);
  for (int i = 0; i < 4; ++i) engine.core->step();
  backend.breaks = true;
  engine.core->step();
  CHECK(engine.out.errors.size() == 1 && engine.out.errors.front().code == "CUDA_ERROR");
  CHECK(engine.core->drained() && engine.core->counters().pagesUsed == 0);
  engine.out.clear();
  backend.breaks = false;
  submit(1);
  engine.run([](const StepRecord&) {});
  CHECK(engine.got == (std::map<int32_t, std::vector<int32_t>>{{2, expected.at(2)}}));
}

/// Who learns from texts hears of forgetting after all that ended before it, and of nothing that had begun by then.
void testForgetsInOrder(const HeadRig& rig) {
  struct Sink final : test::Texted {
    std::vector<std::string> heard;
    void ended(VerifiedText text) override { heard.push_back("text of " + text.tenant); }
    std::function<void()> forgetting(const std::string* tenant) override {
      return [this, what = "forget " + (tenant ? *tenant : "all")] { heard.push_back(what); };
    }
  } sink;
  EngineOptions options = engineOptions(2);
  options.textSink = &sink;
  Loaded learning(rig, options);
  const auto submit = [&](int32_t id, const std::string& tenant) {
    Request r = request(id, learning.model->config().vocabulary);
    r.tenant = tenant;
    learning.submit(id, r);
  };
  const std::string tenant = "a", session = "s";
  submit(1, tenant);
  learning.run();
  submit(2, tenant), submit(3, "b");
  learning.core->step();
  learning.core->finish(1, 60);
  learning.core->forget(&tenant, &session);
  learning.core->forget(&tenant, nullptr);
  learning.run();
  learning.core->finish(2, 60), learning.core->finish(3, 60);
  learning.core->forget(nullptr, nullptr);
  CHECK(sink.heard == (std::vector<std::string>{"text of a", "forget a", "text of b", "forget all"}));
}

/// A text says whose head learns from it, and who asked for it.
void testSaysWhoseTextItIs(const HeadRig& rig) {
  struct Sink final : test::Texted {
    std::vector<std::string> heard;
    void ended(VerifiedText text) override { heard.push_back(text.tenant + " for " + text.learner); }
  } sink;
  EngineOptions options = engineOptions(2);
  options.textSink = &sink;
  Loaded learning(rig, options);
  for (const auto& [id, learner] : {std::pair(1, "group"), std::pair(2, "")}) {
    Request r = request(id, learning.model->config().vocabulary);
    r.tenant = "a", r.learner = learner;
    learning.submit(id, r);
    learning.run();
    learning.core->finish(id, 60);
  }
  CHECK(sink.heard == (std::vector<std::string>{"a for group", "a for a"}));
}

/// Who learns has the processor where all that there is waits for its readers.
void testLeavesTimeToLearn(const HeadRig& rig) {
  EngineOptions options = engineOptions(2);
  options.runAhead = 10;
  Loaded learning(rig, options);
  for (int32_t id = 1; id <= 3; ++id) learning.submit(id, request(id, learning.model->config().vocabulary));
  learning.core->step();
  CHECK(Load::now() == 3);
  learning.run();
  CHECK(Load::now() == 0 && !learning.core->drained());
  learning.core->unread(2);
  learning.core->step();
  CHECK(Load::now() == 1);
}

/// What is not drafted for is not paid for.
void testWithoutHead(const HeadRig& rig) {
  Loaded drafting(rig, engineOptions(1), false);
  CHECK(drafting.core->head() == nullptr);
  Request r = request(0, drafting.model->config().vocabulary);
  r.force = static_cast<int32_t>(DrafterId::head);
  drafting.submit(1, r);
  drafting.run();
  CHECK(drafting.drafted == 0 && drafting.got[1].size() == 60);
}

}  // namespace
}  // namespace foretoken

int main() {
  using namespace foretoken;
  const test::HeadRig rig(kModel);
  const auto expected = plainTexts(rig);
  testForced(rig, expected);
  testPrefixHits(rig);
  testPolicy(rig, expected);
  testToldInPlainRounds(rig);
  testFollowsWeights(rig);
  testSharedHead(rig);
  testFailingHead(rig, expected);
  testLeavesTimeToLearn(rig);
  testForgetsInOrder(rig);
  testSaysWhoseTextItIs(rig);
  testWithoutHead(rig);
  return test::finish("engine_head");
}
