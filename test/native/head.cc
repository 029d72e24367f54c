// The head at decode time: its blocks are those of native/train on the same weights; who else asks, when context was
// computed and where it lies change no bit; what does not fit is refused.
#include <optional>

#include "check.h"
#include "head/head_drafter.h"
#include "head_rig.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;
using test::Floats;

constexpr int kText = 60, kPages = 24, kScratchPages = 6;

/// A target with a head on pages of its own.
struct Drafting {
  Drafting(const HeadRig& rig, const std::string& name, const std::string& weights, const HeadFormats& formats)
      : backend(createCpuBackend({2, ""})), pool(kScratchPages, kPages - kScratchPages) {
    ModelOptions options;
    options.weights = weights;
    options.maxRows = 2 * kText;
    model = loadModel(fixture("models/" + name), *backend, options);
    head = std::make_shared<const HeadWeights>(rig.source(), *model, *backend, formats);
    const ModelConfig& config = model->config();
    backend->allocateKv({config.layers + static_cast<int>(rig.shape.layers), config.kvHeads, config.headDim, kPages,
                         headSideBytes(*head, false)});
    drafter.emplace(*backend, head, config.layers, kScratchPages * kPageSize, 8);
  }
  /// The target computes a text.
  void compute(const std::vector<int32_t>& tokens, PageTable& table) {
    CHECK(table.reserve(pool, static_cast<int32_t>(tokens.size())));
    PassBuilder pass(2 * kText, 1, 0);
    pass.begin(true);
    const int32_t sequence = pass.addSequence(table);
    for (int32_t p = 0; p < static_cast<int32_t>(tokens.size()); ++p)
      pass.addInPlace(sequence, tokens[p], p, table.slot(p), false);
    const Capture capture{.keptLayers = head->fusedLayers(), .keptOffset = kHeadFeatures};
    model->forward(pass.finish(), &capture);
    const Pass& written = pass.finish();
    for (int r = 0; r < written.rows; ++r) drafter->written(written.slot[r]);
  }

  std::unique_ptr<Backend> backend;
  PagePool pool;
  std::unique_ptr<Model> model;
  std::shared_ptr<const HeadWeights> head;
  std::optional<HeadDrafter> drafter;
};

/// A text of which some is known to be drafted from.
struct Text {
  explicit Text(int seed, int32_t vocabulary) : table(2 * kText) {
    for (int i = 0; i < kText; ++i) tokens.push_back((i * 7 + seed * 13 + i * i % 5 * seed) % vocabulary);
  }
  HeadAsk ask(int length, int depth = 99) {
    return {std::span<const int32_t>(tokens).first(length), &table, &known, depth, nodes};
  }
  std::vector<int32_t> tokens;
  PageTable table;
  HeadProgress known;
  std::array<DraftNode, 48> nodes;
};

/// What is drafted behind all of a text of which so much is known.
std::vector<DraftNode> draftAll(Drafting& drafting, Text& text, HeadProgress& known) {
  HeadAsk ask = text.ask(kText);
  ask.known = &known;
  drafting.drafter->draft(*drafting.model, {&ask, 1});
  return {text.nodes.begin(), text.nodes.begin() + ask.count};
}

/// The likeliest child of the likeliest child …
std::vector<int32_t> chain(std::span<const DraftNode> nodes) {
  std::vector<int32_t> tokens;
  for (int32_t parent = -1;;) {
    int32_t best = -1;
    for (int32_t n = 0; n < static_cast<int32_t>(nodes.size()); ++n)
      if (nodes[n].parent == parent && (best < 0 || nodes[n].confidence > nodes[best].confidence)) best = n;
    if (best < 0) return tokens;
    CHECK(nodes[best].depth == static_cast<int32_t>(tokens.size()) + 1);
    tokens.push_back(nodes[best].token);
    parent = best;
  }
}

/// What native/train drafts behind every position of a text.
std::vector<std::vector<int32_t>> draftsOfTraining(HeadRig& rig, const std::vector<int32_t>& tokens) {
  train::BlockHead head(rig.shape);
  ThreadPool threads(2);
  train::Ops ops(threads, selectIsa(""));
  const train::LayerPass pass{ops, rig.weights.data(), nullptr};
  train::BlockBatch batch;
  Floats state;
  rig.target.compute(tokens, rig.fused, batch.features, state);
  const int64_t slots = rig.shape.slots, length = static_cast<int64_t>(tokens.size());
  for (int32_t p = 0; p < length; ++p) batch.position.push_back(p);
  for (int32_t a = 0; a + 1 < length; ++a) {
    batch.anchor.push_back(a);
    batch.token.push_back(tokens[a + 1]);
    batch.token.resize(batch.token.size() + slots - 1);
  }
  batch.firstRow.push_back(length), batch.firstAnchor.push_back(length - 1);
  train::TargetTables tables = rig.target.tables(rig.draft);
  for (size_t d = 0; d < rig.delta.place.size(); ++d)
    for (int64_t c = 0; c < rig.shape.width; ++c)
      tables.output[rig.delta.place[d] * rig.shape.width + c] += rig.delta.row[d * rig.shape.width + c];
  const std::vector<int32_t> drafted = head.draft(pass, tables, batch);
  std::vector<std::vector<int32_t>> out;
  for (auto at = drafted.begin(); at != drafted.end(); at += slots) out.emplace_back(at, at + slots);
  return out;
}

/// Returns the share of drafted tokens that are those of training; a path ends where it is too unlikely.
double agreement(const std::string& name, const HeadFormats& formats) {
  HeadRig rig(name);
  Drafting drafting(rig, name, "f32", formats);
  Text text(1, rig.target.config().vocabulary);
  drafting.compute(text.tokens, text.table);
  const auto expected = draftsOfTraining(rig, text.tokens);
  int same = 0, all = 0, whole = 0;
  for (int length = 2; length <= kText; ++length) {
    HeadAsk ask = text.ask(length);
    drafting.drafter->draft(*drafting.model, {&ask, 1});
    const std::vector<int32_t> got = chain(std::span(text.nodes).first(ask.count));
    CHECK(!got.empty() && text.known.positions == length - 1);
    for (size_t s = 0; s < got.size(); ++s) same += got[s] == expected[length - 2][s];
    all += static_cast<int>(got.size());
    whole += got.size() == static_cast<size_t>(rig.shape.slots);
  }
  CHECK(whole > kText / 4);
  std::printf("%s, %s: %d of %d tokens as in training\n", name.c_str(),
              std::string(foretoken::name(formats.own)).c_str(), same, all);
  return static_cast<double>(same) / all;
}

bool sameNodes(std::span<const DraftNode> a, std::span<const DraftNode> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const DraftNode& x, const DraftNode& y) {
    return x.token == y.token && x.parent == y.parent && x.depth == y.depth && x.confidence == y.confidence;
  });
}

/// One after the other as the text grows, or all at once in one call, with nothing known before.
void testCompany() {
  HeadRig rig("tied-f16.gguf");
  const int32_t vocabulary = rig.target.config().vocabulary;
  Drafting alone(rig, "tied-f16.gguf", "auto", {}), together(rig, "tied-f16.gguf", "auto", {});
  std::vector<std::unique_ptr<Text>> grown, asked;
  std::vector<HeadAsk> asks;
  const int lengths[] = {kText, 17, 41};
  for (int t = 0; t < 3; ++t) {
    grown.push_back(std::make_unique<Text>(t, vocabulary));
    alone.compute(grown.back()->tokens, grown.back()->table);
    asked.push_back(std::make_unique<Text>(t, vocabulary));
    together.compute(asked.back()->tokens, asked.back()->table);
    asks.push_back(asked.back()->ask(lengths[t], 2 + t));
  }
  together.drafter->draft(*together.model, asks);
  for (int t = 0; t < 3; ++t) {
    HeadAsk ask = grown[t]->ask(2);
    for (int length = 2; length <= lengths[t]; ++length) {
      ask = grown[t]->ask(length, 2 + t);
      alone.drafter->draft(*alone.model, {&ask, 1});
    }
    CHECK(ask.count > 1 && ask.count == asks[t].count);
    CHECK(sameNodes(std::span(grown[t]->nodes).first(ask.count), std::span(asked[t]->nodes).first(asks[t].count)));
  }
}

/// Another head with the same context drafts from the keys that are there; one with another context makes its own.
void testSwaps() {
  HeadRig rig("tied-f16.gguf");
  Drafting drafting(rig, "tied-f16.gguf", "auto", {});
  Text text(2, rig.target.config().vocabulary);
  drafting.compute(text.tokens, text.table);
  const auto draft = [&] { return draftAll(drafting, text, text.known); };
  const std::vector<DraftNode> first = draft();
  const auto twin = std::make_shared<const HeadWeights>(rig.source(), *drafting.model, *drafting.backend);
  CHECK(twin->context()->serial() != drafting.head->context()->serial());
  drafting.drafter->swap(twin);
  const uint32_t turn = text.known.turn;
  CHECK(sameNodes(draft(), first) && text.known.turn == turn + 1);
  HeadSource other = rig.source();
  const HeadRig otherRig("tied-f16.gguf", 7);
  other.weights = otherRig.weights;
  const auto changed = std::make_shared<const HeadWeights>(other, *drafting.model, *drafting.backend, HeadFormats{},
                                                           HeadParts{.context = drafting.head->context()});
  CHECK(changed->context() == drafting.head->context());
  drafting.drafter->requireRoom(*changed);
  drafting.drafter->swap(changed);
  CHECK(!sameNodes(draft(), first));
}

/// Heads with contexts of their own take turns on pages that two sequences share: none drafts from the other's keys.
void testTurns() {
  HeadRig rig("tied-f16.gguf");
  const HeadRig otherRig("tied-f16.gguf", 7);
  Drafting drafting(rig, "tied-f16.gguf", "auto", {});
  Text one(2, rig.target.config().vocabulary);
  drafting.compute(one.tokens, one.table);
  HeadSource other = rig.source();
  other.weights = otherRig.weights;
  const auto another = std::make_shared<const HeadWeights>(other, *drafting.model, *drafting.backend);
  const auto draft = [&](const std::shared_ptr<const HeadWeights>& head, HeadProgress& known) {
    drafting.drafter->swap(head);
    return draftAll(drafting, one, known);
  };
  HeadProgress of, ofOther;
  const std::vector<DraftNode> first = draft(drafting.head, of), firstOfOther = draft(another, ofOther);
  CHECK(!sameNodes(first, firstOfOther));
  for (int turn = 0; turn < 3; ++turn) {
    CHECK(sameNodes(draft(drafting.head, of), first));
    CHECK(sameNodes(draft(another, ofOther), firstOfOther));
  }
}

/// A head that moved some parts alone drafts from the others' parts what it drafts from copies of its own.
void testSharedParts() {
  HeadRig rig("tied-f16.gguf");
  const HeadRig otherRig("tied-f16.gguf", 7);
  Drafting drafting(rig, "tied-f16.gguf", "auto", {});
  Text text(2, rig.target.config().vocabulary);
  drafting.compute(text.tokens, text.table);
  const auto draftsOf = [&](std::shared_ptr<const HeadWeights> head) {
    drafting.drafter->swap(std::move(head));
    return draftAll(drafting, text, text.known);
  };
  const auto packed = [&](const HeadSource& source, HeadParts shared) {
    return std::make_shared<const HeadWeights>(source, *drafting.model, *drafting.backend, HeadFormats{},
                                               std::move(shared));
  };
  const std::shared_ptr<const HeadWeights> base = drafting.head;
  const std::vector<DraftNode> before = draftsOf(base);
  const auto markov = static_cast<size_t>(train::BlockHead(rig.shape).before());
  Floats moved = rig.weights;
  HeadSource rows = rig.source();
  std::copy(otherRig.weights.begin() + markov, otherRig.weights.end(), moved.begin() + markov);
  rows.weights = moved, rows.delta = otherRig.delta;
  const auto own = packed(rows, {}), sharing = packed(rows, {base->context(), base->parts().layers, nullptr});
  const std::vector<DraftNode> byRows = draftsOf(own);
  CHECK(sameNodes(draftsOf(sharing), byRows) && !sameNodes(byRows, before));
  CHECK(own->bytesBeside(*base) == own->bytes() && sharing->bytes() == own->bytes());
  CHECK(sharing->bytesBeside(*base) == own->bytes() - base->parts().layers->bytes() - base->context()->bytes());
  Floats turned = otherRig.weights;
  HeadSource layers = rig.source();
  std::copy(rig.weights.begin() + markov, rig.weights.end(), turned.begin() + markov);
  layers.weights = turned;
  const auto byLayers = draftsOf(packed(layers, {}));
  CHECK(sameNodes(draftsOf(packed(layers, {nullptr, nullptr, base->parts().output})), byLayers));
  CHECK(!sameNodes(byLayers, before) && sameNodes(draftsOf(base), before));
}

/// A block of more slots than a draft has nodes, and than there are slots beside the pages: what is beyond is not made.
void testLongBlocks() {
  HeadRig rig("tied-f16.gguf");
  rig.shape.slots = kScratchPages * kPageSize + 20;
  rig.weights = train::BlockHead(rig.shape).initial(1, 4);
  Drafting drafting(rig, "tied-f16.gguf", "auto", {});
  Text text(3, drafting.model->config().vocabulary);
  drafting.compute(text.tokens, text.table);
  HeadAsk ask = text.ask(40, 1000);
  drafting.drafter->draft(*drafting.model, {&ask, 1});
  CHECK(ask.count > 0);
}

void testRefusals() {
  HeadRig rig("tied-f16.gguf");
  Drafting drafting(rig, "tied-f16.gguf", "auto", {});
  const auto codeFor = [&](const HeadSource& source) {
    return codeOf([&] { HeadWeights(source, *drafting.model, *drafting.backend); });
  };
  HeadSource source = rig.source();
  source.fusedLayers.back() = drafting.model->config().layers + 1;
  CHECK(codeFor(source) == "HEAD_MISMATCH");
  source = rig.source();
  source.draft.back() = drafting.model->config().vocabulary;
  CHECK(codeFor(source) == "HEAD_MISMATCH");
  source = rig.source();
  source.shape.width *= 2;
  CHECK(codeFor(source) == "HEAD_MISMATCH");
  source = rig.source();
  source.shape.positions = drafting.model->config().contextLength - 1;  // a learner would look beyond its angles
  CHECK(codeFor(source) == "HEAD_MISMATCH");
  source = rig.source();
  source.fusedLayers = {1, 0};
  const HeadWeights elsewhere(source, *drafting.model, *drafting.backend);
  CHECK(codeOf([&] { drafting.drafter->requireRoom(elsewhere); }) == "HEAD_MISMATCH");
}

}  // namespace

int main() {
  const HeadFormats exact{Format::f32, Format::f32};
  for (const char* name : {"tied-f16.gguf", "llama3-bf16"}) CHECK(agreement(name, exact) > 0.97);
  CHECK(agreement("tied-f16.gguf", {}) > 0.75);
  testCompany();
  testSwaps();
  testTurns();
  testSharedParts();
  testLongBlocks();
  testRefusals();
  return finish("head");
}
