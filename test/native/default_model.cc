// The default model against Hugging Face transformers (test/fixtures/make_default_model_golden.py): the fp32 path must
// give the very tokens, the others nearly always. Needs the file: FORETOKEN_TEST_MODEL names it; without it the test is
// skipped.
#include <chrono>
#include <cstdlib>

#include "check.h"
#include "format/json.h"
#include "model_rig.h"

using namespace foretoken;
using namespace foretoken::test;

namespace {

struct Prompt {
  std::vector<int32_t> ids, tokens;
  std::vector<float> logits, bf16kvLogits, topLogits, margins;
  std::vector<int32_t> topIds;
};

template <typename T>
std::vector<T> numbers(const Json& json) {
  std::vector<T> values;
  for (const Json& value : json.array()) values.push_back(static_cast<T>(value.number()));
  return values;
}

std::vector<Prompt> readPrompts(const Json& golden) {
  std::vector<Prompt> prompts;
  for (const Json& json : golden.at("prompts").array())
    prompts.push_back({numbers<int32_t>(json.at("ids")), numbers<int32_t>(json.at("tokens")),
                       numbers<float>(json.at("logits")), numbers<float>(json.at("bf16kvLogits")),
                       numbers<float>(json.at("topLogits")), numbers<float>(json.at("margins")),
                       numbers<int32_t>(json.at("topIds"))});
  return prompts;
}

/// Logits that predict each golden token, the text before it given.
std::vector<Logits> teacherForced(LoadedModel& loaded, const Prompt& prompt) {
  std::vector<int32_t> text = prompt.ids;
  text.insert(text.end(), prompt.tokens.begin(), prompt.tokens.end() - 1);
  auto logits = loaded.feed(text, 512);
  return {logits.begin() + (prompt.ids.size() - 1), logits.end()};
}

Logits everyNth(const Logits& logits, size_t count) {
  Logits some;
  for (size_t i = 0; i < count; ++i) some.push_back(logits[i * (logits.size() / count)]);
  return some;
}

/// 64 tokens drawn one at a time.
std::vector<int32_t> greedy(LoadedModel& loaded, const Prompt& prompt) {
  std::vector<int32_t> text = prompt.ids;
  const auto table = loaded.orderedPages();
  int token = argmax(loaded.feed(text, 512).back());
  while (text.size() < prompt.ids.size() + prompt.tokens.size()) {
    text.push_back(token);
    token = argmax(loaded.feed(text, static_cast<int>(text.size()) - 1, 1, 1, table)[0]);
  }
  return {text.begin() + prompt.ids.size(), text.end()};
}

void referencePath(const std::string& path, const std::vector<Prompt>& prompts) {
  LoadedModel loaded(path, "f32");
  float bf16kv = 0, exact = 0;
  int same = 0, total = 0;
  for (const Prompt& prompt : prompts) {
    const auto logits = teacherForced(loaded, prompt);
    for (size_t i = 0; i < prompt.tokens.size(); ++i) same += argmax(logits[i]) == prompt.tokens[i];
    total += static_cast<int>(prompt.tokens.size());
    bf16kv = std::max(bf16kv, largestDifference(everyNth(logits[0], prompt.bf16kvLogits.size()), prompt.bf16kvLogits));
    exact = std::max(exact, largestDifference(everyNth(logits[0], prompt.logits.size()), prompt.logits));
    for (size_t i = 0; i < prompt.topIds.size(); ++i)
      CHECK(std::fabs(logits[0][prompt.topIds[i]] - prompt.topLogits[i]) < 0.3f);
  }
  std::printf(
      "f32: %d of %d greedy tokens; logits within %.4f of transformers with bf16 keys and values, %.3f of exact\n",
      same, total, bf16kv, exact);
  CHECK(same == total && total == 512);
  CHECK(bf16kv < 0.15f && exact < 0.3f);  // keys that round to the other side move logits by some hundredths
  CHECK(greedy(loaded, prompts[0]) == prompts[0].tokens);
}

/// Top-1 agreement over all golden tokens; a flip counts by how far transformers itself had the two tokens apart.
void fastPath(const std::string& path, const std::string& weights, double agreement, float flipMargin,
              const std::vector<Prompt>& prompts) {
  LoadedModel loaded(path, weights);
  int same = 0, total = 0;
  float worst = 0;
  for (const Prompt& prompt : prompts) {
    const auto logits = teacherForced(loaded, prompt);
    for (size_t i = 0; i < prompt.tokens.size(); ++i, ++total) {
      if (argmax(logits[i]) == prompt.tokens[i])
        ++same;
      else
        worst = std::max(worst, prompt.margins[i]);
    }
  }
  std::printf("%-5s: %d of %d tokens agree (%.2f %%), widest margin of a flip %.3f (%s)\n", weights.c_str(), same,
              total, 100.0 * same / total, worst, loaded.model->weightsDescription().c_str());
  CHECK(same >= agreement * total);
  CHECK(worst <= flipMargin);
}

void loadTimes(const std::string& path) {
  const TemporaryFolder folder;
  for (const char* start : {"first", "second"}) {
    auto backend = createCpuBackend({});
    ModelOptions options;
    options.cacheFolder = folder.path();
    const auto begin = std::chrono::steady_clock::now();
    const auto model = loadModel(path, *backend, options);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    std::printf("%s start: %.3f s (%s, %.1f MB a step)\n", start, seconds.count(), model->weightsDescription().c_str(),
                model->weightBytes() / 1e6);
  }
}

}  // namespace

int main() {
  const char* path = std::getenv("FORETOKEN_TEST_MODEL");
  if (!path || !std::filesystem::exists(path)) {
    std::printf("skipped: FORETOKEN_TEST_MODEL does not name the default model's file\n");
    return 0;
  }
  const JsonDocument golden = JsonDocument::open(fixture("default_model_golden.json"));
  const auto prompts = readPrompts(golden.root());
  CHECK(prompts.size() == 8);
  loadTimes(path);
  referencePath(path, prompts);
  // Same weights, activations rounded to bf16 or to 8 bits a block: five flips of 512 with the latter, on every
  // instruction set, where transformers with activations rounded like that has six.
  fastPath(path, "bf16", 0.99, 0.1f, prompts);
  fastPath(path, "auto", 0.99, 0.3f, prompts);
  // Other weights: how far they are is bench quality's matter, here only that they are the same model.
  fastPath(path, "fp8", 0.9, 4.0f, prompts);
  fastPath(path, "nvfp4", 0.7, 16.0f, prompts);
  fastPath(path, "mxfp4", 0.5, 16.0f, prompts);
  return finish("default_model");
}
