// What a target gives a trainer: features and states by position, the same for a text alone or with others, and states
// whose product with the output rows are the target's own logits. Then a short run on it.
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "model/config.h"
#include "model_rig.h"
#include "train/head_fit.h"
#include "train/head_run.h"
#include "train/target_text.h"
#include "train_rig.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;
using namespace foretoken::train;
using test::Floats;

std::vector<int32_t> text(int length, int seed, int vocabulary) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < length; ++i) tokens.push_back((i * 7 + seed * 13 + i * i % 5) % vocabulary);
  return tokens;
}

void testStates(const std::string& name) {
  TrainTarget target(foretoken::test::fixture("models/" + name), "f32", "", {2, ""});
  const ModelConfig& config = target.config();
  const auto tokens = text(40, 1, config.vocabulary);
  std::vector<Floats> features;
  Floats state;
  target.compute(tokens, std::vector<int>{0, config.layers}, features, state);
  CHECK(features.size() == 2 && features[0].size() == state.size());

  std::vector<int32_t> all(config.vocabulary);
  std::iota(all.begin(), all.end(), 0);
  const TargetTables tables = target.tables(all);
  LoadedModel model(foretoken::test::fixture("models/" + name), "f32");
  const std::vector<Logits> logits = model.feed(tokens, 40);
  const int64_t width = config.width;
  for (size_t r = 0; r < tokens.size(); ++r) {
    Logits own(config.vocabulary);
    for (int v = 0; v < config.vocabulary; ++v)
      for (int64_t i = 0; i < width; ++i) own[v] += state[r * width + i] * tables.output[v * width + i];
    CHECK(largestDifference(own, logits[r]) < 0.02f * largest(logits[r]));  // tied output rows are bf16 here
    for (int64_t i = 0; i < width; ++i)
      CHECK(std::abs(features[0][r * width + i] - bf16ToFloat(tables.embedding[tokens[r] * width + i])) < 0.01f);
  }
  // A longer text begins with the same states.
  std::vector<Floats> longer;
  Floats longerState;
  auto more = tokens;
  more.insert(more.end(), tokens.begin(), tokens.end());
  target.compute(more, std::vector<int>{0, config.layers}, longer, longerState);
  CHECK(std::equal(state.begin(), state.end(), longerState.begin()));
  CHECK(std::equal(features[1].begin(), features[1].end(), longer[1].begin()));
}

void testTables() {
  TrainTarget target(foretoken::test::fixture("models/tied-f32"), "f32", "", {1, ""});
  const TargetTables tables = target.tables({3, 5, 9});
  CHECK(tables.place[5] == 1 && tables.place[9] == 2 && tables.place[4] == 3);
  CHECK(tables.output[target.config().width] == bf16ToFloat(tables.embedding[5 * target.config().width]));
  CHECK(codeOf([&] { target.tables({5, 5}); }) == "INVALID_ARGUMENT");
  CHECK(codeOf([&] { target.tables({1 << 20}); }) == "INVALID_ARGUMENT");
  CHECK(codeOf([&] { TargetText(target, {{{-1}, 0}}, {1}); }) == "INVALID_ARGUMENT");
  const auto codeOfLength = [&](size_t length) {
    return codeOf([&] { TargetText(target, {{std::vector<int32_t>(length, 1), 0}}, {1}); });
  };
  CHECK(target.config().contextLength == 512 && codeOfLength(512).empty());
  for (const size_t length : {513, 600, 5000}) CHECK(codeOfLength(length) == "CONTEXT_EXCEEDED");
}

/// A head turns by its target's own base, also where one factor scales all of the target's angles.
void testRotaryBase() {
  ModelConfig config{};
  config.headDim = 128;
  config.ropeFrequency = ropeFrequencies(1e5, config.headDim);
  for (const float factor : {1.0f, 4.0f}) {
    for (float& f : config.ropeFrequency) f /= factor;
    CHECK(std::abs(headShapeFor(config, 1, 16, 8, 3).rotaryBase / 1e5 - 1) < 1e-4);
  }
}

/// A head for the fixture learns some of what the target says.
void testRun() {
  TrainTarget target(foretoken::test::fixture("models/tied-f32"), "f32", "", {2, ""});
  std::vector<int32_t> draft(target.config().vocabulary / 16 * 16);
  std::iota(draft.begin(), draft.end(), 0);
  const TargetTables tables = target.tables(draft);
  std::vector<TextToLearn> texts;
  for (int i = 0; i < 12; ++i) texts.push_back({text(30, i, target.config().vocabulary), 5});
  TargetText source(target, texts, {1, target.config().layers});
  BlockHead head(headShapeFor(target.config(), 2, static_cast<int64_t>(draft.size()), 8, 3));
  ThreadPool pool(2);
  Ops ops(pool, selectIsa(""));
  TrainOptions options;
  options.epochs = 10;
  options.rowsPerStep = 200;
  options.rate = 0.01f;
  Trainer trainer(ops, head, tables, source, options, head.initial(1, target.outputScale(texts[0].token)));
  double first = 0, last = 0;
  while (trainer.step() < trainer.steps()) {
    const TrainReport report = trainer.train();
    CHECK(!report.optimiser.skipped);
    (report.step == 1 ? first : last) = report.kl;
  }
  CHECK(last < 0.8 * first);
}

/// Training goes on from a head, but from none that corrects output rows: it would go on without them.
void testFrom() {
  HeadRunOptions options;
  options.model = foretoken::test::fixture("models/tied-f32"), options.weights = "f32";
  TrainTarget target(options.model, options.weights, "", {1, ""});
  const ModelConfig& config = target.config();
  options.texts = {{text(30, 1, config.vocabulary), 5}};
  options.from = (std::filesystem::temp_directory_path() / ("foretoken-from-" + std::to_string(getpid()))).string();
  const HeadBinding binding{target.model().sourceHash(), "", defaultFusedLayers(config)};
  std::vector<int32_t> draft(16);
  std::iota(draft.begin(), draft.end(), 0);
  BlockHead head(headShapeFor(config, static_cast<int64_t>(binding.fusedLayers.size()), 16, 8, 3));
  const auto refusal = [&](const OutputDelta& delta) {
    saveHead(options.from, head, {head.initial(1, 1), draft, delta}, binding, FileType::f32);
    return codeOf([&] { HeadRun run(options); });
  };
  CHECK(refusal({}) == "");
  CHECK(refusal({{3}, Floats(config.width, 0.5f)}) == "HEAD_LEARNED");
  std::filesystem::remove(options.from);
}

/// A head may say some positions more than the context has, but not at the price of their angles.
void testPositions() {
  const TrainTarget target(foretoken::test::fixture("models/tied-f32"), "f32", "", {1, ""});
  BlockHeadShape shape = headShapeFor(target.config(), 1, 16, 8, 3);
  const auto codeWith = [&](int64_t positions, int context) {
    ModelConfig config = target.config();
    shape.positions = positions, config.contextLength = context;
    return codeOf([&] { requireFit(shape, {}, {}, config); });
  };
  CHECK(codeWith(511, 512) == "HEAD_MISMATCH");
  CHECK(codeWith(1 << 20, 512).empty() && codeWith(1 << 22, 1 << 22).empty());
  CHECK(codeWith(1 << 22, 512) == "HEAD_MISMATCH");
}

}  // namespace

int main() {
  for (const char* name : {"tied-f32", "llama3-bf16", "tied-f16.gguf"}) testStates(name);
  testTables();
  testRotaryBase();
  testRun();
  testFrom();
  testPositions();
  return foretoken::test::finish("train_target");
}
