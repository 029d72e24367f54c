#include "addon/replay.h"

#include <optional>

#include "addon/arguments.h"
#include "addon/convert.h"
#include "addon/wrapped.h"
#include "engine/replay.h"

namespace foretoken::addon {
namespace {

constexpr napi_type_tag kTag = {0x6f1d0c52a7be4e83, 0x9b34d1e8570fc26a};

/// A text, and how far along it a replay is.
struct Replayed {
  std::vector<int32_t> firstDraft, drafts;
  std::vector<uint8_t> nodes;
  std::vector<float> confidence;
  std::optional<Replay> replay;
  Outcomes out;
};

Napi::Value begin(const Napi::CallbackInfo& call) {
  Replayed& replayed = *unwrapped<Replayed>(call, kTag, "a replay");
  const Fields text(call[0], "text");
  replayed.replay.reset();
  replayed.firstDraft = text.int32s("firstDraft");
  replayed.drafts = text.int32s("drafts");
  replayed.nodes = text.bytes("nodes");
  replayed.confidence = text.floats("confidence");
  const auto& [firstDraft, drafts, nodes, confidence, replay, out] = replayed;
  const bool holds =
      !firstDraft.empty() && drafts.size() % 2 == 0 && !drafts.empty() && nodes.size() == confidence.size();
  if (!holds) throw invalidArgument(call.Env(), "text does not hold the drafts that it lists");
  replayed.replay.emplace(ReplayText{text.int32("promptTokens"), firstDraft, drafts, nodes, confidence});
  return call.Env().Undefined();
}

Napi::Value run(const Napi::CallbackInfo& call) {
  Replayed& replayed = *unwrapped<Replayed>(call, kTag, "a replay");
  const auto rounds = static_cast<int32_t>(integerArgument(call, 1, "rounds", 1, 1 << 24));
  if (!replayed.replay) throw invalidArgument(call.Env(), "a replay has to begin with a text");
  replayed.out.clear();
  replayed.replay->run(policy(Fields(call[0], "policy")), rounds, replayed.out);
  Napi::Object result = toJs(call.Env(), replayed.out);
  result.Set("position", replayed.replay->position());
  return result;
}

Napi::Value createReplay(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    Napi::Object object = wrapped(call.Env(), kTag, std::make_shared<Replayed>());
    addMethod<begin>(object, "begin");
    addMethod<run>(object, "run");
    return object;
  });
}

}  // namespace

void initReplay(Napi::Env env, Napi::Object exports) {
  exports.Set("createReplay", Napi::Function::New(env, createReplay, "createReplay"));
}

}  // namespace foretoken::addon
