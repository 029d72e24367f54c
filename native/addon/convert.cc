#include "addon/convert.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <utility>

#include "common/error.h"

namespace foretoken::addon {
namespace {

constexpr int64_t kMostBytes = int64_t{1} << 46;

/// Typed arrays in one buffer: every buffer costs more to make and to collect than the few numbers that most hold.
class Arrays {
 public:
  Arrays(Napi::Env env, size_t bytes) : env_(env), buffer_(Napi::ArrayBuffer::New(env, bytes)) {}

  /// Records as one flat array; the ones with the largest numbers first, so that all lie where they may.
  template <typename Array, typename Record>
  Array add(const std::vector<Record>& records) {
    using Number = std::remove_pointer_t<decltype(std::declval<Array>().Data())>;
    const size_t bytes = records.size() * sizeof(Record), offset = std::exchange(used_, used_ + bytes);
    if (bytes > 0) std::memcpy(static_cast<uint8_t*>(buffer_.Data()) + offset, records.data(), bytes);
    return Array::New(env_, bytes / sizeof(Number), buffer_, offset);
  }

 private:
  Napi::Env env_;
  Napi::ArrayBuffer buffer_;
  size_t used_ = 0;
};

template <typename... Record>
size_t bytesOf(const std::vector<Record>&... records) {
  return (... + (records.size() * sizeof(Record)));
}

template <typename T>
void requireShape(const std::vector<T>& values, size_t count, const char* name, const Napi::Env& env) {
  if (values.size() == count) return;
  throw invalidArgument(env, std::string("policy.") + name + " must hold " + std::to_string(count) + " numbers, not " +
                                 std::to_string(values.size()));
}

void requireFinite(const std::vector<float>& values, const char* name, const Napi::Env& env) {
  if (std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); })) return;
  throw invalidArgument(env, std::string("policy.") + name + " must hold finite numbers");
}

KvFormat kvFormat(const std::string& name) {
  if (name == "fp8") return KvFormat::fp8;
  if (name == "bf16") return KvFormat::bf16;
  throw Error("INVALID_OPTION", "no format of keys and values is called " + name + ": there are bf16 and fp8");
}

}  // namespace

LoadOptions loadOptions(const Fields& fields) {
  LoadOptions result;
  result.weights = fields.string("weights");
  result.backend = {fields.string("backend"), static_cast<int>(fields.integer("threads", 0, 1024)),
                    fields.string("isa")};
  result.cacheFolder = fields.string("cacheFolder");
  result.head = fields.string("head");
  result.heads = fields.strings("heads");
  result.tokenizer = fields.string("tokenizer");
  result.learn = fields.boolean("learn");
  result.engine.contextLength = static_cast<int32_t>(fields.integer("contextLength", 0, 1 << 26));
  result.engine.maxSequences = static_cast<int32_t>(fields.integer("maxSequences", 1, 64));
  result.engine.kvBytes = static_cast<size_t>(fields.integer("kvBytes", 0, kMostBytes));
  result.engine.kvFormat = kvFormat(fields.string("kvFormat"));
  result.engine.speculation = fields.boolean("speculation");
  result.engine.indexBytes = static_cast<size_t>(fields.integer("indexBytes", 0, kMostBytes));
  result.engine.keepsDropped = fields.boolean("keepsDropped");
  result.engine.runAhead = static_cast<int32_t>(fields.integer("runAhead", 1, 1 << 24));
  return result;
}

Request request(const Fields& fields) {
  Request result;
  result.tenant = fields.string("tenant");
  result.learner = fields.string("learner");
  result.session = fields.string("session");
  result.prompt = fields.int32s("prompt");
  result.maxTokens = fields.int32("maxTokens");
  result.stopTokens = fields.int32s("stopTokens");
  result.temperature = static_cast<float>(fields.number("temperature"));
  result.topK = fields.int32("topK");
  result.topP = static_cast<float>(fields.number("topP"));
  result.minP = static_cast<float>(fields.number("minP"));
  result.repetitionPenalty = static_cast<float>(fields.number("repetitionPenalty"));
  result.presencePenalty = static_cast<float>(fields.number("presencePenalty"));
  result.frequencyPenalty = static_cast<float>(fields.number("frequencyPenalty"));
  result.penaltyWindow = fields.int32("penaltyWindow");
  result.biasTokens = fields.int32s("biasTokens");
  result.biasValues = fields.floats("biasValues");
  result.seed = fields.bits64("seed");
  result.logprobs = fields.int32("logprobs");
  result.prediction = fields.int32s("prediction");
  result.learn = static_cast<Learn>(fields.integer("learn", 0, 2));
  const Fields speculation = fields.object("speculation");
  result.speculate = speculation.boolean("enabled");
  result.maxLookahead = speculation.int32("maxLookahead");
  result.drafters = static_cast<uint32_t>(speculation.int32("drafters"));
  result.learned = speculation.boolean("learned");
  result.record = speculation.boolean("record");
  result.force = speculation.int32("force");
  return result;
}

Policy policy(const Fields& fields) {
  const Napi::Env env = fields.env();
  Policy result;
  result.rowBudget = static_cast<int>(fields.integer("rowBudget", 1, 1 << 20));
  result.passSeconds = fields.floats("passSeconds");
  requireFinite(result.passSeconds, "passSeconds", env);
  result.secondsPerContextToken = static_cast<float>(fields.number("secondsPerContextToken"));
  result.overheadSeconds = static_cast<float>(fields.number("overheadSeconds"));
  result.plainSeconds = static_cast<float>(fields.number("plainSeconds"));
  const auto draftSeconds = fields.floats("draftSeconds");
  requireShape(draftSeconds, kDrafterCount, "draftSeconds", env);
  requireFinite(draftSeconds, "draftSeconds", env);
  std::copy(draftSeconds.begin(), draftSeconds.end(), result.draftSeconds.begin());
  const auto acceptance = fields.floats("acceptance");
  requireShape(acceptance, sizeof(result.acceptance) / sizeof(float), "acceptance", env);
  requireFinite(acceptance, "acceptance", env);
  std::memcpy(result.acceptance.data(), acceptance.data(), sizeof(result.acceptance));
  result.tableWeight = static_cast<float>(fields.number("tableWeight"));
  const auto allowed = fields.bytes("allowed");
  requireShape(allowed, kDrafterCount, "allowed", env);
  for (int i = 0; i < kDrafterCount; ++i) result.allowed[i] = allowed[i] != 0;
  const auto askEvery = fields.int32s("askEvery");
  requireShape(askEvery, kPromiseBuckets, "askEvery", env);
  std::copy(askEvery.begin(), askEvery.end(), result.askEvery.begin());
  return result;
}

static Napi::Object recordedToJs(Napi::Env env, const Outcomes& batch) {
  auto result = Napi::Object::New(env);
  Arrays arrays(env, bytesOf(batch.recorded, batch.recordedConfidence, batch.recordedNodes));
  result.Set("drafts", arrays.add<Napi::Int32Array>(batch.recorded));
  result.Set("confidence", arrays.add<Napi::Float32Array>(batch.recordedConfidence));
  result.Set("nodes", arrays.add<Napi::Uint8Array>(batch.recordedNodes));
  return result;
}

static Napi::Array errorsToJs(Napi::Env env, const std::list<SequenceFailure>& failures) {
  auto errors = Napi::Array::New(env, failures.size());
  uint32_t count = 0;
  for (const SequenceFailure& failure : failures) {
    auto error = Napi::Object::New(env);
    error.Set("sequence", failure.sequence);
    error.Set("code", failure.code);
    error.Set("message", failure.message);
    errors.Set(count++, error);
  }
  return errors;
}

Napi::Object toJs(Napi::Env env, const Outcomes& batch) {
  const std::vector<FinishedRecord> finished(batch.finished.begin(), batch.finished.end());
  auto result = Napi::Object::New(env);
  Arrays arrays(env, bytesOf(batch.rounds, batch.steps, batch.tokens, batch.draftConfidence, batch.draftChance,
                             batch.draftOutcome, batch.logprobs, finished, batch.asks));
  result.Set("rounds", arrays.add<Napi::Float64Array>(batch.rounds));
  result.Set("steps", arrays.add<Napi::Int32Array>(batch.steps));
  result.Set("tokens", arrays.add<Napi::Int32Array>(batch.tokens));
  result.Set("draftConfidence", arrays.add<Napi::Float32Array>(batch.draftConfidence));
  result.Set("draftChance", arrays.add<Napi::Float32Array>(batch.draftChance));
  result.Set("draftOutcome", arrays.add<Napi::Int32Array>(batch.draftOutcome));
  result.Set("logprobs", arrays.add<Napi::Float32Array>(batch.logprobs));
  result.Set("finished", arrays.add<Napi::Int32Array>(finished));
  result.Set("asks", arrays.add<Napi::Int32Array>(batch.asks));
  if (!batch.recorded.empty()) result.Set("recorded", recordedToJs(env, batch));
  result.Set("errors", errorsToJs(env, batch.errors));
  return result;
}

}  // namespace foretoken::addon
