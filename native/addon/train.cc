#include "addon/train.h"

#include "addon/arguments.h"
#include "addon/errors.h"
#include "addon/promise_worker.h"
#include "addon/wrapped.h"
#include "train/head_run.h"

namespace foretoken::addon {
namespace {

using train::HeadRun;
using SharedRun = std::shared_ptr<HeadRun>;

constexpr napi_type_tag kRunTag = {0x3f0a6d1c94b74e25ull, 0x8d57c2e1b6094fa3ull};

const SharedRun& shared(const Napi::CallbackInfo& call) {
  return unwrapped<HeadRun>(call, kRunTag, "a run that openHeadRun returned");
}

Napi::Value trainStep(const Napi::CallbackInfo& call) {
  return PromiseWorker<train::TrainReport>::run(
      call.Env(), "foretoken train", [run = shared(call)] { return run->train(); },
      [](Napi::Env env, const train::TrainReport& report) -> Napi::Value {
        auto result = Napi::Object::New(env);
        result.Set("step", static_cast<double>(report.step));
        result.Set("tokens", static_cast<double>(report.tokens));
        result.Set("kl", report.kl);
        result.Set("acceptance", report.acceptance);
        result.Set("hits", toJs(env, report.hits));
        result.Set("norm", report.optimiser.norm);
        result.Set("notFinite", report.optimiser.notFinite);
        return result;
      });
}

Napi::Value evaluate(const Napi::CallbackInfo& call) {
  return PromiseWorker<train::HeldBack>::run(
      call.Env(), "foretoken evaluate", [run = shared(call)] { return run->evaluate(); },
      [](Napi::Env env, const train::HeldBack& held) -> Napi::Value {
        auto result = Napi::Object::New(env);
        result.Set("acceptanceLength", held.acceptanceLength);
        result.Set("hits", toJs(env, held.hits));
        return result;
      });
}

/// A promise of a number that `work` gives for a path.
Napi::Value withPath(const Napi::CallbackInfo& call, int64_t (*work)(HeadRun&, const std::string& path)) {
  return PromiseWorker<int64_t>::run(
      call.Env(), "foretoken head",
      [run = shared(call), path = stringArgument(call, 0, "path"), work] { return work(*run, path); },
      [](Napi::Env env, const int64_t& value) -> Napi::Value {
        return Napi::Number::New(env, static_cast<double>(value));
      });
}

Napi::Value saveCheckpoint(const Napi::CallbackInfo& call) {
  return withPath(call, [](HeadRun& run, const std::string& path) { return run.saveCheckpoint(path), int64_t{0}; });
}

Napi::Value loadCheckpoint(const Napi::CallbackInfo& call) {
  return withPath(call, [](HeadRun& run, const std::string& path) { return run.loadCheckpoint(path); });
}

Napi::Value saveHead(const Napi::CallbackInfo& call) {
  return withPath(call, [](HeadRun& run, const std::string& path) { return run.saveHead(path), int64_t{0}; });
}

Napi::Value runToJs(Napi::Env env, const SharedRun& run) {
  auto object = wrapped(env, kRunTag, run);
  object.Set("steps", static_cast<double>(run->steps()));
  object.Set("parameters", static_cast<double>(run->parameters()));
  object.Set("sourceHash", run->sourceHash());
  addMethod<trainStep>(object, "train");
  addMethod<evaluate>(object, "evaluate");
  addMethod<saveCheckpoint>(object, "saveCheckpoint");
  addMethod<loadCheckpoint>(object, "loadCheckpoint");
  addMethod<saveHead>(object, "saveHead");
  return object;
}

/// Texts one after the other in `tokens`, with the length of each and where its answer begins.
std::vector<train::TextToLearn> textsOf(const Fields& fields) {
  const std::vector<int32_t> tokens = fields.int32s("tokens"), lengths = fields.int32s("lengths");
  const std::vector<int32_t> answers = fields.int32s("answers");
  std::vector<train::TextToLearn> texts;
  size_t at = 0;
  for (size_t i = 0; i < lengths.size() && i < answers.size(); ++i) {
    const auto length = static_cast<size_t>(std::max(lengths[i], 0));
    if (length > tokens.size() - at) break;
    texts.push_back({{tokens.begin() + at, tokens.begin() + at + length}, answers[i]});
    at += length;
  }
  if (at != tokens.size() || texts.size() != lengths.size())
    throw invalidArgument(fields.env(), "run.lengths and run.answers don't fit run.tokens");
  return texts;
}

train::HeadRunOptions runOptions(const Fields& fields) {
  train::HeadRunOptions options;
  options.model = fields.string("model");
  options.weights = fields.string("weights");
  options.cacheFolder = fields.string("cacheFolder");
  options.tokenizer = fields.string("tokenizer");
  options.cpu = {static_cast<int>(fields.integer("threads", 0, 1024)), fields.string("isa")};
  options.texts = textsOf(fields);
  options.heldBack = fields.integer("heldBack", 0, INT32_MAX);
  options.draft = fields.int32s("draft");
  options.rank = fields.integer("rank", 1, 1024);
  options.slots = fields.integer("slots", 2, 16);
  options.from = fields.string("from");
  options.train.seed = static_cast<uint64_t>(fields.integer("seed", 0, INT32_MAX));
  options.train.epochs = fields.integer("epochs", 1, 1000);
  options.train.rowsPerStep = fields.integer("rowsPerStep", 16, 1 << 20);
  options.train.anchorShare = fields.number("anchorShare");
  options.train.rate = static_cast<float>(fields.number("rate"));
  options.train.loss.rejection = static_cast<float>(fields.number("rejectionWeight"));
  return options;
}

Napi::Value openHeadRun(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    auto options = std::make_shared<train::HeadRunOptions>(runOptions(Fields(call[0], "run")));
    return PromiseWorker<SharedRun>::run(
        call.Env(), "foretoken head run", [options] { return std::make_shared<HeadRun>(std::move(*options)); },
        runToJs);
  });
}

struct HeadSizes {
  train::BlockHeadShape shape;
  size_t corrected = 0;  ///< output rows of the target
};

HeadSizes sizesOf(const train::LoadedHead& head) { return {head.shape, head.delta.place.size()}; }

/// Reads a whole head, so that what it says of it is true.
Napi::Value inspectHead(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    const std::string path = stringArgument(call, 0, "path");
    const train::HeadBinding binding{stringArgument(call, 1, "model"), stringArgument(call, 2, "tokenizer"), {}};
    return PromiseWorker<HeadSizes>::run(
        call.Env(), "foretoken head", [path, binding] { return sizesOf(train::loadHead(path, binding)); },
        [](Napi::Env env, const HeadSizes& sizes) -> Napi::Value {
          const train::BlockHeadShape& shape = sizes.shape;
          auto result = Napi::Object::New(env);
          result.Set("vocabulary", static_cast<double>(shape.vocabulary));
          result.Set("slots", static_cast<double>(shape.slots));
          result.Set("rank", static_cast<double>(shape.rank));
          result.Set("layers", static_cast<double>(shape.layers));
          result.Set("corrected", static_cast<double>(sizes.corrected));
          return result;
        });
  });
}

}  // namespace

void initTrain(Napi::Env env, Napi::Object exports) {
  exports.Set("inspectHead", Napi::Function::New(env, inspectHead, "inspectHead"));
  exports.Set("openHeadRun", Napi::Function::New(env, openHeadRun, "openHeadRun"));
}

}  // namespace foretoken::addon
