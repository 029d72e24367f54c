// What moves in a head that learns, each part alone and together: a stream's answers, one after the other, are drafted
// by the head alone as it stands, then learned from, with no guard between.
//
//     bench_head_parts MODEL HEAD CACHE TEXTS MOVES...
//
// TEXTS: .jsonl of {prompt, answer}, token ids (docs/head-ablation/answers.js writes them). MOVES:
// NAME=MARKOV:OUTPUT:LAYERS:STEPS:OFTEN:SCORED, rates of Markov rows, output rows and layers, steps a text of each that
// has a rate, uses that earn a token a row, positions that a text is judged and learned on. Prints a line of JSON for
// each.
#include <time.h>

#include <cstdio>
#include <cstring>
#include <fstream>

#include "format/json.h"
#include "learn/head_learner.h"
#include "quant/float_codecs.h"
#include "train/head_file.h"
#include "train/target_text.h"

namespace {

using namespace foretoken;
using namespace foretoken::learn;
using train::Floats;

double seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::vector<VerifiedText> readTexts(const char* path, train::TrainTarget& target, std::vector<int> layers) {
  layers.push_back(target.config().layers);
  std::vector<VerifiedText> texts;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const JsonDocument document = JsonDocument::parse(line, path);
    VerifiedText text;
    text.answer = static_cast<int32_t>(document.root().at("prompt").array().size());
    for (const char* part : {"prompt", "answer"})
      for (const Json& id : document.root().at(part).array()) text.token.push_back(static_cast<int32_t>(id.integer()));
    std::vector<Floats> features;
    Floats state;
    target.compute(text.token, layers, features, state);
    const int64_t width = target.config().width;
    for (size_t i = 0; i < text.token.size(); ++i)
      for (const Floats& each : features)
        for (int64_t c = 0; c < width; ++c) text.kept.push_back(floatToBf16(each[i * width + c]));
    texts.push_back(std::move(text));
  }
  return texts;
}

/// Tokens and rounds of a text decoded on paper.
void replay(const std::vector<uint8_t>& right, double& tokens, double& rounds) {
  for (size_t at = 0; at < right.size(); at += right[at] + 1) tokens += right[at] + 1, ++rounds;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 6) return std::fprintf(stderr, "usage: bench_head_parts MODEL HEAD CACHE TEXTS MOVES...\n"), 2;
  train::TrainTarget target(arguments[1], "auto", arguments[3], {1, ""});
  train::LoadedHead head = train::loadHead(arguments[2], {target.model().sourceHash(), "", {}});
  const std::vector<VerifiedText> texts = readTexts(arguments[4], target, head.binding.fusedLayers);
  train::TargetTables tables = target.tables(head.draft);
  const OutputNorm norm{{target.model().outputNorm(), target.model().outputNorm() + target.config().width},
                        target.config().normEps};
  train::BlockHead block(head.shape);
  ThreadPool pool{1};
  train::Ops ops{pool, selectIsa("")};
  const auto start = std::make_shared<const LearnedHead>(inParts(std::move(head), block.before()));
  for (int a = 5; a < count; ++a) {
    LearnOptions options;
    const char* const values = std::strchr(arguments[a], '=');
    long long steps = 0, scored = 0;
    if (!values || std::sscanf(values + 1, "%f:%f:%f:%lld:%u:%lld", &options.rows.markov, &options.rows.output,
                               &options.layers.rate, &steps, &options.rows.often, &scored) != 6)
      return std::fprintf(stderr, "%s is no NAME=MARKOV:OUTPUT:LAYERS:STEPS:OFTEN:SCORED\n", arguments[a]), 2;
    options.scored = scored, options.stepsPerCandidate = std::max(1LL, steps);
    LearnOptions judging;
    judging.scored = 1024, judging.slotBytes = judging.textBytes = 1;
    HeadLearner learner(ops, block, tables, norm, options, start), judge(ops, block, tables, norm, judging, start);
    double tokens = 0, rounds = 0, lastTokens = 0, lastRounds = 0, taking = 0, stepping = 0;
    for (size_t i = 0; i < texts.size(); ++i) {
      Foreseen seen, ignored;
      judge.adopt(learner.live());
      judge.take(texts[i], seen);
      replay(seen.live, tokens, rounds);
      if (i >= texts.size() - texts.size() / 4) replay(seen.live, lastTokens, lastRounds);
      const double began = seconds();
      learner.take(texts[i], ignored);
      const double taken = seconds();
      for (int64_t s = 0; s < steps; ++s) learner.step();
      for (int64_t s = 0; s < steps; ++s) learner.stepLayers();
      stepping += seconds() - taken, taking += taken - began;
      learner.promote();
    }
    const auto each = static_cast<double>(texts.size());
    std::printf(
        "{\"moves\": \"%.*s\", \"acceptanceLength\": %.4f, \"lastQuarter\": %.4f, \"takeMs\": %.2f, "
        "\"stepMs\": %.3f, \"movedRows\": %zu, \"newTokens\": %lld}\n",
        static_cast<int>(values - arguments[a]), arguments[a], tokens / rounds, lastTokens / lastRounds,
        1000 * taking / each, 1000 * stepping / std::max(1.0, each * static_cast<double>(steps)),
        learner.live()->rows->delta.place.size(), [&] {
          long long renewed = 0;
          for (size_t p = 0; p < tables.draft.size(); ++p) renewed += learner.live()->rows->draft[p] != tables.draft[p];
          return renewed;
        }());
    std::fflush(stdout);
  }
  return 0;
}
