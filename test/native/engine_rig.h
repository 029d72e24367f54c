// The engine on a real (tiny) model, run until nothing is left to do.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "check.h"
#include "engine/core.h"
#include "fixtures.h"
#include "model/model.h"

namespace foretoken::test {

constexpr int kContext = 192;

inline EngineOptions engineOptions(int maxSequences) {
  EngineOptions result;
  result.contextLength = kContext;
  result.maxSequences = maxSequences;
  result.maxRows = 64 + kMaxDraftRows;
  result.runAhead = 10000;
  return result;
}

struct EngineRig {
  /// prepare: may complete the options once the model is there.
  EngineRig(
      const std::string& weights, EngineOptions options,
      const std::function<void(EngineOptions&, const Model&, Backend&)>& prepare = [](auto&&...) {},
      std::unique_ptr<Backend> own = createCpuBackend({2, ""}))
      : backend(std::move(own)) {
    ModelOptions modelOptions;
    modelOptions.weights = weights;
    modelOptions.maxRows = options.maxRows;
    modelOptions.maxLogitRows = options.maxSequences + kMaxDraftRows;
    model = loadModel(fixture("models/tied-f16.gguf"), *backend, modelOptions);
    prepare(options, *model, *backend);
    core = std::make_unique<EngineCore>(*backend, model, options);
    core->setOutput(&out);
  }
  /// Runs to the end, keeps every sequence's tokens, and shows each step to `count`.
  void run(const std::function<void(const StepRecord&)>& count) {
    while (core->step()) continue;
    for (const StepRecord& step : out.steps) {
      auto& tokens = got[step.sequence];
      tokens.insert(tokens.end(), out.tokens.begin() + step.tokenOffset,
                    out.tokens.begin() + step.tokenOffset + step.tokenCount);
      count(step);
    }
    cached = 0;
    for (const FinishedRecord& finished : out.finished) cached += finished.cachedPromptTokens;
    CHECK(out.errors.empty());
    out.clear();
  }
  void submit(int32_t id, const Request& request) {
    core->submit(std::make_unique<Sequence>(id, request, core->contextLength(), model->config().vocabulary, true));
  }

  std::unique_ptr<Backend> backend;
  std::shared_ptr<Model> model;
  std::unique_ptr<EngineCore> core;
  Outcomes out;
  std::map<int32_t, std::vector<int32_t>> got;
  int64_t cached = 0;  ///< prompt tokens that the last run found in the cache
};

}  // namespace foretoken::test
