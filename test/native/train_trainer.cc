// Runs of the trainer on a toy language: it learns, any number of threads gives the same bits, a run that was cut off
// and resumed ends as one that went on; head files and checkpoints refuse what does not belong to them.
#include "train/trainer.h"

#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "allocation_meter.h"
#include "common/error.h"
#include "toy_language.h"

namespace {

using namespace foretoken;
using namespace foretoken::test;
using namespace foretoken::train;
using test::Floats;

constexpr int64_t kTokens = 40, kVocabulary = kToyVocabulary;
const HeadBinding kBinding{"model", "tokenizer", {1, 2}};

BlockHeadShape shape() { return toyShape(4, 32); }

/// A language in which 3 t + 1 follows t, and a target that knows it.
struct Toy : ToyTarget, SequenceSource {
  std::vector<TextToLearn> texts;
  std::string maker = "a toy";
  int64_t poisoned = -1;  ///< a sequence whose features are not finite

  explicit Toy(int64_t sequences) : ToyTarget(kTokens), texts(sequences) {
    for (int64_t n = 0; n < sequences; ++n) {
      texts[n].answer = 2;
      int32_t token = static_cast<int32_t>(n * 7 % kVocabulary);
      for (int64_t i = 0; i < 8 + n % 5; ++i, token = after(token)) texts[n].token.push_back(token);
    }
  }
  static int32_t after(int32_t token) { return (3 * token + 1) % kVocabulary; }

  int64_t count() const override { return static_cast<int64_t>(texts.size()); }
  const TextToLearn& text(int64_t index) const override { return texts[index]; }
  std::string origin() const override { return maker; }
  std::vector<TrainSequence> read(std::span<const int64_t> indices) override {
    std::vector<TrainSequence> out;
    for (const int64_t index : indices) {
      TrainSequence sequence;
      sequence.token = texts[index].token, sequence.answer = texts[index].answer;
      sequence.features.resize(2);
      for (const int32_t token : sequence.token) {
        for (const float x : of(token)) sequence.features[0].push_back(index == poisoned ? NAN : x);
        for (const float x : of(after(token))) {
          sequence.features[1].push_back(x);
          sequence.state.push_back(x);
        }
      }
      out.push_back(std::move(sequence));
    }
    return out;
  }
};

std::string temporary(const std::string& name) {
  return (std::filesystem::temp_directory_path() / (name + std::to_string(getpid()))).string();
}

std::string bytesOf(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {(std::istreambuf_iterator<char>(in)), {}};
}

/// The bytes of a file with another value in its metadata.
std::string withMetadata(std::string bytes, const std::string& key, const std::string& value) {
  const size_t at = bytes.find('"' + key + "\":\"") + key.size() + 4, end = bytes.find('"', at);
  bytes.replace(at, end - at, value);
  uint64_t header;
  std::memcpy(&header, bytes.data(), sizeof header);
  header += value.size() - (end - at);
  std::memcpy(bytes.data(), &header, sizeof header);
  return bytes;
}

TrainOptions options() {
  TrainOptions options;
  options.epochs = 12;
  options.rowsPerStep = 64;
  options.rate = 0.02f;
  options.warmup = 4;
  return options;
}

/// A run from its start.
struct Run {
  Toy toy{40};
  BlockHead head{shape()};
  ThreadPool pool;
  Ops ops;
  Trainer trainer;

  explicit Run(int threads, const TrainOptions& how = options(), Isa isa = Isa::portable)
      : pool(threads), ops(pool, isa), trainer(ops, head, toy.target, toy, how, head.initial(3, 1)) {}
  void to(int64_t step) {
    while (trainer.step() < std::min(step, trainer.steps())) trainer.train();
  }
};

void testLearns() {
  Run run(2, options(), selectIsa(""));
  Toy heldBack(11);
  CHECK(run.trainer.steps() > 20);
  const HeldBack before = run.trainer.evaluate(heldBack);
  const TrainReport first = run.trainer.train();
  TrainReport last;
  while (run.trainer.step() < run.trainer.steps()) last = run.trainer.train();
  const HeldBack after = run.trainer.evaluate(heldBack);
  CHECK(first.step == 1 && last.step == run.trainer.steps() && last.tokens > 0);
  CHECK(last.kl < 0.2 * first.kl && last.acceptance > first.acceptance);
  CHECK(last.hits.size() == 3 && last.hits[0] > 0.9);
  CHECK(before.acceptanceLength >= 1 && before.acceptanceLength < 2);
  CHECK(after.acceptanceLength > 2.5 && after.acceptanceLength <= 4);
  CHECK(after.hits[0] > 0.9);
}

void testResume() {
  const std::string path = temporary("foretoken-train-checkpoint");
  Run whole(1);
  whole.to(12);
  for (const Isa isa : kIsas) {
    if (!isaAvailable(isa)) continue;
    { Run(3, options(), isa).trainer.saveCheckpoint(path, kBinding); }
    for (int64_t step = 1; step <= 12; ++step) {  // cut off after every step, with another number of threads
      Run part(1 + static_cast<int>(step % 3), options(), isa);
      part.trainer.loadCheckpoint(path, kBinding);
      CHECK(part.trainer.step() == step - 1);
      part.to(step);
      part.trainer.saveCheckpoint(path, kBinding);
      if (step == 12) CHECK(part.trainer.weights() == whole.trainer.weights());
    }
  }
  TrainOptions other = options();
  other.rate = 0.03f;
  CHECK(codeOf([&] { Run(1, other).trainer.loadCheckpoint(path, kBinding); }) == "CHECKPOINT_MISMATCH");
  HeadBinding elsewhere = kBinding;
  elsewhere.model = "another";
  CHECK(codeOf([&] { Run(1).trainer.loadCheckpoint(path, elsewhere); }) == "CHECKPOINT_MISMATCH");
  CHECK(codeOf([&] { Run(1).trainer.saveCheckpoint("/no/such/folder/file", kBinding); }) == "WRITE_FAILED");
  std::filesystem::remove(path);
}

/// A checkpoint belongs to its run's texts and what they were made with, to the last token, and to its draft
/// vocabulary.
void testOtherData() {
  const std::string path = temporary("foretoken-train-other");
  { Run(1).trainer.saveCheckpoint(path, kBinding); }
  const auto refused = [&](auto change) {
    Run other(1);
    change(other.toy);
    return codeOf([&] { other.trainer.loadCheckpoint(path, kBinding); }) == "CHECKPOINT_MISMATCH";
  };
  CHECK(!refused([](Toy&) {}));
  CHECK(refused([](Toy& toy) { toy.texts[7].token[3] ^= 1; }));
  CHECK(refused([](Toy& toy) { ++toy.texts[7].answer; }));
  CHECK(refused([](Toy& toy) { std::swap(toy.texts[0], toy.texts[5]); }));  // as long
  CHECK(refused([](Toy& toy) { toy.maker = "another"; }));
  CHECK(refused([](Toy& toy) { std::swap(toy.target.draft[0], toy.target.draft[1]); }));
  std::filesystem::remove(path);
}

/// Steps that a run does not have are refused, and nothing has changed then.
void testDamagedSteps() {
  const std::string path = temporary("foretoken-train-steps");
  Run run(1);
  run.to(3);
  run.trainer.saveCheckpoint(path, kBinding);
  const std::string whole = bytesOf(path), beyond = std::to_string(run.trainer.steps() + 1);
  for (const std::string key : {"step", "optimiser_steps"})
    for (const std::string value : {"-5", "x", "3x", "", " 3", "99999999999999999999", beyond.c_str()}) {
      std::ofstream(path, std::ios::binary) << withMetadata(whole, key, value);
      Run other(1);
      CHECK(codeOf([&] { other.trainer.loadCheckpoint(path, kBinding); }) == "CHECKPOINT_MISMATCH");
      CHECK(other.trainer.step() == 0 && other.trainer.weights() == other.head.initial(3, 1));
    }
  std::ofstream(path, std::ios::binary) << withMetadata(whole, "step", "4");
  CHECK(codeOf([&] { Run(1).trainer.loadCheckpoint(path, kBinding); }).empty());  // the optimiser skipped one
  std::filesystem::remove(path);
}

/// A step whose gradient is not finite moves nothing; the run goes on.
void testPoison() {
  Run run(2);
  run.toy.poisoned = 5;
  int skipped = 0;
  while (run.trainer.step() < run.trainer.steps()) {
    const Floats before = run.trainer.weights();
    const TrainReport report = run.trainer.train();
    if (!report.optimiser.skipped) continue;
    ++skipped;
    CHECK(!report.optimiser.notFinite.empty());
    CHECK(run.trainer.weights() == before);
  }
  CHECK(skipped == options().epochs);
}

void testHeadFile() {
  const std::string path = temporary("foretoken-train-head");
  Run run(1);
  run.to(3);
  const auto& weights = run.trainer.weights();
  const auto save = [&](const float* values, FileType type) {
    saveHead(path, run.head, {{values, values + weights.size()}, run.toy.target.draft, {}}, kBinding, type);
  };
  save(weights.data(), FileType::f32);
  const LoadedHead loaded = loadHead(path, kBinding);
  CHECK(loaded.weights == weights);
  CHECK(loaded.draft == run.toy.target.draft && loaded.binding == kBinding);
  CHECK(loaded.shape.slots == 3 && loaded.shape.heads.width == 16 && loaded.shape.epsilon == shape().epsilon);
  CHECK(loaded.delta.place.empty() && loaded.delta.row.empty());
  HeadNumbers learned{weights, run.toy.target.draft, {{2, 7}, Floats(2 * kToyWidth, 0.25f)}};
  std::swap(learned.draft[0], learned.draft[4]);
  saveHead(path, run.head, learned, kBinding, FileType::bf16);
  const LoadedHead moved = loadHead(path, kBinding);
  CHECK(moved.draft == learned.draft && moved.delta.place == learned.delta.place);
  CHECK(moved.delta.row == learned.delta.row);
  const auto refused = [&](auto change) {
    HeadNumbers wrong = learned;
    change(wrong);
    saveHead(path, run.head, wrong, kBinding, FileType::bf16);
    return codeOf([&] { loadHead(path, kBinding); }) == "HEAD_INVALID";
  };
  CHECK(refused([](HeadNumbers& wrong) { wrong.draft[1] = wrong.draft[2]; }));
  CHECK(refused([](HeadNumbers& wrong) { wrong.delta.place = {7, 2}; }));
  CHECK(refused([](HeadNumbers& wrong) { wrong.delta.place = {7, 7}; }));
  CHECK(refused([](HeadNumbers& wrong) { wrong.delta.place[1] = static_cast<int32_t>(wrong.draft.size()); }));
  learned.delta.row[3] = NAN;
  CHECK(codeOf([&] { saveHead(path, run.head, learned, kBinding, FileType::bf16); }) == "HEAD_NOT_FINITE");
  save(weights.data(), FileType::bf16);
  CHECK(difference(loadHead(path, kBinding).weights, weights) < 0.004);
  save(weights.data(), FileType::e4m3);
  const Floats rounded = loadHead(path, kBinding).weights;
  CHECK(difference(rounded, weights) < 0.07);  // of the largest weight; half a step of three bits is 0.0625
  for (size_t i = 0; i < weights.size(); ++i)
    CHECK(std::abs(rounded[i] - weights[i]) <= 0.07f * std::abs(weights[i]) + 1e-3f);
  CHECK(codeOf([&] { loadHead(path, {"model", "tokenizer", {1, 3}}); }) == "HEAD_MISMATCH");
  CHECK(codeOf([&] { loadHead(path, {"model", "another", {1, 2}}); }) == "HEAD_MISMATCH");
  CHECK(loadHead(path, {"model", "", {1, 2}}).draft == run.toy.target.draft);
  Floats bad = weights;
  bad[run.head.parameters()[3].offset] = NAN;
  CHECK(codeOf([&] { save(bad.data(), FileType::f32); }) == "HEAD_NOT_FINITE");
  CHECK(loadHead(path, kBinding).draft == run.toy.target.draft);  // the old file is still there
  run.trainer.saveCheckpoint(path, kBinding);
  CHECK(codeOf([&] { loadHead(path, kBinding); }) == "HEAD_INVALID");
  std::filesystem::remove(path);
}

/// Sizes that no tensor of the file bears out are refused before anything is made of them.
void testLyingHead() {
  const std::string path = temporary("foretoken-train-lying");
  Run run(1);
  saveHead(path, run.head, {run.trainer.weights(), run.toy.target.draft, {}}, kBinding, FileType::bf16);
  const std::string whole = bytesOf(path), huge = std::to_string(1 << 20);
  const auto costs = [&](const std::string& key, const std::string& code) {
    std::ofstream(path, std::ios::binary) << withMetadata(whole, key, huge);
    return bytesAllocatedBy([&] { CHECK(codeOf([&] { loadHead(path, kBinding); }) == code); });
  };
  for (const std::string size : {"layers", "inner", "query_heads", "key_heads", "head_width", "rank", "slots"})
    CHECK(costs(size, "HEAD_INVALID") < 1 << 20);
  CHECK(costs("positions", "") < 1 << 20);  // no tensor has a row for each
  std::filesystem::remove(path);
}

/// A head has as many positions as its model's context, of which a model may say many.
void testManyPositions() {
  const std::string path = temporary("foretoken-train-positions");
  const BlockHead head(toyShape(4, 1 << 22));
  const Run run(1);
  saveHead(path, head, {run.trainer.weights(), run.toy.target.draft, {}}, kBinding, FileType::bf16);
  CHECK(loadHead(path, kBinding).shape.positions == 1 << 22);
  const std::string whole = bytesOf(path);
  const auto codeWith = [&](int64_t positions) {
    std::ofstream(path, std::ios::binary) << withMetadata(whole, "positions", std::to_string(positions));
    return codeOf([&] { loadHead(path, kBinding); });
  };
  CHECK(codeWith(1 << 26).empty());
  CHECK(codeWith((1 << 26) + 1) == "HEAD_INVALID");
  std::filesystem::remove(path);
}

/// A file that lacks a tensor is refused, also where its sizes leave the tensor no values.
void testLackingHead() {
  const std::string path = temporary("foretoken-train-lacking");
  Run run(1);
  saveHead(path, run.head, {run.trainer.weights(), run.toy.target.draft, {{2, 7}, Floats(2 * kToyWidth, 0.25f)}},
           kBinding, FileType::e4m3);
  const std::string whole = bytesOf(path);
  const auto isRefusedWithout = [&](std::string bytes, const std::string& tensor) {
    bytes[bytes.find('"' + tensor + "\":") + 1] = '?';
    std::ofstream(path, std::ios::binary) << bytes;
    return codeOf([&] { loadHead(path, kBinding); }) == "HEAD_INVALID";
  };
  for (const Parameter& p : run.head.parameters().all()) {
    CHECK(isRefusedWithout(whole, p.name));
    if (p.isMatrix()) CHECK(isRefusedWithout(whole, p.name + ".scale"));
  }
  for (const char* name : {"draft_ids", "output_delta"}) CHECK(isRefusedWithout(whole, name));
  CHECK(isRefusedWithout(withMetadata(whole, "slots", "1"), "mask"));
  std::filesystem::remove(path);
}

/// Bytes of a saved head changed one after another: refused or harmless, never a crash or a weight that is not finite.
void testDamage(FileType type) {
  const std::string path = temporary("foretoken-train-damaged");
  Run run(1);
  saveHead(path, run.head, {run.trainer.weights(), run.toy.target.draft, {{1, 5}, Floats(2 * kToyWidth, 0.5f)}},
           kBinding, type);
  const std::string whole = bytesOf(path);
  std::mt19937 random(1);
  for (int i = 0; i < 300; ++i) {
    std::string bytes = whole;
    bytes[random() % (i % 2 ? 1500 : bytes.size())] = static_cast<char>(random());
    if (i % 7 == 0) bytes.resize(random() % bytes.size());
    std::ofstream(path, std::ios::binary) << bytes;
    try {
      const LoadedHead head = loadHead(path, kBinding);
      CHECK(std::all_of(head.weights.begin(), head.weights.end(), [](float w) { return std::isfinite(w); }));
    } catch (const Error& error) {
      CHECK(!error.code().empty());
    }
  }
  std::filesystem::remove(path);
}

}  // namespace

int main() {
  testLearns();
  testResume();
  testOtherData();
  testDamagedSteps();
  testPoison();
  testHeadFile();
  testLyingHead();
  testManyPositions();
  testLackingHead();
  for (const FileType type : {FileType::bf16, FileType::e4m3}) testDamage(type);
  return foretoken::test::finish("train_trainer");
}
