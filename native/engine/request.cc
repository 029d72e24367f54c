#include "engine/request.h"

#include <cmath>

#include "backend.h"
#include "common/error.h"
#include "speculate/drafter.h"

namespace foretoken {
namespace {

void require(bool condition, const std::string& message) {
  if (!condition) throw Error("INVALID_REQUEST", message);
}

void requireTokens(const std::vector<int32_t>& tokens, int32_t vocabulary, const char* field) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    require(tokens[i] >= 0 && tokens[i] < vocabulary, std::string(field) + "[" + std::to_string(i) + "] is " +
                                                          std::to_string(tokens[i]) + ", the vocabulary has " +
                                                          std::to_string(vocabulary) + " tokens");
  }
}

}  // namespace

void validate(const Request& r, int32_t vocabulary, int32_t contextLength) {
  require(!r.prompt.empty(), "prompt is empty; give at least one token");
  require(r.maxTokens >= 1, "maxTokens must be at least 1");
  requireTokens(r.prompt, vocabulary, "prompt");
  requireTokens(r.stopTokens, vocabulary, "stopTokens");
  requireTokens(r.biasTokens, vocabulary, "biasTokens");
  requireTokens(r.prediction, vocabulary, "prediction");
  require(std::isfinite(r.temperature) && r.temperature >= 0, "temperature must be a finite number >= 0");
  require(r.topK >= 0, "topK must be >= 0 (0 = off)");
  require(r.topP > 0 && r.topP <= 1, "topP must be in (0, 1]");
  require(r.minP >= 0 && r.minP <= 1, "minP must be in [0, 1]");
  require(std::isfinite(r.repetitionPenalty) && r.repetitionPenalty > 0,
          "repetitionPenalty must be a finite number > 0");
  require(std::isfinite(r.presencePenalty), "presencePenalty must be finite");
  require(std::isfinite(r.frequencyPenalty), "frequencyPenalty must be finite");
  require(r.penaltyWindow >= 0, "penaltyWindow must be >= 0 (0 = all tokens)");
  require(r.biasTokens.size() == r.biasValues.size(), "biasTokens and biasValues must have one length");
  for (const float value : r.biasValues) require(!std::isnan(value), "biasValues must be numbers");
  require(r.logprobs >= -1 && r.logprobs <= kMaxLogprobs,
          "logprobs must be between -1 (none) and " + std::to_string(kMaxLogprobs));
  require(r.maxLookahead >= 0, "speculation.maxLookahead must be >= 0");
  require(r.force >= -1 && r.force < kDrafterCount, "speculation.force must be a drafter id or -1");
  if (r.prompt.size() >= static_cast<size_t>(contextLength)) {
    throw Error("CONTEXT_EXCEEDED", "the prompt has " + std::to_string(r.prompt.size()) +
                                        " tokens, the engine's context holds " + std::to_string(contextLength) +
                                        " with at least one to generate: shorten it, or load the model with a larger "
                                        "contextLength, up to its own");
  }
}

}  // namespace foretoken
