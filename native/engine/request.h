// What a caller asks of one sequence.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace foretoken {

/// Reasons as they cross the border (lib/native.ts).
enum class FinishReason : int32_t { stop = 0, length = 1, cancelled = 2, error = 3 };

/// What of a sequence may be remembered as text to draft from.
enum class Learn : int32_t { nothing = 0, answer = 1, all = 2 };

struct Request {
  std::string tenant;   ///< KV prefixes are shared within a tenant only
  std::string learner;  ///< who learns from it, and from whose learned state it is drafted for; "" = the tenant
  std::string session;  ///< requests of one session share an index of their own; "" = only this request
  std::vector<int32_t> prompt;
  int32_t maxTokens = 0;
  std::vector<int32_t> stopTokens;  ///< drawing one ends the sequence; it is reported as its last token
  float temperature = 0;            ///< 0 = greedy
  int32_t topK = 0;                 ///< 0 = off
  float topP = 1, minP = 0;
  float repetitionPenalty = 1, presencePenalty = 0, frequencyPenalty = 0;
  int32_t penaltyWindow = 0;  ///< tokens that penalties look back on; 0 = all
  std::vector<int32_t> biasTokens;
  std::vector<float> biasValues;
  uint64_t seed = 0;
  int32_t logprobs = -1;            ///< -1 = none, else alternatives per token (at most kMaxLogprobs)
  std::vector<int32_t> prediction;  ///< text the caller expects, used as a draft
  Learn learn = Learn::all;
  bool speculate = true;
  int32_t maxLookahead = 16;  ///< deepest draft
  uint32_t drafters = ~0u;    ///< those that the policy may choose, as bits: 1 << id
  bool learned = true;        ///< drafted for from what earlier requests have taught, too
  bool record = false;        ///< nothing is verified, and all that is drafted at every position is reported
  int32_t force = -1;  ///< draft in every round from this drafter, whatever the policy says; -1 = the policy decides
};

/// Checks a request against the model and the engine's context. Throws INVALID_REQUEST or CONTEXT_EXCEEDED.
void validate(const Request& request, int32_t vocabulary, int32_t contextLength);

}  // namespace foretoken
