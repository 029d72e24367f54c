#include "head/head_drafter.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "common/error.h"

namespace foretoken {
namespace {

/// Sequences and positions of context that go through the head at once.
constexpr int kAsksAtOnce = 32;
constexpr int kContextRows = 128;
constexpr int kCandidates = train::kHeadCandidates;
/// Most nodes of a draft and children of a node; a path that is less likely than this is not followed.
constexpr int kHeadNodes = 16;
constexpr int kBranches = 3;
constexpr float kHopeless = 0.01f;
/// Room for tokens that a head learns to draft later.
constexpr int64_t kSpareTokens = 1024;

}  // namespace

int32_t headSideBytes(const HeadWeights& head, bool state) {
  const int64_t kept = head.shape().fused + (state ? 1 : 0);
  return kHeadFeatures + static_cast<int32_t>(kept * head.shape().width * sizeof(uint16_t));
}

HeadDrafter::HeadDrafter(Backend& backend, std::shared_ptr<const HeadWeights> head, int keyLayer, int scratchSlots,
                         int maxSequences)
    : backend_(backend),
      head_(std::move(head)),
      room_(head_->shape()),
      fusedLayers_(head_->fusedLayers()),
      keyLayer_(keyLayer),
      scratchSlots_(scratchSlots),
      asksAtOnce_(std::min(maxSequences, kAsksAtOnce)),
      context_(kContextRows, 1, 0),
      blocks_(asksAtOnce_ + scratchSlots, asksAtOnce_, scratchSlots * kHeadNodes) {
  const int64_t width = room_.width, heads = room_.heads.width, blockRows = asksAtOnce_ + scratchSlots;
  const int64_t keys = 2 * room_.heads.keys * heads, queries = room_.heads.queries * heads;
  for (auto* rows : {&feature_, &fused_}) *rows = backend.tensor(kContextRows, width);
  keys_ = backend.tensor(kContextRows, keys);
  for (auto* rows : {&token_, &joined_, &injected_}) *rows = backend.tensor(asksAtOnce_, width);
  x_ = backend.tensor(blockRows, width);
  qkv_ = backend.tensor(blockRows, queries + keys);
  attended_ = backend.tensor(blockRows, queries);
  gated_ = backend.tensor(blockRows, room_.inner);
  logits_ = backend.tensor(blockRows, room_.vocabulary + kSpareTokens);
  results_.resize(blockRows);
  for (auto* rows : {&lastToken_, &origin_}) rows->reserve(blockRows);
  for (int32_t r = 0; r < blockRows; ++r) {
    SampleRow& row = sampleRows_.emplace_back();
    row.logitRow = r;
    row.logprobs = kCandidates;
    identity_.push_back(r);
  }
}

void HeadDrafter::requireRoom(const HeadWeights& head) const {
  const train::BlockHeadShape& s = head.shape();
  const bool same = s.width == room_.width && s.layers == room_.layers && s.heads.queries == room_.heads.queries &&
                    s.heads.keys == room_.heads.keys && s.heads.width == room_.heads.width &&
                    head.fusedLayers() == fusedLayers_;
  if (same && s.inner <= room_.inner && s.slots <= room_.slots && s.vocabulary <= room_.vocabulary + kSpareTokens)
    return;
  throw Error("HEAD_MISMATCH",
              "the engine was loaded with a draft head of another shape and has no room for this one; load it anew");
}

/// Another head with the same context goes on with its turn.
uint32_t HeadDrafter::turn() {
  const uint32_t serial = head_->context()->serial();
  if (serial != serial_) serial_ = serial, ++turn_;
  return turn_;
}

uint32_t HeadDrafter::mark(int32_t slot) const {
  uint32_t serial;
  std::memcpy(&serial, backend_.side(slot) + kHeadMark, sizeof serial);
  return serial;
}

void HeadDrafter::setMark(int32_t slot, uint32_t serial) {
  std::memcpy(backend_.side(slot) + kHeadMark, &serial, sizeof serial);
}

/// No path of a draft is longer than it has nodes.
int HeadDrafter::slotsOf(const HeadAsk& ask) const {
  return static_cast<int>(std::min<int64_t>({ask.maxDepth, head_->shape().slots, kHeadNodes}));
}

void HeadDrafter::draft(const Model& target, std::span<HeadAsk> asks) {
  for (size_t first = 0; first < asks.size();) {
    size_t count = 0;
    for (int room = scratchSlots_; first + count < asks.size() && static_cast<int>(count) < asksAtOnce_; ++count) {
      room -= slotsOf(asks[first + count]) - 1;
      if (room < 0) break;
    }
    draftSome(target, asks.subspan(first, count));
    first += count;
  }
}

void HeadDrafter::draftSome(const Model& target, std::span<HeadAsk> asks) {
  computeContext(target, asks);
  layOut(asks);
  runBlocks();
  markContext();
  int32_t row = static_cast<int32_t>(asks.size());  // of an ask's second slot
  for (size_t a = 0; a < asks.size(); ++a) {
    grow(asks[a], static_cast<int32_t>(a), row);
    row += slotsOf(asks[a]) - 1;
  }
}

/// The position before the last token is an anchor, whose features blocks begin with: it is computed again even where
/// its keys are known.
void HeadDrafter::computeContext(const Model& target, std::span<HeadAsk> asks) {
  const auto begin = [&] {
    context_.begin(/*prompts=*/false);
    context_.addSequence(*asks[0].table);
  };
  const auto add = [&](const HeadAsk& ask, int32_t position) {
    context_.addInPlace(0, 0, position, ask.table->slot(position), false);
  };
  begin();
  for (HeadAsk& ask : asks) {
    add(ask, static_cast<int32_t>(ask.tokens.size()) - 2);
    ask.context = 1;
  }
  bool anchors = true;
  const auto run = [&] {
    runContext();
    if (anchors) startBlocks(target, asks);
    anchors = false;
  };
  const uint32_t now = turn();
  for (HeadAsk& ask : asks) {
    const auto anchor = static_cast<int32_t>(ask.tokens.size()) - 2;
    for (int32_t p = ask.known->turn == now ? ask.known->positions : 0; p < anchor; ++p) {
      if (mark(ask.table->slot(p)) == serial_) continue;
      if (context_.rows() == kContextRows) run(), markContext(), begin();
      add(ask, p);
      ++ask.context;
    }
    *ask.known = {now, anchor + 1};
  }
  run();
}

/// Keys and values of positions, from their features.
void HeadDrafter::runContext() {
  const Pass& pass = context_.finish();
  const HeadContext& context = *head_->context();
  const float eps = head_->shape().epsilon;
  const auto featureBytes = static_cast<int32_t>(head_->shape().width * sizeof(uint16_t));
  for (int32_t l = 0; l < static_cast<int32_t>(head_->shape().fused); ++l) {
    backend_.kept(pass, kHeadFeatures + l * featureBytes, *feature_);
    backend_.linear(pass, context.fusion(l), *feature_, context.featureNorm(l), eps, *fused_,
                    l == 0 ? Epilogue::store : Epilogue::add);
  }
  for (int l = 0; l < static_cast<int>(head_->shape().layers); ++l) {
    backend_.linear(pass, context.keys(l), *fused_, context.norm(), eps, *keys_, Epilogue::store);
    backend_.writeKeys(pass, keyLayer_ + l, context.rope(), *keys_);
  }
}

/// From now on the positions of the latest pass of context are known. That waits for the pass; the last one is marked
/// when drafts are there, which are waited for anyway.
void HeadDrafter::markContext() {
  for (int32_t r = 0; r < context_.rows(); ++r) setMark(context_.slot(r), serial_);
}

/// What the rows of blocks are made of: token and feature for the first slot, the feature alone for the others. The
/// anchors are the first rows of context.
void HeadDrafter::startBlocks(const Model& target, std::span<HeadAsk> asks) {
  lastToken_.clear();
  for (const HeadAsk& ask : asks) lastToken_.push_back(ask.tokens.back());
  Pass pass;
  pass.rows = static_cast<int>(asks.size());
  pass.token = lastToken_.data();
  const float eps = head_->shape().epsilon;
  const float* const norm = head_->context()->norm();
  backend_.embed(pass, target.embedding(), *token_);
  backend_.linear(pass, head_->joinToken(), *token_, head_->tokenNorm(), eps, *joined_, Epilogue::store);
  backend_.linear(pass, head_->joinFeature(), *fused_, norm, eps, *joined_, Epilogue::add);
  backend_.linear(pass, head_->inject(), *fused_, norm, eps, *injected_, Epilogue::store);
}

/// The first slots of all blocks, then the other slots of each. A first slot lies where its token's keys will be, the
/// others beside the pages; the target's pass overwrites both.
void HeadDrafter::layOut(std::span<HeadAsk> asks) {
  blocks_.begin(/*prompts=*/false);
  origin_.clear();
  for (const HeadAsk& ask : asks) {
    const auto last = static_cast<int32_t>(ask.tokens.size()) - 1;
    blocks_.addInPlace(blocks_.addSequence(*ask.table), 0, last, ask.table->slot(last), true);
  }
  int32_t scratch = 0;
  for (size_t a = 0; a < asks.size(); ++a) {
    auto parent = static_cast<int32_t>(a);
    for (int32_t s = 1; s < slotsOf(asks[a]); ++s) {
      parent = blocks_.addBeside(static_cast<int32_t>(a), s, parent, scratch++, true);
      origin_.push_back(static_cast<int32_t>(a));
    }
  }
}

void HeadDrafter::runBlocks() {
  const Pass& pass = blocks_.finish();
  const float eps = head_->shape().epsilon;
  const auto sequences = lastToken_.size();
  backend_.embed(pass, head_->masks(), *x_);
  backend_.addRows(*joined_, std::span(identity_).first(sequences), *x_, 0);
  backend_.addRows(*injected_, origin_, *x_, static_cast<int64_t>(sequences));
  int keyLayer = keyLayer_;
  for (const HeadWeights::Layer& layer : head_->layers()) {
    backend_.linear(pass, *layer.qkv, *x_, layer.attentionNorm, eps, *qkv_, Epilogue::store);
    backend_.attention(pass, keyLayer++, static_cast<int>(head_->shape().heads.queries), head_->context()->rope(),
                       *qkv_, *attended_);
    backend_.linear(pass, *layer.output, *attended_, nullptr, eps, *x_, Epilogue::add);
    backend_.linear(pass, *layer.gateUp, *x_, layer.mlpNorm, eps, *gated_, Epilogue::swiglu);
    backend_.linear(pass, *layer.down, *gated_, nullptr, eps, *x_, Epilogue::add);
  }
  backend_.logits(pass, head_->output(), *x_, head_->outputNorm(), eps, *logits_);
  const auto rows = static_cast<size_t>(pass.rows);
  backend_.sample(*logits_, static_cast<int>(head_->shape().vocabulary), std::span(sampleRows_).first(rows),
                  std::span(results_).first(rows));
}

/// Takes the likeliest path so far on by one token, again and again. `first`: row of the first slot, `others` of the
/// second.
void HeadDrafter::grow(HeadAsk& ask, int32_t first, int32_t others) const {
  std::array<Candidate, kHeadNodes * kBranches + kBranches> candidates;
  const auto most = static_cast<int>(std::min<size_t>(ask.out.size(), kHeadNodes));
  int open = branch(first, {{-1, -1, 0, 1}, 1, head_->place(ask.tokens.back())}, -1, candidates.data());
  ask.count = 0;
  while (open > 0 && ask.count < most) {
    const auto best = std::max_element(candidates.begin(), candidates.begin() + open,
                                       [](const Candidate& a, const Candidate& b) { return a.survival < b.survival; });
    const Candidate chosen = *best;
    *best = candidates[--open];
    ask.out[ask.count] = chosen.node;
    if (chosen.node.depth < slotsOf(ask))
      open += branch(others + chosen.node.depth - 1, chosen, ask.count, candidates.data() + open);
    ++ask.count;
  }
}

/// The likeliest tokens of a row after a parent, of which `index` is the place in the draft; returns how many.
int HeadDrafter::branch(int32_t row, const Candidate& parent, int32_t index, Candidate* out) const {
  const SampleResult& result = results_[row];
  std::array<float, kCandidates> weight;
  float total = 1;
  for (int c = 0; c < kCandidates; ++c) {
    const float probability = std::exp(result.topLogprob[c]);
    weight[c] = probability * std::exp(head_->markov(parent.index, result.topToken[c]));
    total += weight[c] - probability;
  }
  int count = 0;
  for (; count < kBranches; ++count) {
    const auto best = std::max_element(weight.begin(), weight.end());
    const float confidence = std::clamp(*best / std::max(total, *best), 0.0f, 1.0f);
    if (!(parent.survival * confidence >= kHopeless)) break;
    const int32_t token = result.topToken[best - weight.begin()];
    out[count] = {{head_->token(token), index, parent.node.depth + 1, confidence}, parent.survival * confidence, token};
    *best = -1;
  }
  return count;
}

}  // namespace foretoken
