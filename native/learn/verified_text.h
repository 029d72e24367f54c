// What the engine hands to those who learn from finished texts.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace foretoken {

class HeadWeights;
class Model;

/// A text as it lies in KV slots. The positions where drafts were rejected are among the others: at each, the target
/// has said what it expects.
struct VerifiedText {
  std::string learner;  ///< whose head learns from it: the tenant's own, or its group's
  std::string tenant;   ///< who asked for it
  std::vector<int32_t> token;
  int32_t first = 0;           ///< position of the first token
  int32_t answer = 0;          ///< of these tokens, the first that the target wrote
  std::vector<uint16_t> kept;  ///< bf16 [tokens][fused layers + 1][width]: features, then the last layer's output
};

/// Called on the engine's thread, but for forgetting(); must not wait. What throws for lack of memory has done nothing.
class TextSink {
 public:
  virtual ~TextSink() = default;
  /// A text that may be learned from has come to its end.
  virtual void ended(VerifiedText text) = 0;
  /// What makes it learn nothing any more from what ended before: of a learner, or of all (null). Made on any thread,
  /// and called on the engine's, where it never fails.
  virtual std::function<void()> forgetting(const std::string* learner) = 0;
  /// Texts that end from now on are of these weights of the target; `head` drafts for all tenants.
  virtual void weightsMoved(std::shared_ptr<const Model> target, std::shared_ptr<const HeadWeights> head) = 0;
};

}  // namespace foretoken
