#include "addon/replay.h"

#include "addon/arguments.h"
#include "addon/convert.h"
#include "addon/errors.h"
#include "engine/replay.h"

namespace foretoken::addon {
namespace {

template <typename Array, typename T>
std::span<const T> viewOf(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsTypedArray())
    throw invalidArgument(object.Env(), std::string("text.") + name + " must be a typed array");
  auto array = value.As<Array>();
  return {reinterpret_cast<const T*>(array.Data()), array.ElementLength()};
}

void check(const ReplayText& text, int32_t position, Napi::Env env) {
  const auto require = [&](bool condition) {
    if (!condition) throw invalidArgument(env, "text does not hold the drafts that it lists");
  };
  require(text.firstDraft.size() >= 1 && text.drafts.size() % 2 == 0 && !text.drafts.empty());
  require(text.nodes.size() == text.confidence.size() && position >= 0 && position <= text.tokens());
}

Napi::Value replayRounds(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    static thread_local Replay replay;
    static thread_local Outcomes out;
    const Policy rules = policy(Fields(call[0], "policy"));
    const auto object = call[1].As<Napi::Object>();
    const Fields fields(call[1], "text");
    const ReplayText text{fields.int32("promptTokens"), viewOf<Napi::Int32Array, int32_t>(object, "firstDraft"),
                          viewOf<Napi::Int32Array, int32_t>(object, "drafts"),
                          viewOf<Napi::Uint8Array, uint8_t>(object, "nodes"),
                          viewOf<Napi::Float32Array, float>(object, "confidence")};
    const auto position = static_cast<int32_t>(integerArgument(call, 2, "position", 0, 1 << 28));
    const auto rounds = static_cast<int32_t>(integerArgument(call, 3, "rounds", 1, 1 << 24));
    check(text, position, call.Env());
    out.clear();
    const int32_t next = replay.run(rules, text, position, rounds, out);
    Napi::Object result = toJs(call.Env(), out);
    result.Set("position", next);
    return result;
  });
}

}  // namespace

void initReplay(Napi::Env env, Napi::Object exports) {
  exports.Set("replayRounds", Napi::Function::New(env, replayRounds, "replayRounds"));
}

}  // namespace foretoken::addon
