// What proposes tokens. A draft is a tree below the last token of the sequence; a chain is the tree where each node has
// one child. A draft only proposes: nothing here can change what the target says, only how many passes it takes.
#pragma once
#include <cstdint>
#include <span>

namespace foretoken {

/// Ids as they cross the border (lib/native.ts).
enum class DrafterId : int32_t {
  none = 0,
  suffix = 1,
  prediction = 2,
  adversarial = 3,
  recall = 4,
  head = 5,
  blend = 6
};
constexpr int kDrafterCount = 7;

struct DraftNode {
  int32_t token;
  int32_t parent;    ///< index of the parent in the same draft, always smaller than the node's own; -1 = the sequence's
                     ///< last token
  int32_t depth;     ///< 1 = directly after the sequence's last token
  float confidence;  ///< 0..1, that the target says `token` here given that it said the path above; ordinal: the policy
                     ///< calibrates it
};

struct DraftInput {
  std::span<const int32_t> tokens;  ///< prompt and output so far, never empty
  int32_t promptLength;
  int32_t maxDepth;
};

/// One drafter of one sequence. Called from the engine thread between passes: no allocation, microseconds.
class Drafter {
 public:
  virtual ~Drafter() = default;
  virtual DrafterId id() const = 0;
  /// Writes at most out.size() nodes, parents before children, no two siblings with one token; returns how many (0 = no
  /// idea).
  virtual int draft(const DraftInput& input, std::span<DraftNode> out) = 0;
};

}  // namespace foretoken
