// How an engine is set up, and who may look at hidden states.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backend.h"

namespace foretoken {

class HeadWeights;
class TextSink;

/// Most drafted nodes of all sequences in one pass.
constexpr int kMaxDraftRows = 96;
/// Most nodes one drafter proposes for one sequence and round.
constexpr int kMaxDraftNodes = 48;
/// Drafters that are asked for one sequence in a round.
constexpr int kDraftersAsked = 5;
/// Echoes of one sequence that are kept at most, and for each token that it may generate.
constexpr int kEchoes = 1024;
constexpr int kEchoesPerToken = 4;

/// Sees the target's hidden states of rows that became part of a sequence: prompt tokens and verified tokens, never
/// rejected drafts. Called on the engine thread after each pass; must not block.
class CaptureSink {
 public:
  virtual ~CaptureSink() = default;
  /// `hidden[k]` is the row's residual stream [width] at the k-th layer of EngineOptions::captureLayers.
  virtual void verified(int32_t sequence, int32_t position, int32_t token, std::span<const float* const> hidden) = 0;
};

struct EngineOptions {
  int32_t contextLength = 0;  ///< tokens a sequence may hold; 0 = the model's own, at most 8192
  int32_t maxSequences = 8;   ///< sequences decoded together, 1..64
  size_t kvBytes = 0;         ///< bytes for KV pages; 0 = maxSequences full contexts, at most half of the free memory
  KvFormat kvFormat = KvFormat::bf16;       ///< what keys and values are kept in
  bool speculation = true;                  ///< false: never drafts, keeps no text and computes no keys
  size_t indexBytes = 256 << 20;            ///< bytes that remembered text, its indexes and keys may take together
  size_t tenantIndexBytes = 0;              ///< … and of each tenant; 0 = a quarter of indexBytes
  bool keepsDropped = false;                ///< what a tenant's text loses to others' waits for EngineCore::takeMemory
  int32_t runAhead = 64;                    ///< unconsumed tokens after which a sequence is paused
  int32_t prefillChunk = 256;               ///< prompt rows of one pass when no sequence is decoding …
  int32_t prefillChunkBeside = 64;          ///< … and when one is: bounds its stall
  int32_t maxRows = 512;                    ///< largest pass the model was loaded for
  int32_t sideBytes = 0;                    ///< bytes per KV slot for what drafters keep of a position
  std::shared_ptr<const HeadWeights> head;  ///< drafts beside the other drafters; null = none, and no room for one
  TextSink* textSink = nullptr;             ///< learns from finished texts; of an engine with a head
  std::vector<int> captureLayers;           ///< see Capture in model/model.h; empty = nothing is captured
  CaptureSink* captureSink = nullptr;
};

}  // namespace foretoken
